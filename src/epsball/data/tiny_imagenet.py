"""Tiny ImageNet (Stanford CS231n): 200 classes of 64x64 pictures, 500 to train and 50 to validate each; or a part of it."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from epsball.data.base import Dataset, Say, digest, sources
from epsball.data.origins import CannotFetch, Mirror, Origin
from epsball.data.trees import FolderTree, ZipTree, open_tree
from epsball.errors import BadFile, MissingExtra
from epsball.examples import Examples
from epsball.storage import write_bytes

if TYPE_CHECKING:
    from epsball.types import Tensor

_SIDE = 64
_MARK = "wnids.txt"
_FILE = "tiny-imagenet-200.zip"
_SHA256 = "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"
_TRAIN = re.compile(r"train/(n\d+)/images/(n\d+)_(\d+)\.JPEG")
_MIRROR = Mirror("http://cs231n.stanford.edu", patience=1800.0, suffix="")
_HOW = f"epsball data get tiny-imagenet --from PATH/{_FILE}"


@dataclass(frozen=True)
class TinyImageNet:
    """The official layout, as a zip archive or a folder: `wnids.txt`, `train/WNID/images/*.JPEG`, `val/val_annotations.txt`.

    Classes are those of `wnids.txt` that have training pictures, numbered in its order, so a part of the set is a set. The
    published validation pictures are the test examples, as everywhere: the labels of the test pictures are not public.

    Attributes:
        sha256: of the whole official archive.
        mirror: where its makers publish it.
        mean: of the training pixels in [0, 1], a channel.
        std: the figures that the literature normalises by.
    """

    size: str = "248 MB (1.4 GB in memory)"
    terms: str = "none stated; made from ImageNet, whose terms allow research and teaching that is not commercial"
    places: tuple[str, ...] = ("tiny-imagenet-200", "tiny-imagenet", "tiny-imagenet-subset", ".")
    sha256: str = _SHA256
    mirror: Origin = _MIRROR
    mean: tuple[float, ...] = (0.4802, 0.4481, 0.3975)
    std: tuple[float, ...] = (0.2302, 0.2265, 0.2262)

    def holds(self, folder: Path) -> bool:
        return _find(folder) is not None

    def load(self, folder: Path | None) -> Dataset:
        """Pictures as uint8 (N, 3, 64, 64), grey ones with three equal channels; labels as int64 (N,)."""
        found = _find(folder) if folder is not None else None
        if found is None:
            raise BadFile("no files of tiny-imagenet", where=str(folder), fix=_HOW)
        return self.read(found)

    def read(self, path: Path) -> Dataset:
        """The set, or the part of it, that one archive or folder holds.

        Raises:
            BadFile: not the official layout, or a damaged picture.
            MissingExtra: Pillow is not installed.
        """
        tree = open_tree(path, _MARK)
        known = tree.read(_MARK).decode(errors="replace").split()
        train = _training(tree.names, known)
        present = {wnid for wnid, _ in train}
        classes = {wnid: label for label, wnid in enumerate(wnid for wnid in known if wnid in present)}
        test = [(wnid, name) for wnid, name in _validation(tree) if wnid in classes]
        if len(classes) < 2 or not test:
            raise BadFile(
                f"training pictures of {len(classes)} classes and {len(test)} validation pictures of them",
                where=str(path),
                fix="give a part with at least two classes, train/WNID/images/*.JPEG, and their val/images",
            )
        parts = [_examples(tree, part, classes) for part in (train, test)]
        return Dataset(
            name="tiny-imagenet",
            train=parts[0],
            test=parts[1],
            classes=len(classes),
            terms=self.terms,
            mean=self.mean,
            std=self.std,
            clip=(0.0, 1.0),
            digest=digest(parts[0], parts[1]),
        )

    def fetch(self, folder: Path, say: Say) -> None:
        say(f"trying {self.mirror}")
        try:
            data = self.mirror.fetch((_FILE,))[_FILE]
        except CannotFetch as error:
            raise CannotFetch(
                f"tiny-imagenet could not be fetched: {error.what}", where=error.where, fix=f"get {_FILE} yourself, then: {_HOW}"
            ) from error
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise CannotFetch(
                f"not the published {_FILE}: SHA-256 {found[:12]}... instead of {self.sha256[:12]}...",
                where=str(self.mirror),
                fix=f"get {_FILE} yourself, then: {_HOW}",
            )
        write_bytes(folder / _FILE, data)
        say(f"SHA-256 verified, {len(data) / 1e6:.1f} MB written to {folder}")

    def take(self, path: Path, folder: Path, say: Say) -> None:
        """Copy an archive or a folder of the official layout, whole or a part of it, after reading every picture.

        Raises:
            BadFile: not such a layout, or a damaged picture.
            MissingExtra: Pillow is not installed.
        """
        data = self.read(path)
        say(f"{data.classes} classes, {len(data.train):,} training and {len(data.test):,} validation pictures, all read")
        packed = path.read_bytes() if path.is_file() else _packed(open_tree(path, _MARK))
        official = hashlib.sha256(packed).hexdigest() == self.sha256
        own = f"not the official archive itself; SHA-256 of its data: {data.digest}"
        say("SHA-256 verified: the whole official archive" if official else own)
        write_bytes(folder / _FILE, packed)


def laid_out(path: Path) -> bool:
    """Whether a folder or an archive has the set's list of classes, and so claims to be in its layout."""
    try:
        open_tree(path, _MARK)
    except BadFile:
        return False
    return True


