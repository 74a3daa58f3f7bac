"""The idx reader on files made here byte by byte: what is right is read exactly, what is not is one clear BadFile."""

from __future__ import annotations

import gzip
import struct

import pytest
import torch

from epsball.data import idx
from epsball.errors import BadFile
from idx_files import idx_bytes

PICTURES = torch.arange(24, dtype=torch.uint8).view(2, 3, 4) * 10


def test_values_and_shape_are_read_exactly():
    got = idx.parse(idx_bytes(PICTURES), 3, "here")
    assert got.dtype == torch.uint8
    assert torch.equal(got, PICTURES)
    assert idx.parse(idx_bytes(torch.zeros(0, 3, 4, dtype=torch.uint8)), 3, "here").shape == (0, 3, 4)


def test_gzipped_and_plain_files_are_told_apart_by_content(tmp_path):
    raw = idx_bytes(PICTURES)
    (tmp_path / "a").write_bytes(gzip.compress(raw))  # gzip without .gz
    (tmp_path / "b.gz").write_bytes(gzip.compress(raw))
    (tmp_path / "c").write_bytes(raw)
    for name in "abc":
        assert idx.read(tmp_path, name)[0] == raw


RAW = idx_bytes(PICTURES)
BROKEN = {
    "truncated": (RAW[:-1], "truncated: 23 values instead of 24"),
    "cut in its header": (RAW[:9], "truncated in its header"),
    "cut in its magic": (RAW[:3], "an idx file of 3 bytes is truncated"),
    "empty": (b"", "an idx file of 0 bytes is truncated"),
    "too long": (RAW + b"\0", "longer than its header says: 25 values instead of 24"),
    "wrong count": (RAW[:4] + struct.pack(">I", 3) + RAW[8:], "truncated: 24 values instead of 36"),
    "wrong type": (b"\0\0\x0d\3" + RAW[4:], "starts with 00000d03 instead of 00000803"),
    "wrong rank": (idx_bytes(PICTURES[0, 0]), "starts with 00000801 instead of 00000803"),
    "a web page": (b"<html>not found</html>", "starts with 3c68746d"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_one_error_that_names_the_file(kind):
    data, said = BROKEN[kind]
    with pytest.raises(BadFile) as caught:
        idx.parse(data, 3, "some/train-images")
    assert said in caught.value.what
    assert caught.value.where == "some/train-images"
    assert caught.value.fix


@pytest.mark.parametrize("cut", [3, 12, -9, -1])
def test_a_truncated_gzip_file_is_bad(tmp_path, cut):
    (tmp_path / "x.gz").write_bytes(gzip.compress(RAW)[:cut])
    with pytest.raises(BadFile, match="truncated or damaged gzip") as caught:
        idx.read(tmp_path, "x")
    assert str(tmp_path / "x.gz") in str(caught.value)


def test_a_gzip_file_with_a_flipped_bit_is_bad():
    data = bytearray(gzip.compress(RAW))
    data[len(data) // 2] ^= 1
    with pytest.raises(BadFile, match="damaged"):
        idx.unpack(bytes(data), "here")


def test_a_gzip_bomb_ends_at_the_limit():
    with pytest.raises(BadFile, match="more than 1,000 bytes"):
        idx.unpack(gzip.compress(bytes(10**6)), "here", limit=1000)


def test_a_missing_file_names_folder_and_file(tmp_path):
    with pytest.raises(BadFile, match="x-ubyte") as caught:
        idx.read(tmp_path, "x-ubyte")
    assert caught.value.where == str(tmp_path)


def test_labels_must_fit_pictures_and_classes():
    values = torch.tensor([0, 9, 3], dtype=torch.uint8)
    assert idx.labels(values, 3, 10, "here").dtype == torch.int64
    with pytest.raises(BadFile, match=r"a label 9 lies outside 0\.\.8"):
        idx.labels(values, 3, 9, "here")
    with pytest.raises(BadFile, match="3 labels for 4 pictures"):
        idx.labels(values, 4, 10, "here")
