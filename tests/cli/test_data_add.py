"""`data add` and `data get`: pictures in folders, arrays of other names, tensors, and where fetched sets go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_verbs import call

from epsball.data import find
from epsball.data.base import sources


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def put(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def grey(value: int, shape: tuple[int, ...] = (3, 4)) -> np.ndarray:
    return np.full(shape, value, np.uint8)


def refused(capsys, says: str, *arguments: object) -> None:
    code, _, err = call(capsys, "data", "add", "mine", *arguments)
    assert code == 2, err
    assert says in err
    assert err.count("Fix:") == 1


def test_folders_of_train_and_test_pictures(capsys, tmp_path):
    for part, shift in (("train", 0), ("test", 100)):
        for number, name in enumerate(("ant", "bee")):
            for i in range(2):
                put(tmp_path / "p" / part / name / f"{i}.png", grey(shift + 10 * number + i))
    put(tmp_path / "p/test/bee/2.png", np.dstack([grey(1), grey(2), grey(3)]))
    (tmp_path / "p/train/.DS_Store").write_bytes(b"x")
    assert call(capsys, "data", "add", "mine", tmp_path / "p")[0] == 0
    data = find.load("mine")
    assert data.train.x.dtype == torch.uint8
    assert data.train.x.shape == (4, 3, 3, 4)
    assert data.train.x[:, 0, 0, 0].tolist() == [0, 1, 10, 11]
    assert data.train.y.tolist() == [0, 0, 1, 1]
    assert data.test.x[-1, :, 0, 0].tolist() == [1, 2, 3]
    assert data.test.y.tolist() == [0, 0, 1, 1, 1]


def test_folders_without_parts_are_split_by_class(capsys, tmp_path):
    for number, name in enumerate(("ant", "bee")):
        for i in range(5):
            put(tmp_path / "p" / name / f"{i}.png", grey(10 * number + i))
    assert call(capsys, "data", "add", "mine", tmp_path / "p", "--test", "0.4", "--seed", "1")[0] == 0
    data = find.load("mine")
    assert data.train.x.shape == (6, 1, 3, 4)
    assert data.test.y.tolist() == [0, 0, 1, 1]
    assert sorted([*data.train.x[:, 0, 0, 0].tolist(), *data.test.x[:, 0, 0, 0].tolist()]) == [*range(5), *range(10, 15)]


def test_jpeg_pictures(capsys, tmp_path):
    for number, name in enumerate(("ant", "bee")):
        for i in range(2):
            put(tmp_path / "p" / name / f"{i}.jpg", grey(100 * number, (8, 8)))
    assert call(capsys, "data", "add", "mine", tmp_path / "p")[0] == 0
    assert find.load("mine").train.x[:, :, 0, 0].tolist() == [[0] * 3, [100] * 3]


def _odd(name: str, where: Path) -> None:
    for part in ("train", "test"):
        for label in ("a", "b"):
            put(where / part / label / "0.png", grey(1))
    if name == "size":
        put(where / "test/a/1.png", grey(1, (4, 4)))
    elif name == "text":
        (where / "test/a/1.txt").write_text("no picture")
    elif name == "damaged":
        (where / "test/a/1.png").write_bytes((where / "test/a/0.png").read_bytes()[:40])
    elif name == "new":
        put(where / "test/c/1.png", grey(1))
    elif name == "transparent":
        put(where / "test/a/1.png", np.dstack([grey(1), grey(1), grey(1), grey(7)]))
    elif name == "alone":
        (where / "test").rename(where / ".test")
    elif name == "deep":
        put(where / "train/a/more/1.png", grey(1))


@pytest.mark.parametrize(
    ("name", "says"),
    [("size", "(4, 4)"), ("text", "1.txt"), ("damaged", "damaged PNG"), ("new", "the class 'c'"), ("transparent", "transparent"),
     ("alone", "without test pictures"), ("deep", "train/a/more")],
)  # fmt: skip
def test_pictures_that_make_no_set_are_refused_by_name(capsys, tmp_path, name, says):
    _odd(name, tmp_path / "p")
    refused(capsys, says, tmp_path / "p")


X, Y = np.arange(40, dtype=np.uint8).reshape(10, 1, 2, 2), np.arange(10) % 2


def saved(path: Path, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_arrays_of_other_names_in_one_part_or_two(capsys, tmp_path, suffix):
    one = saved(tmp_path / f"a{suffix}", images=X, labels=Y)
    assert call(capsys, "data", "add", "one", one, "--keys", "x=images, y=labels")[0] == 0
    data = find.load("one")
    assert (len(data.train), sorted(data.test.y.tolist())) == (8, [0, 1])
    assert sorted(torch.cat([data.train.x, data.test.x]).flatten().tolist()) == X.flatten().tolist()
    two = saved(tmp_path / f"b{suffix}", a=X, b=Y, c=X[:4], d=Y[:4])
    assert call(capsys, "data", "add", "two", two, "--keys", "x_train=a,y_train=b,x_test=c,y_test=d")[0] == 0
    assert len(find.load("two").test) == 4
    plain = saved(tmp_path / f"c{suffix}", x_train=X, y_train=Y, x_test=X[:4], y_test=Y[:4])
    assert call(capsys, "data", "add", "plain", plain)[0] == 0
    assert find.load("plain").digest == find.load("two").digest


@pytest.mark.parametrize(
    ("keys", "says"),
    [("x=images", "does not name"), ("x=images,y", "does not name"), ("x=images,z=labels", "does not name"),
     ("x=image,y=labels", "did you mean 'images'"), ("x=,y=labels", "does not name")],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_keys_that_name_no_set_are_refused(capsys, tmp_path, suffix, keys, says):
    refused(capsys, says, saved(tmp_path / f"a{suffix}", images=X, labels=Y), "--keys", keys)


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("bomb"),)


def test_a_pt_file_of_more_than_tensors_is_refused_unread(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, (held, says) in enumerate([({"x_train": Bomb()}, "more than tensors"), (torch.zeros(3), "no tensors by name"),
                                           ({"x_train": [1, 2]}, "no tensors by name")]):  # fmt: skip
        torch.save(held, tmp_path / f"{number}.pt")
        refused(capsys, says, tmp_path / f"{number}.pt")
    assert not (tmp_path / "bomb").exists()
    (tmp_path / "cut.pt").write_bytes((tmp_path / "1.pt").read_bytes()[:100])
    refused(capsys, "damaged", tmp_path / "cut.pt")


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.eye(4).to_sparse(), "no plain tensor"),
        (torch.zeros(4, 2, dtype=torch.complex64), "complex64"),
        (torch.zeros(1, 1).expand(2**40, 1), "at most"),
    ],
)
def test_tensors_that_are_no_plain_numbers_are_refused(capsys, tmp_path, x, says):
    torch.save({"x": x, "y": torch.arange(4) % 2}, tmp_path / "a.pt")
    refused(capsys, says, tmp_path / "a.pt", "--keys", "x=x,y=y")


def test_a_split_or_keys_where_there_is_none_to_make_are_refused(capsys, tmp_path):
    plain = saved(tmp_path / "c.npz", x_train=X, y_train=Y, x_test=X[:4], y_test=Y[:4])
    refused(capsys, "a split of what has a test set", plain, "--test", "0.3")
    _odd("", tmp_path / "p")
    refused(capsys, "keys of a folder", tmp_path / "p", "--keys", "x=a,y=b")
    refused(capsys, "a test part of 2", plain, "--test", "2")


def test_what_is_fetched_into_a_folder_is_found_there(capsys, tmp_path, monkeypatch):
    from idx_files import put as put_idx
    from idx_files import tiny

    kind = type(sources["mnist"])
    monkeypatch.setattr(kind, "fetch", lambda _self, folder, _say: put_idx(folder, tiny()))
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "sets"
    assert call(capsys, "data", "get", "mnist", "--folder", root)[0] == 0
    monkeypatch.setenv("EPSBALL_DATA", str(root))
    assert find.where("mnist") == root / "mnist"


def test_every_set_is_found_under_its_own_name():
    assert [name for name, source in sources.items() if source.places and name not in source.places] == []
