"""A user's own data sets, and a summary of any set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from epsball.data import arrays, folders, idx, stored, table, tiny_imagenet
from epsball.data.base import Dataset, digest, sources, statistics
from epsball.data.find import load
from epsball.data.split import Split
from epsball.errors import BadConfig, BadData
from epsball.examples import Examples

if TYPE_CHECKING:
    from pathlib import Path

    from epsball.types import Tensor

_TERMS = "the user's own; epsball knows no terms"


def add(
    name: str,
    path: Path,
    terms: str = _TERMS,
    csv: table.Table | None = None,
    *,
    keys: str = "",
    split: Split | None = None,
) -> Path:
    """Copy a set into the cache, checked, under a name that `load` then knows.

    Args:
        name: of the set from now on.
        path: a folder of four idx files in MNIST's layout; an .npz file with x_train, y_train, x_test and y_test, where inputs are
            uint8 pictures (N, C, H, W) or (N, H, W), or floats (N, *x), and labels are integers (N,) from 0; a .pt file of such
            tensors by name; a folder of pictures, one folder a class, below `train` and `test` or not; or a folder or zip
            archive in Tiny ImageNet's layout, whole or a part.
        terms: under which the data may be used.
        csv: how a CSV table is read; then path is one.
        keys: what an .npz or .pt file calls its arrays: "x=images,y=labels", or all four; "" as above.
        split: of examples that came in one part; a fifth of each class is the test set by default.

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
    if csv is not None and (keys or split):
        raise BadConfig("keys or a split beside a table", where=str(path), fix="a table's split is csv=Table(..., test=, seed=)")
    data = table.read(name, path, csv, terms) if csv else _checked(name, _arrays(path, keys, split), terms, str(path))
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


def _arrays(path: Path, keys: str, split: Split | None) -> dict[str, Tensor]:
    if keys and path.is_dir():
        raise BadConfig("keys of a folder", where="--keys", fix="they are of .npz and .pt files: leave them out")
    found = _found(path, arrays.keys_of(keys))
    if set(found) == set(arrays.WHOLE):
        x, y = found["x"], found["y"]
        if x.dim() < 2 or y.shape != x.shape[:1]:
            raise BadData(f"inputs {tuple(x.shape)} with labels {tuple(y.shape)}", where=str(path), fix="store one label an input")
        train, test = (split or Split())(x, y, str(path))
        return dict(zip(stored.KEYS, (train.x, train.y, test.x, test.y), strict=True))
    if split is not None:
        raise BadConfig("a split of what has a test set", where="--test, --seed", fix="leave them out")
    return found


def _found(path: Path, keys: arrays.Keys) -> dict[str, Tensor]:
    if tiny_imagenet.laid_out(path):
        return _from_layout(path)
    if path.is_dir():
        return folders.read(path) if folders.laid_out(path) else _from_idx(path)
    return arrays.read(path, keys)


def _from_layout(path: Path) -> dict[str, Tensor]:
    data = tiny_imagenet.TinyImageNet().read(path)
    return dict(zip(stored.KEYS, (data.train.x, data.train.y, data.test.x, data.test.y), strict=True))


def _from_idx(folder: Path) -> dict[str, Tensor]:
    found = {}
    for key, name in idx.FILES.items():
        data, path = idx.read(folder, name)
        found[key] = idx.parse(data, 3 if key.startswith("x") else 1, str(path))
    return found


def _checked(name: str, found: dict[str, Tensor], terms: str, where: str) -> Dataset:
    train, test = (_examples(found, part, where) for part in ("train", "test"))
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


def _examples(found: dict[str, Tensor], part: str, where: str) -> Examples:
    x, y = found[f"x_{part}"], found[f"y_{part}"].long()
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
