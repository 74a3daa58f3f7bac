"""A denoiser in front of a fixed classifier: its loss, its training, its checkpoint, and what it certifies."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from epsball.cli.app import run
from epsball.device import generator
from epsball.errors import BadConfig, BadFile, BadShape
from epsball.models.base import architecture, build
from epsball.models.store import load_model, save_model
from epsball.ops.network import Network
from epsball.run.denoise import assembled, put_before
from epsball.smoothing.denoised import Denoised, in_front
from epsball.training.base import Batch, Progress
from epsball.training.recipes.denoise import Denoise
from epsball.training.recipes.gaussian import GaussianTraining

SHAPE, AT = (1, 6, 6), Progress(0, 10, 10)


@pytest.fixture
def both() -> Denoised:
    torch.manual_seed(0)
    return Denoised(build("denoiser", SHAPE, 3, width=3, depth=3), build("mlp", SHAPE, 3, hidden=(8,)))


@pytest.mark.slow
@pytest.mark.parametrize(("reconstruction", "stability"), [(2.0, 0.0), (0.0, 0.5), (1.0, 3.0)])
def test_the_loss_is_the_plain_formula(both, reconstruction, stability):
    data = Batch(torch.rand(5, *SHAPE), torch.tensor([0, 1, 2, 0, 1]))
    net = Network.capture(both, SHAPE)
    both.eval()
    torch.manual_seed(7)
    noise = 0.3 * torch.randn(2, 5, *SHAPE, generator=generator(torch.device("cpu"), int(torch.randint(2**62, ()))))
    with torch.no_grad():
        cleaned = [both.denoiser(data.x + n) for n in noise]
        wanted = both.classifier(data.x).argmax(1)
        shares = [both.classifier(c).double().softmax(1)[range(5), wanted].numpy() for c in cleaned]
    error = np.mean([(c - data.x).double().square().mean() for c in cleaned])
    expected = reconstruction * error - stability * np.mean(np.log(shares))
    torch.manual_seed(7)
    recipe = Denoise(0.3, samples=2, reconstruction=reconstruction, stability=stability)
    found = recipe.loss(net, data, AT)
    assert found.total.item() == pytest.approx(expected, rel=1e-5)
    assert set(found.parts) == {n for n, w in (("reconstruction", reconstruction), ("stability", stability)) if w}
    found.total.backward()
    assert all(p.grad is not None for p in both.denoiser.parameters())
    assert all(p.grad is None for p in both.classifier.parameters())


@pytest.mark.slow
def test_the_classifier_stays_in_evaluation_mode_with_its_weights(both):
    before = {name: value.clone() for name, value in both.state_dict().items()}
    both.train()
    assert both.denoiser.training
    assert not both.classifier.training
    assert not any(p.requires_grad for p in both.classifier.parameters())
    Denoise(0.3).initialise(Network.capture(both, SHAPE))
    changed = {name for name, value in both.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("denoiser.") for name in changed)
    kept = {name: value.clone() for name, value in both.state_dict().items()}
    Denoise(0.3, initialisation="keep").initialise(Network.capture(both, SHAPE))
    assert all(torch.equal(value, kept[name]) for name, value in both.state_dict().items())


def test_what_cannot_be_put_together(tmp_path, both):
    plain = build("mlp", SHAPE, 3, hidden=(8,))
    with pytest.raises(BadConfig, match="trains a denoiser in front of a fixed classifier"):
        Denoise(0.3).initialise(Network.capture(plain, SHAPE))
    with pytest.raises(BadConfig, match=r"turns inputs of shape \(1, 6, 6\) into \(3,\)"):
        in_front(plain, plain, SHAPE, "here")
    with pytest.raises(BadConfig, match="does not take inputs"):
        in_front(build("denoiser", (2, 6, 6), 3, width=2, depth=2), plain, SHAPE, "here")
    with pytest.raises(BadConfig, match="no classifier was named"):
        assembled(both.denoiser, Denoise(0.3), SHAPE)
    with pytest.raises(BadFile):
        assembled(both.denoiser, Denoise(0.3, classifier=str(tmp_path)), SHAPE)
    described = architecture("mlp", (1, 5, 5), 3)
    save_model(tmp_path, described.build(), described, {})
    with pytest.raises(BadShape, match="the data have"):
        assembled(both.denoiser, Denoise(0.3, classifier=str(tmp_path)), SHAPE)
    assert assembled(plain, GaussianTraining(0.3), SHAPE) is plain
    for options in ({"reconstruction": 0.0, "stability": 0.0}, {"stability": -1.0}, {"initialisation": "ibp"}):
        with pytest.raises(BadConfig):
            Denoise(0.3, **options)


def certified(folder, *options: str) -> dict:
    code = run(["certify", str(folder), "--data", "mine", "--sigma", "0.5", "--index", ":", "--radius", "0.25", "--set", "cap=2000",
                "--out", str(folder / f"certified-{len(options)}"), "--quiet", *options])  # fmt: skip
    assert code == 0
    lines = (folder / f"certified-{len(options)}" / "record.jsonl").read_text().splitlines()
    return next(line for line in map(json.loads, lines) if line["type"] == "summary")


@pytest.mark.slow
def test_from_the_command_line_a_denoiser_certifies_what_the_classifier_cannot(tmp_path, monkeypatch, capsys):
    """Pictures are grey, dark or bright; the classifier reads one pixel, and its neighbours know what the noise hid."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    y = np.arange(256) % 2
    x = np.broadcast_to((0.3 + 0.4 * y).astype(np.float32)[:, None, None, None], (256, *SHAPE))
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x[:12], y_test=y[:12])
    assert run(["data", "add", "mine", str(tmp_path / "mine.npz")]) == 0
    described = architecture("mlp", SHAPE, 2, hidden=())
    classifier = described.build()
    classifier[1].weight.data = torch.zeros(2, 36)
    classifier[1].weight.data[:, 14] = torch.tensor([-9.0, 9.0])
    classifier[1].bias.data = torch.tensor([4.5, -4.5])
    (tmp_path / "c").mkdir()
    save_model(tmp_path / "c", classifier, described, {})
    code = run(["train", "denoise", "--data", "mine", "--model", "denoiser", "--epochs", "12", "--batch", "32", "--set", "lr=2e-2",
                "--set", "recipe.sigma=0.5", "--set", f"classifier={tmp_path / 'c'}",
                "--set", "model.width=6", "--set", "model.depth=3", "--out", str(tmp_path / "d"), "--format", "table"])  # fmt: skip
    assert code == 0
    assert f"epsball certify {tmp_path / 'c'} --denoiser {tmp_path / 'd'}" in capsys.readouterr().out.replace("\n", "")
    assert load_model(tmp_path / "d")[1].name == "denoiser"
    bare = certified(tmp_path / "c")
    helped = certified(tmp_path / "c", "--denoiser", str(tmp_path / "d"))
    assert helped["denoiser"] == str(tmp_path / "d")
    share = [next(p["accuracy"] for p in found["curve"] if p["radius"] == 0.25) for found in (bare, helped)]
    assert share[0] == 0
    assert share[1] == 1
    front = put_before(tmp_path / "d", Network.capture(load_model(tmp_path / "c")[0], SHAPE))
    assert not any(module.training for module in front.modules())
    assert isinstance(front.classifier, nn.Module)
