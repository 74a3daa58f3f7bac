"""Any noise of smoothing from the command line: trained with the recipe `noise`, certified by sampling or without chance."""

from __future__ import annotations

import pytest
import torch
from test_verbs import answer, call

import epsball
from epsball.record.journal import read
from epsball.smoothing.noises.ablation import BlockAblation
from epsball.smoothing.noises.splitting import SplittingNoise

TRAIN = ("--data", "digits", "--model", "lenet", "--epochs", "8", "--batch", "64", "--set", "lr=3e-3")
BLOCK = ("--set", "noise=block-ablation", "--set", "scale=4", "--set", "hidden=0.25")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("noise") / "run"
    epsball.cli.app.run(["train", "noise", *TRAIN, *BLOCK, "--out", str(run), "--quiet"])
    return run


def certificates(run):
    return [line for line in read(run / "record.jsonl") if line["type"] == "certificate"]


def test_training_tells_how_to_certify(capsys, tmp_path):
    code, out, _ = call(capsys, "train", "noise", *TRAIN, *BLOCK, "--epochs", "1", "--out", tmp_path / "run", "--format", "table")
    told = out.replace("\n", "")
    assert code == 0
    assert "under noise, %" in out
    assert f"certify {tmp_path / 'run'} --data digits --noise block-ablation --set noise.hidden=0.25 --sigma 4" in told


def test_blocks_are_counted_as_in_python(capsys, trained, tmp_path):
    options = ("--data", "digits", "--noise", "block-ablation", "--sigma", "4", "--set", "noise.hidden=0.25", "--index", ":40")
    found = answer(capsys, "certify", trained, *options, "--out", tmp_path / "c")
    assert (found["count"], found["alpha"]) == (40, 0)
    assert [point["radius"] for point in found["curve"][:2]] == [0, 1]  # pixels are whole
    net, data = epsball.load(trained), epsball.load_data("digits").test
    own = BlockAblation(4, hidden=0.25).certify(net.module, data.inputs(torch.arange(40)), 10)
    lines = certificates(tmp_path / "c")
    assert [(line["predicted"], line["radius"], line["counts"]) for line in lines] == [
        (c.label, c.radius, list(c.counts)) for c in own
    ]
    assert {line["norm"] for line in lines} == {"patch"}
    assert max(line["radius"] for line in lines) >= 1
    assert all(line["lower"] == max(line["counts"]) / 64 and line["samples"] == 64 for line in lines)
    assert call(capsys, "report", tmp_path / "c", "--out", tmp_path / "r.html")[0] == 0
    assert "radius (patch)" in (tmp_path / "r.html").read_text()


def test_splitting_goes_on_where_it_stopped(capsys, trained, tmp_path):
    options = ("--data", "digits", "--noise", "splitting", "--sigma", "0.5", "--set", "noise.levels=16")
    answer(capsys, "certify", trained, *options, "--index", ":6", "--out", tmp_path / "whole")
    whole = certificates(tmp_path / "whole")
    net, data = epsball.load(trained), epsball.load_data("digits").test
    own = SplittingNoise(0.5, 16).certify(net.module, data.inputs(torch.arange(6)), 10)
    assert [(line["radius"], line["claim"]) for line in whole] == [(c.radius, c.claim) for c in own]
    record = tmp_path / "whole" / "record.jsonl"
    kept = [text for text in record.read_text().splitlines() if '"certificate"' not in text or '"index":4' not in text]
    record.write_text("\n".join(text for text in kept if '"summary"' not in text and '"done"' not in text) + "\n")
    answer(capsys, "certify", trained, *options, "--index", ":6", "--out", tmp_path / "whole", "--resume")
    again = sorted(certificates(tmp_path / "whole"), key=lambda line: line["index"])
    assert [{**line, "seconds": 0} for line in again] == [{**line, "seconds": 0} for line in whole]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--noise", "block-ablation", "--sigma", "5"), "noise.hidden"),
        (("--noise", "ablation", "--sigma", "20"), "noise.hidden"),
        (("--noise", "splitting", "--sigma", "0.5", "--procedure", "fixed"), "nothing is sampled"),
        (("--noise", "splitting", "--sigma", "0.5", "--radius", "1"), "nothing is sampled"),
        (("--noise", "splitting", "--sigma", "0.5", "--set", "cap=1000"), "nothing is sampled"),
        (("--noise", "splitting", "--sigma", "0.5", "--alpha", "0.01"), "nothing is sampled"),
        (("--noise", "splitting", "--sigma", "0.5", "--selection", "100"), "nothing is sampled"),
        (("--noise", "splitting", "--sigma", "0.51", "--set", "noise.levels=16"), "use a width of"),
        (("--noise", "splitting", "--sigma", "0.5", "--set", "noise.level=16"), "did you mean 'levels'"),
        (("--noise", "splitting", "--sigma", "0.5", "--set", "noise.levels=7"), "not of the form k/7"),
    ],
)
def test_what_does_not_go_together(capsys, trained, tmp_path, options, says):
    code, _, err = call(capsys, "certify", trained, "--data", "digits", "--index", ":2", "--out", tmp_path / "c", *options)
    assert code == 2
    assert says in err.replace("\n", " ")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("noise=blok-ablation", "scale=5"), "unknown noise"),
        (("noise=ablation", "scale=4.5"), "whole number"),
        (("noise=uniform", "scale=-1"), "positive"),
        (("noise=ablation", "scale=100"), "keeps 100 of 64"),
        (("noise=uniform",), "needs 'scale'"),
    ],
)
def test_training_refuses(capsys, tmp_path, options, says):
    named = [part for option in options for part in ("--set", option)]
    code, _, err = call(capsys, "train", "noise", *TRAIN, *named, "--out", tmp_path / "run")
    assert code == 2
    assert says in err.replace("\n", " ")
    assert not (tmp_path / "run" / "model.safetensors").exists()
