"""The public functions take what people have: arrays, lists, fractions, names of norms; and what they return can be read."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import epsball
from epsball.errors import BadConfig, BadData, BadShape, MissingExtra
from epsball.problem.property import robust
from epsball.verification.base import Verdict
from epsball.verification.verdicts import Verdicts


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return epsball.Network.capture(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), (4,))


X = torch.rand(3, 4, generator=torch.Generator().manual_seed(1))


def _said(verdicts) -> list:
    return [(v.status, v.margin) for v in verdicts]


def test_arrays_lists_fractions_and_properties_say_the_same(net):
    y = net.module(X).argmax(1)
    one = _said(epsball.verify(net, X, y, eps=1 / 64))
    assert {status for status, _ in one} & {"verified", "falsified"}
    prop = robust(y, 3, X.dtype)
    for x in (X, X.numpy(), X.numpy().astype(np.float64), X.tolist()):
        for labels in (y, y.numpy(), y.tolist(), prop):
            for eps in (1 / 64, "1/64", torch.full((3,), 1 / 64)[:, None]):
                assert _said(epsball.verify(net, x, labels, eps=eps)) == one


def test_a_norm_goes_by_its_name_or_its_order(net):
    y = net.module(X).argmax(1)
    for names in (("linf", "Linf", math.inf, "inf"), ("l2", 2, 2.0, "L2"), ("l1", 1)):
        found = [epsball.attack(net, X, y, eps=0.2, norm=name).margin for name in names]
        assert all(torch.equal(one, found[0]) for one in found)
    for wrong in ("l3", 3, 0.5, "lnif"):
        with pytest.raises(BadConfig, match="unknown norm"):
            epsball.attack(net, X, y, eps=0.2, norm=wrong)


def test_a_method_goes_by_its_names(net):
    y = net.module(X).argmax(1)
    named = epsball.verify(net, X, y, eps=0.01, method="crown")
    assert _said(named) == _said(epsball.verify(net, X, y, eps=0.01, method=epsball.Ladder(("clean", "attack", "crown"))))
    with pytest.raises(BadConfig, match="crown"):
        epsball.verify(net, X, y, eps=0.01, method="crwn")


def test_one_radius_a_sample_and_one_a_feature(net):
    y = net.module(X).argmax(1)
    each = epsball.verify(net, X, y, eps=torch.tensor([0.0, 0.01, 0.3]))
    for i, eps in enumerate((0.0, 0.01, 0.3)):
        (alone,) = epsball.verify(net, X[i : i + 1], y[i : i + 1], eps=eps)
        assert (each[i].status, each[i].margin) == (alone.status, pytest.approx(alone.margin, abs=1e-5, nan_ok=True))
    wide = epsball.bounds(net, epsball.Box(X, torch.tensor([0.1, 0.0, 0.0, 0.0])))
    narrow = epsball.bounds(net, epsball.Box(X, 0.1))
    assert bool((wide.lower >= narrow.lower).all())
    with pytest.raises(BadConfig, match="samples, or of as many features"):
        epsball.verify(net, torch.cat([X, X[:1]]), [0, 0, 0, 0], eps=torch.full((4,), 0.1))
    with pytest.raises(BadConfig, match="larger than the whole"):
        epsball.verify(net, X, y, eps=torch.tensor([8.0, 0.1, 0.1]))
    with pytest.raises(BadConfig, match="several radii"):
        epsball.verify(net, X, y, eps=torch.full((3,), 0.1), norm="l2")


def test_what_is_no_input_or_no_label_is_named(net):
    y = net.module(X).argmax(1)
    with pytest.raises(BadData, match="no numbers"):
        epsball.verify(net, [["a", "b", "c", "d"]], [0], eps=0.1)
    with pytest.raises(BadShape, match="integers"):
        epsball.verify(net, X, [0.5, 1.0, 2.0], eps=0.1)
    with pytest.raises(BadConfig, match="is not a number"):
        epsball.verify(net, X, y, eps="8/0")
    with pytest.raises(BadConfig, match="beside"):
        epsball.verify(net, X, y, eps=0.1, threat=epsball.Threat(0.1))
    with pytest.raises(BadConfig, match="beside a norm"):
        epsball.verify(net, X, y, norm=2, threat=epsball.Threat(0.1))


def test_a_threat_is_a_set_around_inputs(net):
    y = net.module(X).argmax(1)
    threat = epsball.Threat(0.01)  # cut to the call's own range, as on the command line
    assert _said(epsball.verify(net, X, y, threat=threat)) == _said(epsball.verify(net, X, y, eps=0.01))
    assert torch.equal(epsball.attack(net, X, y, threat=threat).margin, epsball.attack(net, X, y, eps=0.01).margin)


def test_verdicts_are_read_at_a_glance(net):
    y = net.module(X).argmax(1)
    verdicts = epsball.verify(net, X, y, eps=0.001)
    assert isinstance(verdicts, Verdicts)
    assert repr(verdicts).splitlines()[0].startswith("3 samples: 3 verified (100.0 % [29.2, 100.0])")
    assert len(repr(verdicts).splitlines()) == 4
    assert repr(Verdict("verified", 0.3125, "crown", "real", 0.4)) == "verified  margin 0.3125  crown  0.4 s"
    assert repr(Verdict("error", math.nan, "lp", "real", 1.0, note="oops")) == "error  lp  1 s  oops"
    assert "<table>" in verdicts._repr_html_()
    assert json.loads(json.dumps(verdicts.to_dict()))[0]["status"] == "verified"
    assert repr(Verdicts()) == "no samples"


def test_a_data_frame_needs_pandas(net, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingExtra, match="pandas"):
        Verdicts().to_pandas()


def test_every_public_name_is_found():
    for name in dir(epsball):
        assert getattr(epsball, name) is not None
