"""A user's own sets: copied into the cache, checked at the door and each time they are loaded."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from epsball.data import arrays as arrays_of_files
from epsball.data import find, stored, user
from epsball.errors import BadConfig, BadData, BadFile
from epsball.storage import read_tensors, write_tensors
from idx_files import idx_bytes, put, tiny


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/epsball/data"


def arrays(**changes):
    random = np.random.default_rng(0)
    given = {
        "x_train": random.random((6, 5)),
        "y_train": np.array([0, 1, 2, 0, 1, 2], np.uint8),
        "x_test": random.random((3, 5)),
        "y_test": np.array([2, 1, 0]),
    }
    return given | changes


def saved(path, **changes):
    np.savez(path, **{k: v for k, v in arrays(**changes).items() if v is not None})
    return path


def test_an_npz_file_becomes_a_set_with_a_name(tmp_path, cache):
    assert user.add("mine", saved(tmp_path / "a.npz")) == cache / "mine"
    data = find.load("mine")
    assert torch.equal(data.train.x, torch.tensor(arrays()["x_train"], dtype=torch.float32))
    assert (data.classes, data.clip, len(data.mean), data.test.y.tolist()) == (3, (0.0, 1.0), 5, [2, 1, 0])
    summary = user.check("mine")
    assert json.loads(json.dumps(summary)) == summary
    assert summary["per_class"] == [[2, 1], [2, 1], [2, 1]]
    assert stored.names() == ["mine"]


def test_a_folder_of_idx_files_becomes_a_set(tmp_path):
    put(tmp_path / "mine", tiny())
    user.add("mine", tmp_path / "mine", terms="CC0")
    summary = user.check("mine")
    assert (summary["train"], summary["shape"], summary["terms"]) == (6, [1, 4, 5], "CC0")
    data = find.load("mine")
    assert data.train.x.dtype == torch.uint8
    assert data.train.x.numpy().tobytes() == tiny()["train-images-idx3-ubyte"][16:]


def test_inputs_outside_zero_and_one_have_no_valid_range(tmp_path):
    user.add("wide", saved(tmp_path / "a.npz", x_train=arrays()["x_train"] * 7 - 3))
    summary = user.check("wide")
    assert summary["clip"] is None
    assert summary["range"][0] < 0


def test_the_same_set_may_be_added_again_but_not_another(tmp_path):
    user.add("mine", saved(tmp_path / "a.npz"))
    first = user.check("mine")
    user.add("mine", saved(tmp_path / "b.npz"))
    with pytest.raises(BadConfig, match="another set 'mine'"):
        user.add("mine", saved(tmp_path / "c.npz", y_test=np.array([0, 0, 0])))
    assert user.check("mine") == first


@pytest.mark.parametrize("name", ["mnist", "digits", "../x", "a/b", "", ".hidden", "a b"])
def test_names_that_cannot_be_taken(tmp_path, cache, name):
    with pytest.raises(BadConfig):
        user.add(name, saved(tmp_path / "a.npz"))
    assert not cache.exists()


BAD = {
    "labels out of range": ({"y_test": np.array([0, 1, 3])}, BadData, "labels reach from 0 to 3"),
    "negative labels": ({"y_train": np.array([-1, 1, 2, 0, 1, 2])}, BadData, "labels reach from -1 to 2"),
    "one class": ({"y_train": np.zeros(6, int), "y_test": np.zeros(3, int)}, BadData, "at least two classes"),
    "label count": ({"y_train": np.array([0, 1])}, BadData, "y_train of shape"),
    "one-hot labels": ({"y_train": np.eye(6, dtype=int)}, BadData, "y_train of shape"),
    "float labels": ({"y_train": np.zeros(6)}, BadData, "y_train holds float64"),
    "NaN": ({"x_train": np.full((6, 5), np.nan)}, BadData, "NaN"),
    "overflow": ({"x_train": np.full((6, 5), 1e300)}, BadData, "infinity"),
    "integers": ({"x_train": np.ones((6, 5), int)}, BadData, "x_train holds int64"),
    "empty": ({"x_test": np.zeros((0, 5)), "y_test": np.zeros(0, int)}, BadData, "at least one"),
    "test shape": ({"x_test": np.zeros((3, 4))}, BadData, "store both alike"),
    "channels last": ({"x_train": np.zeros((6, 8, 8, 3), np.uint8)}, BadData, "channels last"),
    "missing": ({"y_test": None}, BadFile, "without y_test"),
    "pickled": ({"y_test": np.array([{}, [], 0], object)}, BadFile, "Object arrays cannot be loaded"),
}


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_used_is_refused_and_leaves_nothing(tmp_path, cache, kind):
    changes, error, said = BAD[kind]
    with pytest.raises(error, match=said) as caught:
        user.add("mine", saved(tmp_path / "a.npz", **changes))
    assert str(tmp_path / "a.npz") in caught.value.where
    assert not cache.exists()


def test_files_that_are_no_sets(tmp_path):
    whole = saved(tmp_path / "a.npz").read_bytes()
    for name, data in {"cut.npz": whole[: len(whole) // 2], "text.npz": b"hello", "none.npz": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadFile, match="not a whole"):
            user.add("mine", tmp_path / name)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(BadFile, match="not a whole"):
        user.add("mine", tmp_path / "one.npy")
    with pytest.raises(BadFile, match="no such file"):
        user.add("mine", tmp_path / "nowhere")
    put(tmp_path / "idx", tiny() | {"train-labels-idx1-ubyte": idx_bytes(torch.zeros(9, dtype=torch.uint8))})
    with pytest.raises(BadData, match="y_train"):
        user.add("mine", tmp_path / "idx")


def test_a_cache_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(BadFile, match="cannot be kept"):
        user.add("mine", saved(tmp_path / "a.npz"))


def test_a_set_that_changed_in_the_cache_is_refused(tmp_path):
    user.add("mine", saved(tmp_path / "a.npz"))
    path = stored.place("mine")
    tensors, described = read_tensors(path)
    write_tensors(path, tensors | {"y_test": tensors["y_test"].flip(0)}, described)
    with pytest.raises(BadFile, match="changed since they were added"):
        user.check("mine")
    write_tensors(path, tensors, {"format": "something else"})
    with pytest.raises(BadFile, match="not a data set"):
        find.load("mine")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(BadFile, match="truncated"):
        find.load("mine")


@pytest.mark.parametrize("suffix", [".npy", ""])
@pytest.mark.parametrize("shape", [(40_000, 1_000_000), (40_000_000_000,), (7, 5)])
def test_an_npz_that_declares_more_than_it_holds_is_refused_before_memory_is_asked_for(tmp_path, shape, suffix):
    path = saved(tmp_path / "a.npz", x_train=None)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": shape, "fortran_order": False, "descr": "|u1"})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("x_train" + suffix, header.getvalue() + bytes(30))
    tracemalloc.start()
    with pytest.raises(BadFile, match="declares") as caught:
        user.add("mine", path)
    assert tracemalloc.get_traced_memory()[1] < 10**8
    tracemalloc.stop()
    assert caught.value.where == str(path)


def test_an_npz_larger_than_is_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays_of_files, "LARGEST", 100)
    with pytest.raises(BadFile, match="at most 100 are read"):
        user.add("mine", saved(tmp_path / "a.npz"))
