"""Certified against clean accuracy over epochs: the values of the record, and nothing where there is no path."""

from __future__ import annotations

import sample_records as sample
from epsball.reporting.runs import read_runs
from epsball.reporting.sections.tradeoff import tradeoff_figure


def _epoch(epoch: float, clean: float | None, verified: float | None, *, best: bool = False) -> dict:
    return {"type": "epoch", "epoch": epoch, "step": int(10 * epoch), "clean": clean, "verified": verified, "best": best}


def _story(folder, *runs):
    return read_runs([sample.write(folder / f"run{k}", sample.header("train"), *lines) for k, lines in enumerate(runs)])


def test_a_path_holds_every_epoch_with_both_accuracies_once(tmp_path):
    first = [
        _epoch(1, 0.5, 0.25, best=True), _epoch(2, 0.75, None), _epoch(3, 0.7, 0.3), _epoch(3, 0.625, 0.375, best=True),
        _epoch(4, 0.875, 0.125),
    ]  # fmt: skip
    story = _story(tmp_path, first, [_epoch(1, 0.5, 0.5), _epoch(2, 0.5, 0.75)], [_epoch(1, 0.9, 0.8)], [_epoch(1, 0.9, None)])
    figure = tradeoff_figure(story)
    assert figure.sheet.rows == (
        ("run0", 1, 0.5, 0.25, False), ("run0", 3, 0.625, 0.375, True), ("run0", 4, 0.875, 0.125, False),
        ("run1", 1, 0.5, 0.5, False), ("run1", 2, 0.5, 0.75, False),
    )  # fmt: skip
    assert figure.n == "n = 2 to 3 epochs"
    assert "run0 ends at 87.50 clean and 12.50 certified" in figure.drawings[0].alt
    assert ">certified accuracy</text>" in figure.svgs[0]


def test_one_epoch_is_no_path(tmp_path):
    assert tradeoff_figure(_story(tmp_path, [_epoch(1, 0.9, 0.8)], [_epoch(1, 0.5, None), _epoch(2, 0.6, None)])) is None
