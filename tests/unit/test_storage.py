"""Storage: whole or not at all, data only, one clear error."""

from __future__ import annotations

import errno
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from epsball import storage
from epsball.errors import BadFile, DiskFull

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "deep" / "x.safetensors"
    storage.write_tensors(path, TENSORS, {"step": 3})
    tensors, metadata = storage.read_tensors(path)
    assert metadata == {"step": 3}
    assert all(torch.equal(tensors[k], v) for k, v in TENSORS.items())
    assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]


def test_a_truncated_file_is_one_error(tmp_path):
    path = tmp_path / "x.safetensors"
    storage.write_tensors(path, TENSORS, {})
    whole = path.read_bytes()
    for size in (0, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(BadFile, match="truncated or malformed"):
            storage.read_tensors(path)


def test_a_foreign_file_is_refused_and_a_pickle_never_runs(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(TENSORS, path)
    with pytest.raises(BadFile, match="did not write"):
        storage.read_tensors(path)

    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BadFile, match="truncated or malformed"):
        storage.read_tensors(path)
    assert not (tmp_path / "trapped").exists()


def test_a_missing_file_is_one_error(tmp_path):
    with pytest.raises(BadFile, match="no such checkpoint"):
        storage.read_tensors(tmp_path / "none")


def test_a_full_disk_leaves_the_older_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    storage.write_tensors(path, TENSORS, {"step": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="disk is full"):
        storage.write_tensors(path, TENSORS, {"step": 2})
    monkeypatch.undo()
    assert storage.read_tensors(path)[1] == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
