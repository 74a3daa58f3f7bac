"""The chain CROWN <= LP <= LP-tight <= exact <= attack, its reading, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from epsball.analysis.barrier import Barrier, summarise
from epsball.attacks.fgsm import FGSM
from epsball.bounding.linear.crown import Crown
from epsball.errors import BadConfig, BadShape, Unsound
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.problem.sets import Box, LpBall
from epsball.reporting.sections.barrier import barrier_figure
from epsball.verification.programs.triangle import TriangleLp
from references import exact, random_mlp

EPS = 0.35


@pytest.fixture(scope="module")
def case():
    module, weights = random_mlp(2, (3, 4, 4, 2))
    network = Network.capture(module, (3,))
    x = torch.rand(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = module(x).argmax(1)
    y[5] = 1 - y[5]
    return network, weights, [(10 + i, x[i : i + 1], y[i : i + 1]) for i in range(6)]


@pytest.fixture(scope="module")
def lines(case):
    network, _, samples = case
    return list(Barrier(groups=True).lines(network, samples, lambda x, _: Box(x, EPS), torch.float64))


@pytest.mark.slow
def test_the_chain_is_ordered_and_holds_the_exact_margin(case, lines):
    _, weights, samples = case
    assert [line.index for line in lines] == [10, 11, 12, 13, 14, 15]
    gaps = 0
    for line, (_, x, y) in zip(lines[:5], samples, strict=False):
        m = line.margins
        c = np.array([1.0, -1.0]) * (1 if int(y) == 0 else -1)
        least = exact(weights, x[0].numpy(), EPS, c)
        assert m["crown"] <= m["lp"] + 1e-8 <= m["lp-tight"] + 2e-8 <= m["multi-neuron"] + 3e-8 <= least + 1e-7
        assert least <= m["attack"] + 1e-7 <= m["clean"] + 1e-7
        assert line.gap == pytest.approx(m["attack"] - m["crown"])
        assert line.exact == (m["attack"] - m["lp-tight"] <= 1e-5 * (1 + abs(m["attack"])))
        assert line.barrier == (0.0 if line.exact else pytest.approx(m["attack"] - m["lp-tight"]))
        gaps += not line.exact
    assert gaps
    assert lines[5].status == "misclassified"
    assert "gap" not in lines[5].written()


@pytest.mark.slow
def test_the_minimisers_of_the_programs_attack_too(case, lines):
    network, _, samples = case
    weak = Barrier(groups=True, attack=FGSM()).lines(network, samples[:5], lambda x, _: Box(x, EPS), torch.float64)
    for line, strong in zip(weak, lines, strict=False):
        assert line.margins["attack"] >= strong.margins["lp-tight"] - 1e-9
        if strong.exact:
            assert line.margins["attack"] == pytest.approx(strong.margins["attack"], abs=1e-5)


def test_means_are_over_whole_chains_only(lines):
    summary = summarise(lines)
    whole = lines[:5]
    assert (summary.count, summary.whole, summary.misclassified, summary.timeout) == (6, 5, 1, 0)
    assert summary.gap == pytest.approx(np.mean([line.gap for line in whole]))
    assert summary.share == pytest.approx(sum(line.barrier for line in whole) / sum(line.gap for line in whole))
    assert list(summary.margins.values()) == sorted(summary.margins.values())
    positive = summary.positive
    assert positive["crown"] <= positive["lp"] <= positive["lp-tight"] <= positive["multi-neuron"] <= positive["attack"]
    nothing = summarise(lines[5:])
    assert nothing.share is None
    assert nothing.margins == {}


def test_a_chain_that_is_cut_off_says_so_and_counts_nowhere(case):
    network, _, samples = case
    found = list(Barrier(seconds=1e-9).lines(network, samples[:2], lambda x, _: Box(x, EPS), torch.float64))
    assert {line.status for line in found} == {"timeout"}
    assert all(line.gap is None and line.exact is None for line in found)
    assert summarise(found).whole == 0


@pytest.mark.slow
def test_where_a_later_program_is_looser_the_better_of_both_counts(case, monkeypatch):
    """As the lines of tanh may be: here the second program has looser intervals, and proves less by itself."""
    network, weights, samples = case
    wide = TriangleLp(Crown(intermediate="ibp"))
    monkeypatch.setattr(Barrier, "methods", property(lambda _: {"lp": TriangleLp(), "lp-tight": wide}))
    looser = 0
    for line, (_, x, y) in zip(
        Barrier().lines(network, samples[:5], lambda x, _: Box(x, EPS), torch.float64), samples, strict=False
    ):
        c = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64) * (1 if int(y) == 0 else -1)
        looser += float(wide(network.prepare(), Box(x, EPS), Rows(c))) < line.margins["lp"] - 1e-4
        assert line.margins["lp-tight"] >= line.margins["lp"]
        assert line.margins["lp-tight"] <= exact(weights, x[0].numpy(), EPS, c.flatten().numpy()) + 1e-9
    assert looser


def test_an_attack_below_a_bound_is_a_defect(case, monkeypatch):
    network, _, samples = case
    monkeypatch.setattr(Barrier, "methods", property(lambda _: {"lp": Liar()}))
    with pytest.raises(Unsound, match="'lp' proves"):
        list(Barrier().lines(network, samples[:1], lambda x, _: Box(x, EPS), torch.float64))


class Liar:
    """A method that proves too much."""

    def open(self, network, input_set, until):
        return TriangleLp().open(network, input_set, until)

    def crown(self, relaxation, rows):
        return torch.full((1, 1), 1e6, dtype=torch.float64)


def test_bad_inputs(case):
    network, _, samples = case
    with pytest.raises(BadShape):
        list(Barrier().lines(network, [(0, torch.zeros(1, 4), samples[0][2])], lambda x, _: LpBall(x, 0.1), torch.float64))
    with pytest.raises(BadConfig):
        list(Barrier(solver="cplex").lines(network, samples[:1], lambda x, _: Box(x, EPS), torch.float64))


def test_the_figure_says_what_it_shows(lines):
    svg = barrier_figure(lines).inline
    assert svg.startswith("<svg")
    assert "Least margins of 5 images" in svg
    assert "groups of three neurons" in svg
