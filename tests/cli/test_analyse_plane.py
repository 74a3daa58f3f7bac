"""`epsball analyse plane`: the untrained network of a run is the one it started from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_verbs import answer, call

from epsball.analysis.boundaries import initial
from epsball.cli.app import run
from epsball.data.find import load as load_data
from epsball.models.store import load_model
from epsball.record.journal import read
from epsball.training.evaluate import IbpAccuracy
from epsball.training.layers import tightness
from epsball.training.loop import _split

SMALL = ("--data", "digits", "--model", "mlp", "--epochs", "2", "--batch", "64", "--set", "warmup=0", "--set", "ramp=1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "robust"
    assert run(["train", "fast-ibp", "--eps", "1/16", *SMALL, "--seed", "3", "--out", str(path), "--quiet"]) == 0
    return path


def test_the_untrained_network_is_the_one_that_the_run_measured_before_its_first_step(trained):
    from epsball.config import load

    first = next(line for line in read(trained / "record.jsonl") if line["type"] == "tightness")
    assert first["epoch"] == 0
    config, data = load(trained / "config.toml"), load_data("digits")
    _, held, _ = _split(data.train, None, config.train)
    before = torch.random.get_rng_state()
    shown = initial(trained, torch.device("cpu"))
    assert torch.equal(torch.random.get_rng_state(), before)
    width, layers = tightness(shown.network, held.take(slice(0, config.train.batch)), 1 / 16, data.clip)
    assert width == first["input"]
    assert [layer._asdict() for layer in layers] == first["layers"]


def test_a_plane_is_recorded_in_the_run_and_drawn(capsys, trained, tmp_path):
    found = answer(capsys, "analyse", "plane", trained, "--resolution", "24")
    folder = Path(found["run"])
    assert folder == trained / "plane-0-1-2"
    header, *lines, done = read(folder / "record.jsonl")
    assert (header["verb"], done["type"]) == ("analyse", "done")
    assert [line["network"] for line in lines] == ["robust, untrained", "robust"]
    data, (module, _, _) = load_data("digits"), load_model(trained)
    x, y = data.test.inputs(slice(0, 3)), data.test.y[:3]
    assert lines[1]["predicted"] == module(x).argmax(1).tolist()
    assert lines[1]["labels"] == y.tolist()
    judge = IbpAccuracy(1 / 16)
    network = initial(trained, torch.device("cpu")).network
    assert [judge(network, data.test.take(slice(i, i + 1))).verified == 1 for i in range(3)] == lines[0]["verified"]
    left, right, bottom, top = lines[1]["window"]
    for (s, t), label in zip(lines[1]["points"], lines[1]["predicted"], strict=True):
        row, column = int((t - bottom) / (top - bottom) * 24), int((s - left) / (right - left) * 24)
        around = {lines[1]["classes"][24 * r + c] for r in (row - 1, row, row + 1) for c in (column - 1, column, column + 1)}
        assert label in around
    code, _, _ = call(capsys, "report", trained, "-o", tmp_path / "r.html")
    assert code == 0
    assert "figure-plane-run-2" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--index", "4,4,5"], "span no plane"),
        (["--index", "0,1"], "span no plane"),
        (["--resolution", "3"], "resolution of 3"),
        (["--eps", "7"], "larger than the whole valid range"),
        (["--data", "mnits"], "unknown data set"),
    ],
)
def test_what_cannot_be_drawn_is_one_error(capsys, trained, tmp_path, arguments, said):
    code, _, err = call(capsys, "analyse", "plane", trained, "--out", tmp_path / "x", *arguments)
    assert code == 2
    assert said in err
    assert not (tmp_path / "x" / "record.jsonl").exists()


def test_a_lone_checkpoint_does_not_know_its_beginning(capsys, trained, tmp_path):
    code, _, err = call(capsys, "analyse", "plane", trained / "model.safetensors")
    assert code == 2
    assert "give two networks" in err
    two = ("analyse", "plane", trained / "model.safetensors", trained, "--resolution", "8", "--out", tmp_path / "two")
    assert [p["network"] for p in answer(capsys, *two)["planes"]] == ["model", "robust"]
    code, _, err = call(capsys, *two)
    assert code == 2
    assert "have a plane already" in err
