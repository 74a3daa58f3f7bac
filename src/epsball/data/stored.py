"""A user's own set as it is kept in the cache: one safetensors file, with its digest in the header."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from epsball.data.base import Dataset, digest, statistics, table_statistics
from epsball.data.places import cache
from epsball.errors import BadConfig, BadFile, EpsballError
from epsball.examples import Examples
from epsball.problem.columns import Column, Columns
from epsball.storage import read_tensors, write_tensors

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "epsball.data/1"
TABLE = "epsball.data/2"  # with columns
KEYS = ("x_train", "y_train", "x_test", "y_test")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def place(name: str) -> Path:
    """The file of a user's set.

    Raises:
        BadConfig: the name could leave the cache's folder.
    """
    if not _NAME.fullmatch(name):
        raise BadConfig(f"{name!r} cannot be the name of a data set", fix="use letters, digits, '.', '_' and '-'")
    return cache() / name / "data.safetensors"


def names() -> list[str]:
    """The names of the user's own sets."""
    folder = cache()
    return sorted(p.parent.name for p in folder.glob("*/data.safetensors")) if folder.is_dir() else []


def write(data: Dataset) -> Path:
    """Keep a set; the file appears whole or not at all.

    Raises:
        BadFile: the cache cannot be written.
        DiskFull: see `epsball.storage.write_bytes`.
    """
    path = place(data.name)
    tensors = dict(zip(KEYS, (data.train.x, data.train.y, data.test.x, data.test.y), strict=True))
    described = {"format": FORMAT, "digest": data.digest, "classes": data.classes, "terms": data.terms, "clip": data.clip}
    if data.columns is not None:
        columns = [asdict(column) for column in data.columns]
        described |= {"format": TABLE, "columns": columns, "labels": data.labels}
    try:
        write_tensors(path, tensors, described)
    except OSError as error:
        raise BadFile(
            f"the data set cannot be kept: {error.strerror}", where=str(path), fix="set XDG_CACHE_HOME to a folder you may write to"
        ) from error
    return path


def read(name: str) -> Dataset:
    """A user's set, verified against its digest.

    Raises:
        BadFile: it is missing, damaged, or changed since it was added.
    """
    path = place(name)
    tensors, described = read_tensors(path)
    again = f"remove it and add {name!r} again"
    if not _ours(described) or set(tensors) != set(KEYS):
        raise BadFile("not a data set that epsball keeps", where=str(path), fix=again)
    try:
        train, test = (Examples(tensors[f"x_{part}"], tensors[f"y_{part}"]) for part in ("train", "test"))
    except EpsballError as error:
        raise BadFile(f"a damaged data set: {error.what}", where=str(path), fix=again) from error
    try:
        columns, labels = _meaning(described)
    except (EpsballError, TypeError, KeyError) as error:
        raise BadFile("a table whose columns cannot be read", where=str(path), fix=again) from error
    if columns is not None and (train.shape != (columns.width,) or len(labels) != described["classes"]):
        raise BadFile("a table whose columns do not fit its data", where=str(path), fix=again)
    found = digest(train, test, columns, labels)
    if found != described["digest"]:
        raise BadFile(
            f"the data changed since they were added: SHA-256 {found[:12]}... instead of {described['digest'][:12]}...",
            where=str(path),
            fix=again,
        )
    mean, std = statistics(train) if columns is None else table_statistics(train, columns)
    clip = described["clip"]
    return Dataset(
        name=name,
        train=train,
        test=test,
        classes=described["classes"],
        terms=described["terms"],
        mean=mean,
        std=std,
        clip=(clip[0], clip[1]) if clip else None,
        digest=found,
        columns=columns,
        labels=labels,
    )


def _meaning(described: dict[str, Any]) -> tuple[Columns | None, tuple[str, ...]]:
    if described["format"] == FORMAT:
        return None, ()
    columns = tuple(Column(**{**column, "values": tuple(column["values"])}) for column in described["columns"])
    return Columns(columns), tuple(described["labels"])


def _ours(described: object) -> bool:
    """Whether a header is one that `write` wrote."""
    if not isinstance(described, dict) or described.get("format") not in (FORMAT, TABLE):
        return False
    clip = described.get("clip")
    kinds = (("digest", str), ("classes", int), ("terms", str))
    return all(isinstance(described.get(key), kind) for key, kind in kinds) and (
        clip is None or (isinstance(clip, list) and len(clip) == 2)
    )
