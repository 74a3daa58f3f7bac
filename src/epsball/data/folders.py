"""Pictures in a folder a class: `train/CLASS/*.png` and `test/CLASS/*.png`, or `CLASS/*.png` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from epsball.data.pictures import read_picture
from epsball.data.png import decode
from epsball.errors import BadData, BadFile

if TYPE_CHECKING:
    from pathlib import Path

    from epsball.types import Tensor

_PARTS = ("train", "test")
_JPEG = (".jpg", ".jpeg")
_LARGEST = 2**34  # bytes of all pixels
Named = list[tuple[str, "Path"]]  # class and file of each picture


def laid_out(path: Path) -> bool:
    """Whether a folder has pictures in folders of classes."""
    return path.is_dir() and any(_is_picture(file) for folder in _folders(path) for file in (folder, *_below(folder)))


def read(path: Path) -> dict[str, Tensor]:
    """Pictures (N, C, H, W) of bytes and labels (N,): classes are numbered by their names, in alphabetical order.

    Returns:
        x_train, y_train, x_test and y_test; x and y where there are no folders `train` and `test`.

    Raises:
        BadFile: a damaged picture, a file that is none, or more than can be read.
        BadData: one part without the other, pictures of different sizes, transparent ones, or a class without training pictures.
        MissingExtra: a JPEG without Pillow.
    """
    whole = not any((path / part).is_dir() for part in _PARTS)
    parts = {"": _listed(path)} if whole else {f"_{part}": _listed(path / part) for part in _PARTS}
    known = sorted({name for name, _ in next(iter(parts.values()))})
    unknown = next((f"{name!r} ({file})" for named in parts.values() for name, file in named if name not in known), None)
    if unknown:
        raise BadData(
            f"the class {unknown} has no training pictures", where=str(path), fix="use the same folders in train and test"
        )
    pixels = _stacked([file for named in parts.values() for _, file in named], path)
    found, at = {}, 0
    for part, named in parts.items():
        found[f"x{part}"] = pixels[at : at + len(named)]
        found[f"y{part}"] = torch.tensor([known.index(name) for name, _ in named])
        at += len(named)
    return found


def _below(folder: Path) -> list[Path]:
    return [inner for place in _folders(folder) for inner in _visible(place)] + _visible(folder)


def _visible(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if not file.name.startswith("."))


def _folders(path: Path) -> list[Path]:
    return [folder for folder in _visible(path) if folder.is_dir()]


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in (".png", *_JPEG)


def _listed(path: Path) -> Named:
    if not path.is_dir():
        raise BadData(
            "training pictures without test pictures, or the reverse", where=str(path), fix="give train/ and test/, or neither"
        )
    found = [(folder.name, file) for folder in _folders(path) for file in _visible(folder)]
    wrong = next((file for _, file in found if not _is_picture(file) or not file.is_file()), None)
    if wrong is not None:
        raise BadFile("not a picture, in a folder of a class", where=str(wrong), fix="keep .png and .jpg files there alone")
    if not found:
        raise BadFile("no pictures", where=str(path), fix="give a folder a class, with .png or .jpg files")
    return found


def _stacked(files: list[Path], path: Path) -> Tensor:
    first = _pixels(files[0])
    if first.numel() * len(files) > _LARGEST:
        raise BadFile(f"{len(files)} pictures of {first.numel()} bytes", where=str(path), fix=f"at most {_LARGEST} bytes are read")
    found = [first, *map(_pixels, files[1:])]
    for file, picture in zip(files, found, strict=True):
        if picture.shape[1:] != first.shape[1:]:
            sizes = f"{tuple(picture.shape[1:])} pixels, the first one {tuple(first.shape[1:])}"
            raise BadData(f"a picture of {sizes}", where=str(file), fix="make all of one size")
    channels = max(picture.shape[0] for picture in found)
    return torch.stack([picture.expand(channels, -1, -1) for picture in found])


def _pixels(file: Path) -> Tensor:
    """(C, H, W) bytes: one channel for a grey PNG, else three."""
    if file.suffix.lower() in _JPEG:
        return (read_picture(file) * 255).round().to(torch.uint8)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadFile(f"the picture cannot be read: {error.strerror}", where=str(file), fix="give files you may read") from error
    picture = torch.from_numpy(decode(data, str(file)).copy()).permute(2, 0, 1)
    if len(picture) == 4:
        if not bool((picture[3] == 255).all()):
            raise BadData("a picture that is partly transparent", where=str(file), fix="paint it on a background of your choice")
        picture = picture[:3]
    return picture
