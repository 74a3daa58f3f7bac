"""A user's own data sets, and a summary of any set."""

from __future__ import annotations

import math
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from epsball.data import idx, stored, table, tiny_imagenet
from epsball.data.base import Dataset, digest, sources, statistics
from epsball.data.find import load
from epsball.errors import BadConfig, BadData, BadFile
from epsball.examples import Examples

if TYPE_CHECKING:
    from pathlib import Path

    from epsball.types import Tensor

_LARGEST = 2**34  # bytes of all arrays of an .npz file together
_TERMS = "the user's own; epsball knows no terms"


def add(name: str, path: Path, terms: str = _TERMS, csv: table.Table | None = None) -> Path:
    """Copy a set into the cache, checked, under a name that `load` then knows.

    Args:
        name: of the set from now on.
        path: a folder of four idx files in MNIST's layout; an .npz file with x_train, y_train, x_test and y_test, where inputs are
            uint8 pictures (N, C, H, W) or (N, H, W), or floats (N, *x), and labels are integers (N,) from 0; or a folder or zip
            archive in Tiny ImageNet's layout, whole or a part.
        terms: under which the data may be used.
        csv: how a CSV table is read; then path is one.

    Returns:
        The folder in the cache.

    Raises:
        BadConfig: the name is taken, or cannot be one.
        BadFile: a file is missing, truncated or foreign.
        BadData: values or shapes that cannot be used.
    """
    if name in sources:
        raise BadConfig(f"the name {name!r} belongs to a set that epsball knows", fix="choose another name")
    stored.place(name)
    if csv is not None and path.suffix.lower() != ".csv":
        raise BadConfig("the options of a table for what is none", where=str(path), fix="give a .csv file, or leave them out")
    if csv is None and path.suffix.lower() == ".csv":
        raise BadConfig("a table without a target", where=str(path), fix='name the column with the class: csv=Table("NAME")')
    data = table.read(name, path, csv, terms) if csv else _checked(name, _arrays(path), terms, str(path))
    if name in stored.names() and stored.read(name).digest != data.digest:
        raise BadConfig(
            f"there is another set {name!r} already",
            where=str(stored.place(name)),
            fix="choose another name, or remove that folder",
        )
    return stored.write(data).parent


def check(name: str) -> dict[str, Any]:
    """Load a set, verifying its hashes, shapes and labels, and sum it up.

    Returns:
        JSON values: name, train and test (counts), shape, classes, per_class (pairs of training and test counts), range (of the
        inputs as the model sees them), clip, mean and std (per channel), digest, terms.

    Raises:
        BadConfig: no set has this name.
        BadFile: see `epsball.data.find.load`.
        BadData: a label out of range, or inputs outside the valid range.
    """
    data = load(name)
    for part, examples in (("training", data.train), ("test", data.test)):
        if len(examples) and not bool(((examples.y >= 0) & (examples.y < data.classes)).all()):
            raise BadData(f"a {part} label of {name!r} lies outside 0..{data.classes - 1}", fix="number the classes from 0")
    summary = _summary(data)
    low, high = summary["range"]
    if data.clip and not data.clip[0] <= low <= high <= data.clip[1]:
        raise BadData(f"inputs of {name!r} reach from {low:g} to {high:g}, outside {data.clip}", fix="scale the inputs")
    return summary


def _summary(data: Dataset) -> dict[str, Any]:
    counts = [torch.bincount(part.y, minlength=data.classes).tolist() for part in (data.train, data.test)]
    scale = 1.0 if data.train.x.is_floating_point() else 255.0
    parts = (data.train.x, data.test.x)
    return {
        "name": data.name,
        "train": len(data.train),
        "test": len(data.test),
        "shape": list(data.train.shape),
        "classes": data.classes,
        "per_class": [list(pair) for pair in zip(*counts, strict=True)],
        "range": [min(float(x.min()) for x in parts) / scale, max(float(x.max()) for x in parts) / scale],
        "clip": data.clip and list(data.clip),
        "mean": list(data.mean),
        "std": list(data.std),
        "digest": data.digest,
        "terms": data.terms,
        **({"columns": table.names(tuple(data.columns)), "labels": list(data.labels)} if data.columns is not None else {}),
    }


def _arrays(path: Path) -> dict[str, Tensor]:
    if tiny_imagenet.laid_out(path):
        return _from_layout(path)
    return _from_idx(path) if path.is_dir() else _from_npz(path)


def _from_layout(path: Path) -> dict[str, Tensor]:
    data = tiny_imagenet.TinyImageNet().read(path)
    return dict(zip(stored.KEYS, (data.train.x, data.train.y, data.test.x, data.test.y), strict=True))


def _from_idx(folder: Path) -> dict[str, Tensor]:
    arrays = {}
    for key, name in idx.FILES.items():
        data, path = idx.read(folder, name)
        arrays[key] = idx.parse(data, 3 if key.startswith("x") else 1, str(path))
    return arrays


