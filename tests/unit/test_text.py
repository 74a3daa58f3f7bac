"""Text: sentences of words as data, and a transformer whose bounds begin at the embedded words."""

from __future__ import annotations

import gzip
import json

import pytest
import torch

import epsball
from epsball.cli.app import run
from epsball.data import wordnet
from epsball.data.origins import CannotFetch
from epsball.data.sst2 import LENGTH, Sst2, numbered, vocabulary
from epsball.errors import BadConfig, BadFile, BadShape
from epsball.examples import Examples
from epsball.models.base import architecture, build
from epsball.models.store import save_model
from epsball.ops.network import Network

GOOD, BAD = "a fine and moving film", "a dull and tedious film"


def write(folder, name, lines, *, packed=True):
    text = ("sentence\tlabel\n" + "".join(f"{text} \t{label}\n" for text, label in lines)).encode()
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{name}.tsv{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(text) if packed else text)
    return path


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "sst2", "train", [(GOOD, 1), (BAD, 0)] * 40)
    write(tmp_path / "sst2", "dev", [(GOOD, 1), (BAD, 0), ("an unheard word", 1)] * 2, packed=False)
    return tmp_path / "sst2"


def test_words_are_numbered_by_frequency_and_cut_or_padded():
    words = vocabulary(["b b a", "c a a"], size=4)
    assert words == ("<pad>", "<unk>", "a", "b")
    assert numbered(["B a z", "a " * 9], words, 4).tolist() == [[3, 2, 1, 0], [2, 2, 2, 2]]


def test_the_set_is_read_packed_or_plain(folder):
    data = Sst2().load(folder)
    assert data.train.x.shape == (80, LENGTH)
    assert data.train.x.dtype == torch.int64
    assert data.test.y.tolist() == [1, 0, 1, 1, 0, 1]
    assert data.words[2] in GOOD
    assert data.test.x[2, :3].tolist() == [1, 1, 1]  # unknown
    assert data.clip is None
    assert Sst2().load(folder).digest == data.digest


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "first line"), (b"sentence\tlabel\n", "no sentences"), (b"sentence\tlabel\nfine\t2\n", "label of 0 or 1"),
     (b"sentence\tlabel\nfine 1\n", "label of 0 or 1"), (b"\xff\xfe", "cannot be read")],
)  # fmt: skip
def test_a_damaged_file_is_one_error(folder, content, what):
    (folder / "dev.tsv").write_bytes(content)
    with pytest.raises(BadFile, match=what) as raised:
        Sst2().load(folder)
    assert "EPSBALL_DATA" in raised.value.fix
    (folder / "dev.tsv").unlink()
    with pytest.raises(BadFile, match="missing"):
        Sst2().load(folder)
    with pytest.raises(CannotFetch, match="EPSBALL_DATA"):
        Sst2().fetch(folder, print)


@pytest.mark.slow
@pytest.mark.shared
def test_the_real_set(shared):
    data = Sst2().load(shared / "data/sst2")
    assert (len(data.train), len(data.test), len(data.words)) == (67349, 872, 10_000)
    assert 0.5 < float(data.train.y.double().mean()) < 0.6
    assert float((data.test.x == 1).double().sum() / (data.test.x > 0).double().sum()) < 0.1  # unknown words


@pytest.mark.slow
def test_a_model_takes_words_or_vectors_and_is_bounded_from_the_vectors():
    torch.manual_seed(0)
    module = build("transformer-small", (5,), 2, vocabulary=20, width=8, heads=2, hidden=8)
    network = Network.capture(module, (5,))
    assert network.input_shape == (5, 8)
    assert network.data_shape == (5,)
    words = torch.randint(0, 20, (3, 5))
    module.eval()
    with torch.no_grad():
        x = network.embed(words)
        assert torch.equal(network.embed(x), x)
        torch.testing.assert_close(module(words), module(x))
        torch.testing.assert_close(network.prepare().forward(x), module(x), atol=1e-5, rtol=0)
    box, generator = epsball.Box(x, 0.05), torch.Generator().manual_seed(1)
    for method in ("ibp", "crown-ibp", "crown"):
        bounds = epsball.bounds(network, box, method)
        with torch.no_grad():
            assert all(bool(bounds.contains(module(box.sample(generator)), slack=1e-5).all()) for _ in range(20)), method


@pytest.mark.slow
def test_a_checkpoint_of_a_text_model_is_loaded_with_its_words(tmp_path):
    made = architecture("transformer-small", (5,), 2, vocabulary=20, width=8, heads=2)
    module = made.build().eval()
    save_model(tmp_path / "text.safetensors", module, made, {})
    network, words = epsball.load(tmp_path / "text.safetensors"), torch.randint(0, 20, (3, 5))
    with torch.no_grad():
        assert torch.equal(network.module(network.embed(words)), module(words))


def test_options_that_cannot_be_used():
    with pytest.raises(BadShape, match="no sentences"):
        build("transformer-small", (1, 8, 8), 2)
    with pytest.raises(BadConfig, match="heads"):
        build("transformer-small", (5,), 2, heads=5)
    with pytest.raises(BadConfig, match="norm"):
        build("transformer-small", (5,), 2, norm="group")


def test_words_reach_the_gradient_of_their_vectors():
    x = torch.randint(0, 9, (6, 4))
    assert torch.equal(Examples(x, torch.zeros(6, dtype=torch.int64)).inputs(), x)


@pytest.mark.slow
def test_training_and_verifying_text_from_the_command_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EPSBALL_DATA", str(folder.parent))
    at = tmp_path / "run"
    options = ["--set", "lr=3e-2", "--set", "model.width=8", "--set", "model.heads=2", "--set", "model.hidden=8"]
    assert run(["train", "standard", "--data", "sst2", "--model", "transformer-small", "--epochs", "6", "--batch", "16", *options,
                "--out", str(at), "--quiet"]) == 0  # fmt: skip
    capsys.readouterr()
    assert run(["verify", str(at), "--data", "sst2", "--index", "0:2", "--eps", "0.001", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"]["clean"]["value"] == 1
    assert found["accuracy"]["verified"]["value"] == 1
    monkeypatch.setattr(wordnet, "synonyms", lambda **_: {"film": ("and",), "fine": ("dull", "unseen")})
    words = ["verify", str(at), "--data", "sst2", "--index", "0:2", "--perturbation", "words"]
    assert run([*words, "--size", "1", "--out", str(tmp_path / "words"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(found["status"].values()) == 2
    assert found["status"]["error"] == 0
    assert run([*words, "--size", "0.5"]) == 2
    assert "whole number of words" in capsys.readouterr().err
    options += ["--set", "recipe.clip=none", "--set", "recipe.warmup=0", "--set", "recipe.ramp=1"]
    assert run(["train", "ibp", "--data", "sst2", "--model", "transformer-small", "--eps", "0.01", "--epochs", "2", "--batch", "16",
                *options, "--out", str(tmp_path / "robust"), "--quiet"]) == 0  # fmt: skip