def _find(folder: Path) -> Path | None:
    """What of a folder is the set: an archive of its name, or the unpacked layout."""
    if not folder.is_dir():
        return None
    archives = sorted(folder.glob("tiny-imagenet*.zip"))
    if archives:
        return archives[0]
    return folder if (folder / _MARK).is_file() or (folder / "tiny-imagenet-200" / _MARK).is_file() else None


def _training(names: frozenset[str], known: Sequence[str]) -> list[tuple[str, str]]:
    """(class, file) of every training picture, by class in the order of `known`, then by number."""
    order = {wnid: i for i, wnid in enumerate(known)}
    found = [(order[m[1]], int(m[3]), m[1], name) for name in names if (m := _TRAIN.fullmatch(name)) and m[1] in order]
    return [(wnid, name) for _, _, wnid, name in sorted(found)]


def _validation(tree: FolderTree | ZipTree) -> list[tuple[str, str]]:
    """(class, file) of every annotated validation picture that is there, in the order of the annotations."""
    rows = [line.split("\t") for line in tree.read("val/val_annotations.txt").decode(errors="replace").splitlines()]
    return [(row[1], name) for row in rows if len(row) > 1 and (name := f"val/images/{row[0]}") in tree.names]


def _examples(tree: FolderTree | ZipTree, pictures: list[tuple[str, str]], classes: dict[str, int]) -> Examples:
    x = torch.empty(len(pictures), 3, _SIDE, _SIDE, dtype=torch.uint8)
    for i, (_, name) in enumerate(pictures):
        x[i] = _picture(tree.read(name), name)
    return Examples(x, torch.tensor([classes[wnid] for wnid, _ in pictures]))


def _picture(data: bytes, name: str) -> Tensor:
    """A JPEG as (3, 64, 64) bytes. Its size is checked before anything is decoded."""
    library = _pillow()
    try:
        with library.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            if picture.size != (_SIDE, _SIDE):
                raise BadFile(f"a picture of {picture.size} pixels", where=name, fix=f"Tiny ImageNet has {_SIDE}x{_SIDE}")
            pixels = np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise BadFile(f"a damaged picture: {error}", where=name, fix="use a whole copy of the set") from error
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra(
            "the pictures of tiny-imagenet are JPEG files, which Pillow reads, and it is not installed",
            fix="pip install 'epsball[report]'",
        ) from error
    return Image


def _packed(tree: FolderTree | ZipTree) -> bytes:
    """The files of the layout as one archive."""
    out = io.BytesIO()
    kept = [name for name in sorted(tree.names) if _TRAIN.fullmatch(name) or name.startswith("val/") or name == _MARK]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        for name in kept:
            file.writestr(zipfile.ZipInfo(f"tiny-imagenet-200/{name}"), tree.read(name))
    return out.getvalue()


sources.register("tiny-imagenet")(TinyImageNet())
