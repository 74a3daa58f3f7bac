"""Tiny ImageNet in its official layout, as a folder and as an archive: labels, order, grey pictures, parts, and what is refused."""

from __future__ import annotations

import builtins
import hashlib
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from epsball.data import fetch, find, trees
from epsball.data.base import sources
from epsball.data.origins import CannotFetch
from epsball.data.tiny_imagenet import TinyImageNet
from epsball.data.trees import open_tree
from epsball.data.user import add
from epsball.errors import BadConfig, BadFile, MissingExtra

WNIDS = ("n02", "n09", "n01", "n05")  # the file's order is the classes' order; n09 has no training pictures


def jpeg(level: int, mode: str = "RGB", side: int = 64) -> bytes:
    """A picture of one colour: JPEG keeps it to within a level or two."""
    file = io.BytesIO()
    Image.new(mode, (side, side), level if mode == "L" else (level, 255 - level, 40)).save(file, "JPEG", quality=95)
    return file.getvalue()


def layout(counts: dict[str, int] | None = None) -> dict[str, bytes]:
    counts = counts or {"n02": 11, "n01": 2, "n05": 1}
    files = {"wnids.txt": "\n".join(WNIDS).encode(), "words.txt": b"n02\tthing"}
    for wnid, count in counts.items():
        for i in range(count):
            files[f"train/{wnid}/images/{wnid}_{i}.JPEG"] = jpeg(20 * i + 10, "L" if (wnid, i) == ("n02", 10) else "RGB")
    files["val/val_annotations.txt"] = b"val_0.JPEG\tn05\t0\t0\t9\t9\nval_1.JPEG\tn09\t0\t0\t9\t9\nval_2.JPEG\tn02\t0\t0\t9\t9\n"
    files |= {f"val/images/val_{i}.JPEG": jpeg(60 * i + 30) for i in range(3)}
    return files


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def archive(path: Path, files: dict[str, bytes], root: str = "tiny-imagenet-200/") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            file.writestr(root + name, data)
    return path


def test_folder_and_archive_are_the_same_set(tmp_path):
    folder(tmp_path / "a", layout())
    folder(tmp_path / "b" / "tiny-imagenet-200", layout())
    archive(tmp_path / "c" / "tiny-imagenet-200.zip", layout())
    archive(tmp_path / "d" / "tiny-imagenet-part.zip", layout(), "")
    source = TinyImageNet()
    assert all(source.holds(tmp_path / name) for name in "abcd")
    found = [source.load(tmp_path / name) for name in "abcd"]
    assert len({data.digest for data in found}) == 1
    data = found[0]
    assert (data.classes, data.train.shape, data.train.x.dtype) == (3, (3, 64, 64), torch.uint8)
    assert data.train.y.tolist() == [0] * 11 + [1] * 2 + [2]  # by wnids.txt, without the class that has no pictures
    assert data.test.y.tolist() == [2, 0]  # the picture of n09 is left out


def test_pictures_come_by_number_and_grey_ones_have_equal_channels(tmp_path):
    data = TinyImageNet().load(folder(tmp_path, layout()))
    red = data.train.x[:11, 0].float().mean((1, 2))
    assert torch.allclose(red, 20.0 * torch.arange(11) + 10, atol=3)  # 10 comes after 9, not after 1
    assert torch.allclose(data.train.x[3, 1].float(), torch.tensor(255.0 - 70), atol=3)
    grey = data.train.x[10]
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])


def _without(name: str, **changed: bytes) -> dict[str, bytes]:
    return {k: v for k, v in layout().items() if not k.startswith(name)} | changed


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (_without("wnids", **{"wnids.txt": b"n77"}), "0 classes"),
        (layout({"n02": 3}), "1 classes"),
        (_without("val/images"), "0 validation pictures"),
        (_without("val/val_annotations"), "cannot be read"),
        (layout() | {"train/n01/images/n01_1.JPEG": jpeg(3)[:300]}, "damaged picture"),
        (layout() | {"train/n01/images/n01_1.JPEG": b"GIF89a" + bytes(99)}, "damaged picture"),
        (layout() | {"val/images/val_2.JPEG": jpeg(3, side=32)}, "a picture of"),
    ],
)
def test_what_is_no_part_of_the_set_is_refused(tmp_path, files, said):
    with pytest.raises(BadFile, match=said) as caught:
        TinyImageNet().load(folder(tmp_path, files))
    assert caught.value.where
    assert caught.value.fix


def test_a_damaged_archive_is_refused(tmp_path):
    path = archive(tmp_path / "tiny-imagenet-200.zip", layout())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile, match="zip archive"):
        TinyImageNet().load(tmp_path)
    at = whole.index(b"n01_0.JPEG") + 100
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(BadFile, match="damaged"):
        TinyImageNet().load(tmp_path)
    archive(path, {"other.txt": b""})
    with pytest.raises(BadFile, match=r"no wnids\.txt"):
        TinyImageNet().load(tmp_path)


