"""`epsball.Record`: the runs that the command line writes, from Python."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import epsball
from epsball.errors import BadConfig, BadData, BadShape, RunInUse
from epsball.record.folder import RunFolder


def net() -> nn.Module:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


X = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
Y = net()(X).argmax(1)


def test_verdicts_of_a_record_are_those_of_verify(tmp_path):
    record = epsball.Record(tmp_path / "r", net(), name="mine")
    found = record.verify(X, Y, eps=0.02)
    direct = epsball.verify(net(), X, Y, eps=0.02)
    assert found.status["verified"] == sum(v.status == "verified" for v in direct) > 0
    assert (tmp_path / "r/verify-inputs-linf-0.02/record.jsonl").exists()
    attacked = record.attack(X, Y, eps="5/10", steps=20)
    assert attacked.eps == 0.5
    assert attacked.accuracy["attacked"].value < attacked.accuracy["clean"].value == 1.0
    smoothed = record.certify(X, Y, sigma=0.1, cap=2000)
    assert smoothed.count == 6
    assert len(record.runs) == 3
    page = record.report(tmp_path / "page.html").read_text("utf-8")
    assert "mine" in page


def test_arrays_are_inputs_and_a_slice_chooses(tmp_path):
    record = epsball.Record(tmp_path / "r", net())
    assert record.verify(np.asarray(X), Y.tolist(), eps=0.01, index=slice(0, 2)).count == 2
    assert record.verify(X, Y, eps=0.01, index=[5], name="one").count == 1


def test_a_record_goes_on(tmp_path):
    record = epsball.Record(tmp_path / "r", net())
    first = record.verify(X, Y, eps=0.01)
    with pytest.raises(BadConfig, match="holds a run already"):
        record.verify(X, Y, eps=0.01)
    assert record.verify(X, Y, eps=0.01, resume=True).status == first.status
    with RunFolder(tmp_path / "r/mine"), pytest.raises(RunInUse):
        record.verify(X, Y, eps=0.01, name="mine")


def test_what_a_record_refuses(tmp_path):
    record = epsball.Record(tmp_path / "r", net())
    for error, match, call in (
        (BadConfig, "needs its radius", lambda: record.verify(X, Y)),
        (BadConfig, "beside a radius", lambda: record.verify(X, Y, eps=0.1, threat=epsball.Threat(0.1))),
        (BadConfig, "labels of its own|its own labels", lambda: record.verify("digits", Y, eps=0.1)),
        (BadConfig, "its own valid range", lambda: record.verify("digits", eps=0.1, clip=None)),
        (BadConfig, "no valid range", lambda: record.verify(X, Y, eps=0.1, clip=(1, 0))),
        (BadConfig, "nothing was recorded", record.report),
        (BadConfig, "network of its own", lambda: record.train("standard")),
        (BadConfig, "unknown method|'crwn'", lambda: record.verify(X, Y, eps=0.1, method="crwn")),
        (BadConfig, "have one radius", lambda: record.verify(X, Y, eps=torch.ones(6))),
        (BadConfig, "without labels", lambda: record.verify(X, eps=0.1)),
        (BadConfig, "no examples are left", lambda: record.verify(X, Y, eps=0.1, index=slice(9, None))),
        (BadConfig, "unknown norm", lambda: record.verify(X, Y, eps=0.1, norm="l3")),
        (BadData, "uint8", lambda: record.verify((255 * X).byte(), Y, eps=0.1)),
        (BadData, "outside", lambda: record.verify(255 * X, Y, eps=0.1)),
        (BadData, "no inputs", lambda: record.verify(X[:0], Y[:0], eps=0.1)),
        (BadShape, "label", lambda: record.verify(X, Y[:3], eps=0.1)),
    ):
        with pytest.raises(error, match=match):
            call()
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfig, match="this is a file"):
        epsball.Record(tmp_path / "file")
    assert not (tmp_path / "r").exists()


def test_fractional_labels_are_no_classes(tmp_path):
    with pytest.raises((BadData, BadShape)):
        epsball.Record(tmp_path / "r", net()).verify(X, Y + 0.5, eps=0.1)


def test_training_from_python_is_the_run_of_the_verb(tmp_path):
    record = epsball.Record(tmp_path / "r")
    trained = record.train("standard", data="digits", model="mlp", epochs=1, batch=128)
    assert trained.epochs == 1
    assert (tmp_path / "r/model.safetensors").exists()
    assert record.verify("digits", eps=0.01, index=slice(0, 4)).count == 4
    with pytest.raises(BadConfig, match="trained network"):
        epsball.Record(tmp_path / "r", net())