def _from_npz(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise BadFile("no such file or folder", where=str(path), fix="give a folder of idx files or an .npz file")
    if not zipfile.is_zipfile(path):
        raise BadFile("not a whole .npz file", where=str(path), fix="save it with numpy.savez; give a folder for idx files")
    try:
        _declared(path)
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in stored.KEYS if key not in file.files]
            if missing:
                raise BadFile(
                    f"an .npz file without {', '.join(missing)}",
                    where=str(path),
                    fix=f"save it with numpy.savez(path, {', '.join(f'{k}={k}' for k in stored.KEYS)})",
                )
            arrays = {key: np.asarray(file[key]) for key in stored.KEYS}
    except (ValueError, KeyError, OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise BadFile(
            f"not a whole .npz file of plain arrays: {error}", where=str(path), fix="save it with numpy.savez, without objects"
        ) from error
    return {key: _tensor(array, key, str(path)) for key, array in arrays.items()}


def _declared(path: Path) -> None:
    """Raise unless the arrays are as large as their headers say, and small enough to be read; nothing is unpacked to find out.

    Raises:
        BadFile: a header declares more than its data, or all of them more than is read.
    """
    total = 0
    with zipfile.ZipFile(path) as file:
        for member in (info for info in file.infolist() if info.filename.removesuffix(".npy") in stored.KEYS):
            with file.open(member) as raw:
                readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape, _, dtype = readers[np.lib.format.read_magic(raw)](raw)
                size, header = math.prod(shape) * dtype.itemsize, raw.tell()
            total += size
            if size + header != member.file_size and not dtype.hasobject:
                raise BadFile(
                    f"{member.filename} declares {size} bytes of numbers and holds {member.file_size - header}",
                    where=str(path),
                    fix="save it again with numpy.savez",
                )
    if total > _LARGEST:
        raise BadFile(
            f"an .npz file of {total} bytes unpacked, where at most {_LARGEST} are read",
            where=str(path),
            fix="store fewer examples, or pictures as uint8",
        )


def _tensor(array: np.ndarray, key: str, where: str) -> Tensor:
    wanted = "iu" if key.startswith("y") else "f"
    if array.dtype.kind not in wanted and not (wanted == "f" and array.dtype == np.uint8):
        kinds = "integers" if wanted == "iu" else "uint8 (pictures) or floats"
        raise BadData(f"{key} holds {array.dtype}", where=where, fix=f"store {kinds}")
    dtype = np.int64 if wanted == "iu" else np.uint8 if array.dtype == np.uint8 else np.float32
    return torch.from_numpy(np.ascontiguousarray(array, dtype=dtype))


def _checked(name: str, arrays: dict[str, Tensor], terms: str, where: str) -> Dataset:
    train, test = (_examples(arrays, part, where) for part in ("train", "test"))
    if train.shape != test.shape or train.x.dtype != test.x.dtype:
        raise BadData(
            f"training inputs are {train.x.dtype} {train.shape}, test inputs {test.x.dtype} {test.shape}",
            where=where,
            fix="store both alike",
        )
    classes = int(train.y.max()) + 1
    low, high = min(int(p.y.min()) for p in (train, test)), max(int(p.y.max()) for p in (train, test))
    if low < 0 or high >= classes or classes < 2:
        raise BadData(
            f"labels reach from {low} to {high}, those of the training examples up to {classes - 1}",
            where=where,
            fix="number at least two classes from 0, all of them in the training examples",
        )
    inside = not train.x.is_floating_point() or all(bool(((p.x >= 0) & (p.x <= 1)).all()) for p in (train, test))
    mean, std = statistics(train)
    return Dataset(
        name=name,
        train=train,
        test=test,
        classes=classes,
        terms=terms,
        mean=mean,
        std=std,
        clip=(0.0, 1.0) if inside else None,
        digest=digest(train, test),
    )


def _examples(arrays: dict[str, Tensor], part: str, where: str) -> Examples:
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"].long()
    if x.dtype == torch.uint8 and x.dim() == 3:
        x = x[:, None]
    if x.dim() == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        raise BadData(
            f"x_{part} of shape {tuple(x.shape)} has its channels last", where=where, fix="store pictures as (N, C, H, W)"
        )
    if x.dim() < 2 or not x.numel() or y.shape != x.shape[:1]:
        raise BadData(
            f"x_{part} of shape {tuple(x.shape)} with y_{part} of shape {tuple(y.shape)}",
            where=where,
            fix="store inputs (N, *x) and labels (N,), at least one",
        )
    if x.is_floating_point() and not bool(x.isfinite().all()):
        raise BadData(f"x_{part} holds NaN or infinity", where=where, fix="remove such examples, or replace the values")
    return Examples(x, y)
