"""False certificates: exact rates by dynamic programming, against enumeration, alpha, and simulated streams."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest

from epsball.errors import BadConfig
from epsball.smoothing.statistics.binomial import ceiling
from epsball.smoothing.statistics.boundary import Boundary
from epsball.smoothing.statistics.procedures import Fixed, Staged, TwoSided, procedures
from epsball.smoothing.statistics.sequential import Sequential, Ville, geometric_looks

POINTS = (0.6, 0.84, 0.977, 0.9987)
ALPHAS = (0.01, 0.001)
AT_RADIUS = (Sequential(), Ville(), Staged(), Fixed())
ids = repr


def test_dynamic_program_equals_enumeration():
    looks = np.array([2, 5, 9])
    rule = Boundary(0.7, looks, np.array([3, 5, 8]), np.array([0, 2, -1]))
    p, certified, samples = 0.7, 0.0, 0.0
    for path in product((0, 1), repeat=9):
        weight = p ** sum(path) * (1 - p) ** (9 - sum(path))
        decision, used = rule.replay(np.array([sum(path[:n]) for n in looks]))
        certified += weight * (decision == "certify")
        samples += weight * used
    course = rule.course(p)
    assert course.total == pytest.approx(certified, abs=1e-12)
    assert course.samples == pytest.approx(samples, abs=1e-12)


@pytest.mark.parametrize("p", POINTS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("procedure", AT_RADIUS, ids=ids)
def test_at_radius_spends_at_most_alpha(procedure, p, alpha):
    threshold = procedure.at(p, alpha)
    exact = threshold.boundary.course(p).total
    assert exact <= alpha
    assert sum(threshold.ledger.values()) <= alpha * (1 + 1e-12)
    assert exact <= sum(threshold.ledger.values()) * (1 + 1e-9)
    lower = threshold.boundary.course(p - 0.2 * (1 - p)).total
    assert lower < exact  # smaller p certifies less: the rate at p is the largest


@pytest.mark.parametrize("p", POINTS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_calibration_uses_alpha_and_the_ledger_is_exact(p, alpha):
    threshold = Sequential().at(p, alpha)
    exact = threshold.boundary.course(p)
    assert exact.total / alpha > 0.97  # .98 to 1.00 at these points
    assert exact.certified[:-1].sum() == pytest.approx(threshold.ledger["sequence"], rel=1e-9)
    assert exact.certified[-1] == pytest.approx(threshold.ledger["final"], rel=1e-6)
    assert Ville().at(p, alpha).boundary.course(p).total / alpha < 0.2  # what calibration has to win


@pytest.mark.parametrize("p", POINTS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("procedure", [Ville(), Staged(), Fixed(), Sequential(cap=10_000, growth=0.2)], ids=ids)
def test_largest_radius_spends_at_most_alpha(procedure, p, alpha):
    """The event "some look's bound exceeds p", even where the procedure would have stopped: no less than its error."""
    sequence = procedure.sequence(alpha)
    certify = []
    for look, samples in enumerate(sequence.looks.tolist()):
        low, high = -1, samples + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if sequence.bounds(look, middle, 0)[0] > p else (middle, high)
        certify.append(high)
    boundary = Boundary(p, sequence.looks.copy(), np.array(certify), np.full(len(certify), -1))
    assert boundary.course(p).total <= alpha
    assert sum(sequence.ledger.values()) == pytest.approx(alpha)


@pytest.mark.parametrize("p", POINTS)
def test_simulated_streams_agree(p):
    """100,000 streams at p, drawn as binomials between looks, against alpha (one-sided) and against the exact rate."""
    rng, streams = np.random.default_rng(5), 100_000
    rules = {(procedure, alpha): procedure.at(p, alpha).boundary for procedure in (Sequential(), Ville()) for alpha in ALPHAS}
    looks = Sequential().looks()
    hits, before = np.zeros(streams, dtype=np.int64), 0
    alive = {key: np.ones(streams, dtype=bool) for key in rules}
    certified = dict.fromkeys(rules, 0)
    for look, samples in enumerate(looks.tolist()):
        hits += rng.binomial(samples - before, p, size=streams)
        before = samples
        for key, rule in rules.items():
            now = alive[key] & (hits >= rule.certify[look])
            certified[key] += int(now.sum())
            alive[key] &= (hits < rule.certify[look]) & (hits > rule.give_up[look])
    for (procedure, alpha), count in certified.items():
        assert binomtest(count, streams, alpha, alternative="greater").pvalue > 1e-4, procedure
        assert binomtest(count, streams, rules[procedure, alpha].course(p).total).pvalue > 1e-4, procedure


def test_calibrated_needs_fewer_samples_and_has_more_power():
    for p, better in ((0.84, 0.9), (0.977, 0.983)):
        sequential, ville = (kind.at(p, 0.001).boundary.course(better) for kind in (Sequential(), Ville()))
        assert sequential.samples < 0.8 * ville.samples
        assert sequential.total >= ville.total - 1e-9  # both are 1, but for giving up
    far = 0.9992  # near the largest radius
    assert Sequential().at(0.9987, 0.001).boundary.course(far).total > Ville().at(0.9987, 0.001).boundary.course(far).total


def test_lost_streams_stop_early_and_change_no_certificate():
    rule = Fixed(100_000).at(0.9998, 0.001).boundary
    stages = Boundary(
        rule.p, np.array([1000, 50_000, 100_000]), np.array([1001, 50_001, int(rule.certify[0])]), np.array([-1, -1, -1])
    )
    early = stages.without_lost()
    allowed = 100_000 - int(rule.certify[0])
    assert early.give_up.tolist() == [1000 - allowed - 1, 50_000 - allowed - 1, 100_000 - allowed - 1]
    for p in (0.9998, 0.9999):
        assert early.course(p).total == pytest.approx(stages.course(p).total, rel=1e-9)
        assert early.course(p).samples <= stages.course(p).samples
    assert early.course(0.95).samples < 1001
    assert not Boundary(0.9999, np.array([10]), np.array([11]), np.array([-1])).possible


def test_looks_are_whole_blocks_up_to_the_cap():
    looks = geometric_looks(128, 0.05, 100_000)
    assert looks[0] == 128
    assert looks[-1] == 100_000
    assert np.all(looks[:-1] % 128 == 0)
    assert np.all(np.diff(looks) > 0)
    assert geometric_looks(128, 0.05, 50).tolist() == [50]


def test_all_hits_are_capped_by_the_ceiling():
    sequence = Ville(cap=10_000).sequence(0.001)
    last = len(sequence.looks) - 1
    most = ceiling(10_000, 0.0001)
    assert sequence.bounds(last, 10_000, 0)[0] == pytest.approx(most, abs=1e-12)
    assert max(sequence.bounds(k, n, 0)[0] for k, n in enumerate(sequence.looks.tolist())) <= most + 1e-12


def test_procedures_have_names_and_options_are_checked():
    assert list(procedures) == ["fixed", "sequential", "staged", "two-sided", "ville"]
    for wrong in (
        lambda: Sequential(final=0),
        lambda: Ville(growth=0),
        lambda: Fixed(0),
        lambda: Staged((5, 5)),
        lambda: Ville(cap=0),
    ):
        with pytest.raises(BadConfig):
            wrong()
    with pytest.raises(BadConfig, match="alpha"):
        Sequential().at(0.9, 1.5)
    with pytest.raises(BadConfig, match="two-sided"):
        TwoSided().at(0.9, 0.001)
    with pytest.raises(BadConfig, match="ends undecided"):
        Sequential().at(0.9, 0.001).boundary.replay(np.array([117]))
