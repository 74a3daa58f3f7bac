"""A survey's lines, what they amount to, and the exact interval of a share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest

import zoo
from epsball.bounding.linear.crown import Crown
from epsball.errors import BadConfig, BadData, BadShape, Unsound
from epsball.ops.network import Network
from epsball.problem.problem import Budget
from epsball.problem.sets import LpBall
from epsball.proportion import clopper_pearson
from epsball.record.lines import DoneLine, InstanceLine
from epsball.record.read import typed
from epsball.run.verify import refuse_contradictions
from epsball.verification.incomplete import Incomplete
from epsball.verification.ladder import STEPS, Ladder
from epsball.verification.summary import summarise
from epsball.verification.survey import shard, survey

EPS = 0.08
COUNT = 50


@pytest.fixture(scope="module")
def network() -> Network:
    return Network.capture(*zoo.build("mlp", seed=5))


@pytest.fixture(scope="module")
def data(network) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(COUNT, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = network.module(x).argmax(1)
    y[::10] = (y[::10] + 1) % 3
    return x, y


def _batches(data, indices, size=16):
    x, y = data
    for part in torch.tensor(indices).split(size):
        yield part + 1000, x[part], y[part]


def _ball(x):
    return LpBall(x, EPS, clip=(0.0, 1.0))


def _survey(network, data, verifier=None, indices=range(COUNT), **options):
    return list(survey(network, _batches(data, list(indices)), _ball, verifier or Ladder(), **options))


@pytest.mark.slow
def test_lines_are_what_a_record_holds(network, data):
    lines = _survey(network, data, witnesses=3)
    instances = [line for line in lines if line.kind == "instance"]
    witnesses = [line for line in lines if line.kind == "witness"]
    assert [line.index for line in instances] == [1000 + i for i in range(COUNT)]
    raw = json.loads(json.dumps([line.written() for line in lines], allow_nan=False))
    assert typed(raw, Path("record")) == lines
    for i, line in enumerate(instances):
        assert line.label == int(data[1][i])
        assert (line.by == "clean") == (line.predicted != line.label) == (i % 10 == 0)
        if line.status == "verified":
            assert line.margin == max(line.bounds.values()) > 0
            assert line.by in line.bounds
        assert line.margin is None or line.margin <= line.attacked_margin + 1e-6
    assert {line.status for line in instances} == {"verified", "misclassified", "falsified", "unknown"}
    assert all((line.status == "misclassified") == (line.predicted != line.label) for line in instances)
    assert len(witnesses) == 3
    for line in witnesses:
        before = lines[lines.index(line) - 1]
        assert (before.index, before.by) == (line.index, "attack")
        x, there = torch.tensor(line.x), torch.tensor(line.adversarial)
        assert line.shape == [5]
        assert float((x - there).abs().max()) <= EPS + 2e-5
        assert torch.allclose(x, data[0][line.index - 1000], atol=1e-5)
        with torch.no_grad():
            assert int(network.module(there[None]).argmax()) == line.predicted != line.label


def test_the_summary_counts_the_lines(network, data):
    lines = _survey(network, data)
    found = summarise(lines)
    instances = [line for line in lines if line.kind == "instance"]
    status = [line.status for line in instances]
    assert found.count == COUNT
    assert found.status == {s: status.count(s) for s in ("verified", "misclassified", "falsified", "unknown", "timeout", "error")}
    share = {name: entry.value for name, entry in found.accuracy.items()}
    assert share["clean"] == pytest.approx(0.9)
    assert share["attacked"] == pytest.approx(1 - (status.count("misclassified") + status.count("falsified")) / COUNT)
    assert share["verified"] == pytest.approx(status.count("verified") / COUNT)
    assert share["verified"] < share["attacked"] < share["clean"]
    assert [step.name for step in found.steps] == ["clean", "attack", "ibp", "crown-ibp", "crown"]
    assert sum(step.settled for step in found.steps) == COUNT - status.count("unknown")
    for step in found.steps:
        assert step.settled == step.verified + step.misclassified + step.falsified
        assert step.settled == sum(line.by == step.name and line.status != "unknown" for line in instances)
    assert sum(step.seconds for step in found.steps) == pytest.approx(found.seconds, abs=1e-3)
    test = binomtest(status.count("verified"), COUNT).proportion_ci(0.95, "exact")
    assert found.accuracy["verified"].low == pytest.approx(test.low, abs=1e-12)
    assert set(found.verified_by) == {"ibp"}, "later steps did not see every instance"


@pytest.mark.slow
def test_running_everywhere_knows_every_methods_own_accuracy(network, data):
    lines = _survey(network, data, Ladder(everywhere=STEPS))
    found = summarise(lines)
    by = found.verified_by
    for method in ("ibp", "crown-ibp", "crown"):
        alone = summarise(_survey(network, data, Incomplete(method)))
        assert by[method] == alone.accuracy["verified"] == alone.verified_by[method]
    assert by["ibp"].value < by["crown"].value <= found.accuracy["verified"].value
    plain = summarise(_survey(network, data))
    assert plain.accuracy == found.accuracy
    assert [s.name for s in found.steps] == [s.name for s in plain.steps]


@pytest.mark.slow
def test_shards_in_any_order_make_the_whole(network, data):
    whole = summarise(_survey(network, data, Ladder(), batches := range(COUNT)))
    parts = [_survey(network, data, Ladder(), shard(batches, i, 3)) for i in (2, 0, 1)]
    together = summarise([line for part in parts for line in part])
    assert together.accuracy["verified"] == whole.accuracy["verified"]
    with pytest.raises(BadData, match="shard once"):
        summarise(parts[0] + parts[0])
    assert sorted(i for n in range(3) for i in shard(range(11), n, 3)) == list(range(11))
    for bad in ((3, 3), (-1, 3), (0, 0)):
        with pytest.raises(BadConfig, match="i/n"):
            shard(range(5), *bad)


def test_timeouts_and_errors_are_no_answers(network, data):
    late = summarise(_survey(network, data, budget=Budget(seconds=1e-12)))
    assert late.status["timeout"] == COUNT
    assert late.accuracy["verified"].value == 0
    assert late.accuracy["attacked"].value == late.accuracy["clean"].value == pytest.approx(0.9)

    def broken(*_):
        raise RuntimeError("out of memory")

    lines = _survey(network, data, Ladder(steps=("clean", Incomplete(broken, label="broken"))))
    assert {line.note for line in lines if line.status == "error"} == {"RuntimeError: out of memory"}
    assert summarise(lines).status["error"] == 45


@pytest.mark.slow
def test_double_precision_agrees(network, data):
    single, double = (summarise(_survey(network, data, dtype=d)) for d in (torch.float32, torch.float64))
    assert single.accuracy == double.accuracy


def test_any_margin_above_zero_is_a_proof():
    """Rounding was given away inside the method: what is left is compared with 0 exactly."""
    found = summarise([_line(bounds={"ibp": 1e-30, "crown": 0.0}, margin=1e-30)])
    assert found.accuracy["verified"].value == found.verified_by["ibp"].value == 1
    assert found.verified_by["crown"].value == 0


def test_a_contradiction_names_the_index_in_the_data(network, data):
    class TooHigh(Crown):
        def __call__(self, *args):
            return super().__call__(*args) + 9

    wrong = Incomplete(TooHigh(), label="wrong")
    lines = _survey(network, data, Ladder(steps=("clean", "attack", wrong), everywhere=("wrong",)))
    notes = {line.index: line.note for line in lines if line.kind == "instance" and line.status == "error"}
    assert notes
    assert all("'wrong' proves a margin of at least" in note for note in notes.values())
    assert summarise(lines).status["error"] == len(notes)
    with pytest.raises(Unsound, match=rf"{len(notes)} of {COUNT} verdicts(?s:.)*index {min(notes)}"):
        refuse_contradictions([line for line in lines if line.kind == "instance"])


def _line(**changes):
    line = {
        "index": 7, "label": 1, "predicted": 1, "status": "verified", "by": "ibp", "margin": 0.5,
        "bounds": {"ibp": 0.5}, "attacked_margin": 0.6, "seconds": 0.1, "times": {"ibp": 0.1},
    }  # fmt: skip
    return InstanceLine(**(line | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"predicted": 2}, "instance 7 is verified, but misclassified"),
        ({"bounds": {"ibp": -0.1}}, "no method proves"),
        ({"bounds": {"ibp": None}}, "no method proves"),
        ({"attacked_margin": -0.1}, "an attack with margin -0.1"),
        ({"status": "falsified", "by": "attack", "attacked_margin": -0.2}, "proofs of margins"),
    ],
)
def test_lines_that_contradict_themselves_are_refused(changes, says):
    assert summarise([_line()]).accuracy["verified"].value == 1
    with pytest.raises(Unsound, match=says):
        summarise([_line(**changes)])


def test_an_empty_survey_and_unequal_batches_say_what_is_wrong(network, data):
    with pytest.raises(BadData, match="no instance"):
        summarise([DoneLine()])
    x, y = data
    with pytest.raises(BadShape, match="3 indices, 2 inputs"):
        list(survey(network, [(torch.arange(3), x[:2], y[:2])], _ball, Ladder()))
    with pytest.raises(BadData, match=r"outside 0\.\.2"):
        list(survey(network, [(torch.arange(2), x[:2], y[:2] + 3)], _ball, Ladder()))


def test_the_interval_of_a_share_is_the_exact_one():
    for total in (1, 7, 100, 10_000):
        for count in {0, 1, total // 3, total - 1, total}:
            want = binomtest(count, total).proportion_ci(0.95, "exact")
            assert clopper_pearson(count, total) == pytest.approx((want.low, want.high), abs=1e-12)
            want = binomtest(count, total).proportion_ci(0.99, "exact")
            assert clopper_pearson(count, total, 0.99) == pytest.approx((want.low, want.high), abs=1e-12)
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    for bad in ((2, 1), (-1, 1), (0, 1, 1.0)):
        with pytest.raises(BadConfig, match="no interval"):
            clopper_pearson(*bad)
