"""What a summary counts as proven, and the lines that it refuses: a bound of exactly 0 proves nothing."""

from __future__ import annotations

import math

import pytest

from epsball.errors import BadData, Unsound
from epsball.record.lines import InstanceLine, WitnessLine
from epsball.verification.summary import summarise

WITNESS = WitnessLine(index=1, label=0, shape=[1], x=[0.0], adversarial=[0.1])


def line(index: int, status: str = "unknown", **change) -> InstanceLine:
    known = {"index": index, "label": 0, "predicted": 0, "status": status, "by": "ibp", "bounds": {}, "seconds": 0.5}
    return InstanceLine(**{**known, "times": {}, **change})


def verified(index: int, **bounds: float | None) -> InstanceLine:
    return line(index, "verified", bounds=bounds)


@pytest.mark.parametrize("value", [0.0, -0.0, -1e-9, None, math.nan])
def test_a_bound_that_is_not_above_0_proves_nothing(value: float | None) -> None:
    with pytest.raises(Unsound, match="instance 7 is verified, but no method proves it"):
        summarise([verified(7, ibp=value)])
    found = summarise([verified(0, ibp=1.0, crown=value), verified(1, ibp=value, crown=2.0), verified(2, ibp=5e-324, crown=1.0)])
    assert found.verified_by["ibp"].value == pytest.approx(2 / 3)
    assert found.verified_by["crown"].value == pytest.approx(2 / 3)
    assert found.accuracy["verified"].value == 1.0


def test_a_proof_against_an_attack_is_a_contradiction_only_above_0() -> None:
    attacked = {"attacked_margin": -1e-9}
    summarise([line(0, "falsified", bounds={"ibp": 0.0}, **attacked)])
    with pytest.raises(Unsound, match=r"instance 0 has an attack with margin -1e-09 and proofs of margins \{'ibp': 1e-12\}"):
        summarise([line(0, "falsified", bounds={"ibp": 1e-12}, **attacked)])
    summarise([line(0, "falsified", bounds={"ibp": 1e-12}, attacked_margin=0.0)])
    told = line(0, "error", bounds={"ibp": 1e-12}, note="contradiction: 'ibp' proves it", **attacked)
    assert summarise([told]).status["error"] == 1
    with pytest.raises(Unsound):
        summarise([told.model_copy(update={"note": "no contradiction: at all"})])


def test_what_is_misclassified_is_never_verified() -> None:
    with pytest.raises(Unsound, match="instance 3 is verified, but misclassified"):
        summarise([line(3, "verified", predicted=1, bounds={"ibp": 1.0})])


def test_shares_count_every_instance() -> None:
    lines = [
        verified(0, ibp=1.0),
        line(1, "falsified", by="attack", attacked_margin=-1.0),
        line(2, "misclassified", predicted=1, by="clean"),
        line(3, "timeout"),
        line(4, "error"),
        line(5, bounds={"ibp": -1.0}),
        WITNESS,
    ]
    found = summarise(lines)
    shares = {name: share.value for name, share in found.accuracy.items()}
    assert shares == pytest.approx({"clean": 5 / 6, "attacked": 4 / 6, "verified": 1 / 6})
    assert found.status == {"verified": 1, "misclassified": 1, "falsified": 1, "unknown": 1, "timeout": 1, "error": 1}
    assert (found.count, found.seconds) == (6, 3.0)
    assert found.verified_by == {"ibp": found.accuracy["verified"]}


def test_a_method_that_missed_an_open_instance_has_no_share_of_its_own() -> None:
    assert summarise([verified(0, ibp=1.0), line(1)]).verified_by == {}
    settled = [verified(0, ibp=1.0), line(1, "falsified"), line(2, "timeout"), line(3, "misclassified", predicted=1)]
    assert set(summarise(settled).verified_by) == {"ibp"}


def test_steps_come_in_the_order_in_which_they_were_tried() -> None:
    lines = [
        line(0, "misclassified", predicted=1, by="clean", times={"clean": 1.0}),
        line(1, "falsified", by="attack", times={"clean": 1.0, "attack": 2.0}),
        line(2, "verified", by="ibp", bounds={"ibp": 1.0}, times={"clean": 1.0, "attack": 2.0, "ibp": 4.0}),
        line(3, by="ibp", times={"clean": 1.0, "attack": 2.0, "ibp": 4.0}),
    ]
    steps = summarise(lines).steps
    assert [s.name for s in steps] == ["clean", "attack", "ibp"]
    assert [s.settled for s in steps] == [1, 1, 1]
    assert [(s.verified, s.misclassified, s.falsified) for s in steps] == [(0, 1, 0), (0, 0, 1), (1, 0, 0)]
    assert [s.seconds for s in steps] == [4.0, 6.0, 8.0]


def test_an_index_counts_once_and_something_must_be_there() -> None:
    with pytest.raises(BadData, match="2 instances occur twice, the first is index 4"):
        summarise([line(4), line(5), line(4), line(5), line(6)])
    with pytest.raises(BadData, match="no instance"):
        summarise([WITNESS])