def test_one_huge_file_is_not_read(tmp_path, monkeypatch):
    archive(tmp_path / "a.zip", layout())
    folder(tmp_path / "f", layout())
    monkeypatch.setattr(trees, "_LIMIT", 3)
    for path in (tmp_path / "a.zip", tmp_path / "f"):
        with pytest.raises(BadFile, match="more than 3 bytes"):
            open_tree(path, "wnids.txt").read("wnids.txt")


class Fake:
    """A mirror that gives these bytes, or fails."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    def __str__(self) -> str:
        return "a test"

    def fetch(self, names: Iterable[str]) -> dict[str, bytes]:
        if self.data is None:
            raise CannotFetch("no answer", where="nowhere")
        return dict.fromkeys(names, self.data)


@pytest.fixture
def registered(monkeypatch, tmp_path):
    """Registers a source in place of the real one; the cache is empty and nothing else lies on the machine."""
    len(sources)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EPSBALL_DATA", str(tmp_path / "mine"))
    monkeypatch.setattr(find, "roots", lambda: (tmp_path / "mine", tmp_path / "cache/epsball/data"))

    def register(source: TinyImageNet) -> Path:
        monkeypatch.setattr(sources, "_entries", sources._entries | {"tiny-imagenet": source})
        return tmp_path / "cache/epsball/data/tiny-imagenet"

    return register


def test_a_fetch_that_fails_prints_the_command_that_takes_a_copy(registered):
    said = []
    place = registered(TinyImageNet(mirror=Fake(None)))
    with pytest.raises(CannotFetch) as caught:
        fetch.get("tiny-imagenet", say=said.append)
    assert "epsball data get tiny-imagenet --from PATH/tiny-imagenet-200.zip" in caught.value.fix
    assert said[0].startswith("tiny-imagenet: 248 MB")
    registered(TinyImageNet(mirror=Fake(b"PK another")))
    with pytest.raises(CannotFetch, match="not the published"):
        fetch.get("tiny-imagenet", say=said.append)
    assert not place.exists()
    with pytest.raises(BadFile) as missing:
        find.load("tiny-imagenet")
    assert missing.value.fix == "epsball data get tiny-imagenet"


def test_the_published_archive_is_kept_as_it_is(registered, tmp_path):
    data = archive(tmp_path / "x.zip", layout()).read_bytes()
    place = registered(TinyImageNet(mirror=Fake(data), sha256=hashlib.sha256(data).hexdigest()))
    assert fetch.get("tiny-imagenet", say=lambda _: None) == place
    assert [p.read_bytes() for p in place.iterdir()] == [data]
    said = []
    fetch.get("tiny-imagenet", say=said.append)
    assert "already" in said[-1]


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_copy_is_taken_and_then_found(registered, tmp_path, kind):
    own = folder(tmp_path / "own", layout()) if kind == "folder" else archive(tmp_path / "own.zip", layout())
    registered(TinyImageNet())
    said = []
    fetch.get("tiny-imagenet", say=said.append, given=own)
    assert "3 classes, 14 training and 2 validation pictures, all read" in said
    assert "not the official archive" in said[-1]
    folder(tmp_path / "again", layout())
    assert find.load("tiny-imagenet").digest == TinyImageNet().load(tmp_path / "again").digest
    archive(tmp_path / "mine" / "tiny-imagenet-200.zip", layout({"n02": 2, "n05": 2}))
    assert find.load("tiny-imagenet").classes == 2  # EPSBALL_DATA comes first


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_part_can_have_a_name_of_its_own(registered, tmp_path, kind):
    registered(TinyImageNet())
    own = folder(tmp_path / "own", layout()) if kind == "folder" else archive(tmp_path / "own.zip", layout())
    add("three", own)
    kept, wanted = find.load("three"), TinyImageNet().read(own)
    assert (kept.digest, kept.classes, kept.train.shape) == (wanted.digest, 3, (3, 64, 64))


def test_a_copy_that_is_none_leaves_nothing_behind(registered, tmp_path):
    place = registered(TinyImageNet())
    with pytest.raises(BadFile):
        fetch.get("tiny-imagenet", say=lambda _: None, given=tmp_path / "nothing")
    assert not place.exists()
    with pytest.raises(BadConfig, match="cifar10 is not taken from a file") as caught:
        fetch.get("cifar10", say=lambda _: None, given=tmp_path)
    assert "EPSBALL_DATA" in caught.value.fix


def test_pillow_is_asked_for_by_name(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "PIL":
            raise ImportError(name)
        return real(name, *rest)

    folder(tmp_path, layout())
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match="Pillow") as caught:
        TinyImageNet().load(tmp_path)
    assert "pip install" in caught.value.fix


@pytest.mark.slow
@pytest.mark.shared
def test_the_real_part_is_read(shared):
    data = TinyImageNet().load(shared / "data" / "tiny-imagenet-subset")
    assert (len(data.train), len(data.test), data.classes) == (5000, 500, 10)
    assert data.train.y.bincount().tolist() == [500] * 10
    assert data.test.y.bincount().tolist() == [50] * 10
    mean = data.train.x.float().mean((0, 2, 3)) / 255
    assert np.allclose(mean, data.mean, atol=0.06)
