"""Loading by name: where a set is looked for, what is refused, and the published sets themselves."""

from __future__ import annotations

import builtins
import gzip

import pytest
import torch

from epsball.data import find, places
from epsball.data.base import digest, sources, statistics
from epsball.data.user import check
from epsball.errors import BadConfig, BadFile, MissingExtra
from epsball.examples import Examples
from idx_files import idx_bytes, put, source, tiny


@pytest.fixture
def known(monkeypatch, tmp_path):
    """A registry with the small set, and a machine where nothing else lies."""
    len(sources)  # load the built-in ones first
    monkeypatch.setattr(sources, "_entries", sources._entries | {"tiny": source(tiny())})
    monkeypatch.setattr(places, "__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EPSBALL_DATA", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_the_four_arrays_are_what_the_files_hold(tmp_path):
    files = tiny()
    put(tmp_path / "x", files, ".gz", gzip.compress)
    data = source(files).load(tmp_path / "x")
    assert (data.train.x.dtype, data.train.shape, len(data.train), len(data.test)) == (torch.uint8, (1, 4, 5), 6, 2)
    assert data.train.x.numpy().tobytes() == files["train-images-idx3-ubyte"][16:]
    assert data.test.y.tolist() == [0, 1]
    assert data.clip == (0.0, 1.0)


def test_a_set_is_looked_for_in_the_stated_order(known, monkeypatch):
    monkeypatch.setenv("EPSBALL_DATA", str(known / "mine"))
    wanted = [known / "mine" / "Tiny/raw", known / "shared/data/Tiny/raw", known / "cache/epsball/data/tiny"]
    for folder in reversed(wanted):
        put(folder, tiny())
        assert find.where("tiny").resolve() == folder
    assert len(find.load("tiny").train) == 6


def test_a_missing_set_names_the_command_that_fetches_it(known):
    with pytest.raises(BadFile) as caught:
        find.load("mnist")
    assert caught.value.fix == "epsball data get mnist"
    assert str(known / "cache") in caught.value.where
    assert find.where("mnist") is None


def test_an_unknown_set_is_told_with_its_neighbours(known):
    with pytest.raises(BadConfig, match="did you mean 'mnist'"):
        find.load("minst")
    with pytest.raises(BadConfig):
        find.load("../mnist")


def test_an_altered_file_is_refused(known):
    files = tiny()
    name = "train-images-idx3-ubyte"
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
    put(known / "shared/data/tiny", files)
    with pytest.raises(BadFile, match="not the published train-images") as caught:
        find.load("tiny")
    assert str(known / "shared/data/tiny" / name) in str(caught.value.where.replace("here/../", ""))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("train-images-idx3-ubyte", lambda d: d[:-5], "truncated: 115 values instead of 120"),
        ("t10k-labels-idx1-ubyte", lambda d: b"\1" + d[1:], "not an idx file"),
        ("t10k-labels-idx1-ubyte", None, "is missing"),
        ("train-labels-idx1-ubyte", lambda _: idx_bytes(torch.zeros(5, dtype=torch.uint8)), "5 labels for 6 pictures"),
        ("train-labels-idx1-ubyte", lambda d: d[:-1] + b"\7", r"a label 7 lies outside 0\.\.2"),
    ],
)
def test_broken_files_are_named(tmp_path, name, change, said):
    files = tiny()
    if change:
        files[name] = change(files[name])
        pinned = source(files)  # pinned as they are, so that the hash is not what refuses them
    else:
        pinned = source(files)
        del files[name]
    put(tmp_path / "x", files)
    with pytest.raises(BadFile, match=said) as caught:
        pinned.load(tmp_path / "x")
    assert str(tmp_path / "x") in caught.value.where


def test_digest_depends_on_every_array_and_its_shape():
    x, y = torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2), torch.tensor([0, 1])
    whole = Examples(x, y)
    others = [Examples(x.view(2, 1, 1, 4), y), Examples(x.flip(0), y), Examples(x, y.flip(0)), Examples(x.float(), y)]
    found = {digest(whole, whole)} | {digest(o, whole) for o in others} | {digest(whole, o) for o in others}
    assert len(found) == 9
    assert digest(whole, whole) == digest(Examples(x.transpose(2, 3).contiguous().transpose(2, 3), y.clone()), whole)


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_statistics_are_those_of_the_inputs(kind):
    x = torch.randint(0, 256, (9000, 3, 2, 2), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    x[:, 2] = 51
    examples = Examples(x if kind == "uint8" else x / 255, torch.zeros(len(x), dtype=torch.int64))
    mean, std = statistics(examples)
    inputs = examples.inputs().double()
    assert mean == pytest.approx(inputs.mean((0, 2, 3)).tolist(), abs=1e-7)
    assert std[:2] == pytest.approx(inputs.std((0, 2, 3), correction=0).tolist()[:2], abs=1e-7)
    assert std[2] == 1.0  # a channel that never varies


def test_digits_are_split_alike_everywhere(known):
    data = find.load("digits")
    assert (len(data.train), len(data.test), data.train.shape) == (1438, 359, (1, 8, 8))
    assert set((data.train.x * 16).unique().tolist()) == set(range(17))
    share = torch.bincount(data.test.y) / (torch.bincount(data.test.y) + torch.bincount(data.train.y))
    assert bool(((share - 0.2).abs() < 0.003).all())
    assert data.digest == "b17aedccfbb8834f7cffea2c5fd9207504b51d02ee01e4b4ddf4e65de2f58fc6"
    assert check("digits")["range"] == [0.0, 1.0]


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("sklearn"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra) as caught:
        sources["digits"].load(None)
    assert caught.value.fix == "pip install 'epsball[demo]'"


@pytest.mark.slow
@pytest.mark.shared
def test_mnist_is_the_published_one(shared, monkeypatch):
    monkeypatch.setenv("EPSBALL_DATA", str(shared / "data"))
    summary = check("mnist")
    assert find.where("mnist") == shared / "data" / "MNIST/raw"
    assert [summary[k] for k in ("train", "test", "shape", "classes")] == [60_000, 10_000, [1, 28, 28], 10]
    assert (summary["per_class"][0], summary["per_class"][5]) == ([5923, 980], [5421, 892])
    assert summary["digest"] == "77bd804cf38a616fc52bde85a425e84c3641f82c6ce2430b3cf3abc711851ef9"
    data = find.load("mnist")
    assert data.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    mean, std = statistics(data.train)
    assert (data.mean, data.std) == (pytest.approx(mean, abs=1e-12), pytest.approx(std, abs=1e-12))
