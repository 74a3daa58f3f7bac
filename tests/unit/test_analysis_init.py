"""Table 3.1: its printed digits against trials, closed forms by themselves; and Figure 3.1's explosion."""

from __future__ import annotations

import functools
import math
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from epsball.analysis.init import FAN_INS, TABLE, difference_gains, widths
from epsball.cli.app import run
from epsball.errors import BadConfig
from epsball.ops.network import Network
from epsball.training.initialise import initialisations

# The thesis' own digits: means of 100 random trials at fan-ins 27, 576, 1152 and 32768
PRINTED = {
    "xavier-uniform": ("1.30", "6.00", "8.48", "45.25"),
    "xavier-gaussian": ("2.07", "9.57", "13.54", "72.2"),
    "kaiming-uniform": ("3.20", "14.70", "20.77", "110.85"),
    "kaiming-gaussian": ("2.93", "13.54", "19.15", "102.13"),
    "orthogonal": ("2.09", "9.58", "13.54", "72.22"),
    "ibp": ("1.01", "1.00", "1.00", "1.00"),
}
# (n / 2) E|W| of what each method draws; a coordinate of a random unit vector of dimension n has the mean below
CLOSED = {
    "xavier-uniform": lambda n: math.sqrt(n) / 4,
    "xavier-gaussian": lambda n: math.sqrt(n / (2 * math.pi)),
    "kaiming-uniform": lambda n: math.sqrt(6 * n) / 4,
    "kaiming-gaussian": lambda n: math.sqrt(n / math.pi),
    "orthogonal": lambda n: n / 2 * math.exp(math.lgamma(n / 2) - math.lgamma((n + 1) / 2)) / math.sqrt(math.pi),
    "ibp": lambda n: n**0.0,
}


@pytest.fixture(scope="module")
def gains():
    return difference_gains(100)


@pytest.mark.slow
def test_every_entry_of_table_3_1_is_a_mean_of_such_trials(gains) -> None:
    """Both are means of 100 trials: their difference has sqrt(2) standard errors, and the printed one is rounded."""
    for gain in gains:
        printed = PRINTED[gain.name][FAN_INS.index(gain.fan_in)]
        rounding = 0.5 * 10.0 ** -len(printed.partition(".")[2])
        assert abs(gain.trials - float(printed)) < 4 * math.sqrt(2) * gain.error + rounding, (gain, printed)
    assert [(g.name, g.fan_in) for g in gains] == [(name, n) for name in TABLE for n in FAN_INS]
    assert set(TABLE) == set(PRINTED)


@pytest.mark.slow
def test_the_closed_forms(gains) -> None:
    for gain in gains:
        assert gain.closed == pytest.approx(CLOSED[gain.name](gain.fan_in), rel=1e-6), gain


@pytest.mark.slow
def test_100_random_trials_agree(gains) -> None:
    for gain in gains:
        assert abs(gain.trials - gain.closed) < 4 * gain.error, gain
        assert gain.error < 0.006 * gain.closed


def test_the_trials_leave_the_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = difference_gains(2, seed=1, fan_ins=(27,))
    assert torch.equal(before, torch.get_rng_state())
    assert difference_gains(2, seed=1, fan_ins=(27,)) == first
    with pytest.raises(BadConfig, match="no deviation"):
        difference_gains(1)


@pytest.mark.parametrize("name", [name for name in TABLE if name != "ibp"])
def test_an_initialisation_of_a_network_is_the_one_of_the_table(name: str) -> None:
    torch.manual_seed(0)
    net = Network.capture(nn.Sequential(nn.Conv2d(3, 20, 5), nn.ReLU(), nn.Flatten(), nn.Linear(20 * 36, 300)), (3, 10, 10))
    initialisations[name]()(net)
    for layer, fan_in in ((net.module[0], 75), (net.module[3], 720)):
        assert fan_in / 2 * layer.weight.abs().mean().item() == pytest.approx(initialisations[name]().gain(fan_in), rel=0.05)


@pytest.mark.slow
def test_bounds_explode_under_the_default_and_not_under_the_ibp_initialisation() -> None:
    default, ibp = (widths(name, width=16, trials=2) for name in ("xavier-uniform", "ibp"))
    assert len(default) == len(ibp) == 7
    growth = [b / a for a, b in pairwise(default)]
    expected = [2 * 27**0.5 / 4, *(n**0.5 / 4 for n in (144, 144, 288, 288, 8192))]
    # the interval's mean width halves at a ReLU only if as many units are active as inactive
    assert all(0.5 * e < g < 2.2 * e for g, e in zip(growth, expected, strict=True))
    assert default[-1] / default[0] > 1000
    assert 0.2 < ibp[-1] / ibp[0] < 20


@pytest.mark.slow
def test_the_verb_prints_the_table_and_draws_the_figure(capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("epsball.analysis.init.widths", functools.partial(widths, width=8, trials=1))
    assert run(["analyse", "init", "--trials", "3", "--out", str(tmp_path / "figure.svg"), "--format", "table"]) == 0
    out = "".join(capsys.readouterr().out.split())  # a narrow terminal wraps
    assert "closedform/meanof3trials" in out
    assert "110.85" in out
    root = ET.parse(tmp_path / "figure.svg").getroot()  # noqa: S314 - our own file
    assert root.tag.endswith("svg")
    assert run(["analyse", "init", "--trials", "3", "--out", str(tmp_path / "no" / "figure.svg")]) == 2
