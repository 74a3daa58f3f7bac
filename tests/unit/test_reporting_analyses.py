"""The sections of barriers, estimates and attacks on smoothed classifiers: their numbers are the record's."""

from __future__ import annotations

import csv
import io

import pytest
from scipy.stats import binomtest

import sample_records as sample
from epsball.record.lines import BarrierLine
from epsball.reporting import write_report
from epsball.reporting.runs import read_runs
from epsball.reporting.sections.barrier import barrier_figure, barrier_panel
from epsball.reporting.sections.estimate import estimate_panel
from epsball.reporting.sections.smooth_attack import SmoothAttackRow, standing_figure
from html_page import Page


def _run(folder, lines):
    return read_runs([sample.write(folder, *lines)]).runs[0]


def _rows(sheet):
    return list(csv.DictReader(io.StringIO(sheet.text)))


def _page(folder, lines) -> Page:
    return Page(write_report([sample.write(folder / "run", *lines)], folder / "r.html").read_text("utf-8"))


@pytest.mark.slow
def test_a_barrier_is_drawn_from_whole_chains_and_told_of_all(tmp_path):
    lines = sample.barrier_lines()
    panel = barrier_panel(_run(tmp_path / "b", lines))
    assert [line.index for line in panel.lines] == list(range(20, 30))
    assert panel.methods == ("clean", "crown", "lp", "lp-tight", "attack")
    whole = [line for line in lines[1:-1] if line.get("gap") is not None]
    shut = sum(line["margins"]["lp-tight"] <= 0 < line["margins"]["attack"] for line in whole)
    assert 0 < shut < len(whole) == 8
    assert f"Least margins of 8 images by method; {shut} lie above zero" in panel.figure.svgs[0]
    rows = _rows(panel.sheet)
    assert [float(row["crown"]) for row in rows[:8]] == [line["margins"]["crown"] for line in whole]
    assert [(row["status"], row["gap"], row["lp"]) for row in rows[8:]] == [("misclassified", "", ""), ("timeout", "", "")]
    page = _page(tmp_path, lines)
    assert page.data["barrier-table-run-1"] == [value for line in whole for value in (line["gap"], line["barrier"])]


def test_a_barrier_without_a_whole_chain_is_a_table(tmp_path):
    head, *_, misclassified, timeout, done = sample.barrier_lines()
    panel = barrier_panel(_run(tmp_path / "b", [head, misclassified, timeout, done]))
    assert panel.figure is None
    assert "no chain of them is whole" in _page(tmp_path, [head, misclassified, timeout, done]).texts["barrier"]


@pytest.mark.filterwarnings("error::UserWarning")
def test_chains_of_other_methods_are_no_chains():
    plain = {"index": 0, "label": 0, "status": "done", "gap": 1.0}
    strange = [BarrierLine(**plain, margins=m) for m in ({"other": 1.0}, {"crown": 0.0}, {"attack": 1.0, "crown": None}, {})]
    assert "Least margins of 0 images" in barrier_figure(strange).alt
    assert (
        "Least margins of 1 images" in barrier_figure([*strange, BarrierLine(**plain, margins={"crown": 0.0, "attack": 1.0})]).alt
    )


@pytest.mark.slow
def test_estimates_stand_by_margin_and_say_that_they_are_no_proofs(tmp_path):
    lines = sample.estimate_lines()
    panel = estimate_panel(_run(tmp_path / "e", lines))
    told = sorted(lines[1:-1], key=lambda line: line["least"])
    rows = _rows(panel.sheet)
    assert [(int(row["input"]), float(row["least_margin_found"])) for row in rows] == [(x["index"], x["least"]) for x in told]
    for row, line in zip(rows, told, strict=True):
        assert [[float(row[f"output_{k}_{end}"]) for end in ("low", "high")] for k in (0, 1)] == line["outputs"]
        assert row["lipschitz_estimate"] == ("" if line["lipschitz"] is None else "12.5")
    assert panel.broken == sum(line["least"] < 0 for line in told) == 2
    assert len(panel.figure.svgs) == 2
    page = _page(tmp_path, lines)
    assert page.data["estimate-table-run-1"] == [value for line in told for value in (line["least"], line["radius"])]
    assert "not proofs; 2 have a margin below zero" in page.texts["estimate-table-run-1"]


def test_estimates_that_are_not_finite_are_a_table(tmp_path):
    head, line, *_ = sample.estimate_lines()
    nothing = line | {"least": None, "lipschitz": None, "radius": None, "outputs": [[None, None]]}
    panel = estimate_panel(_run(tmp_path / "e", [head, nothing]))
    assert panel.figure is None
    assert "–" in _page(tmp_path, [head, nothing]).texts["estimate-table-run-1"]


@pytest.mark.slow
def test_what_stands_against_a_smooth_attack_is_counted(tmp_path):
    lines = sample.smooth_attack_lines()
    run = _run(tmp_path / "s", lines)
    row = SmoothAttackRow.of(run)
    told = [line for line in lines if line["type"] == "smooth-attack"]
    tried = [line for line in told if line["attacked"]]
    won = [line for line in tried if line["success"]]
    assert (row.abstained, row.attacked, row.broken) == (4, 36, len(won))
    assert row.silenced == sum(line["adversarial"] is None for line in tried) > 0
    for _, distance, share, low, high in standing_figure([row]).sheet.rows:
        held = sum(not line["success"] or line["distance"] > distance for line in tried)
        limits = binomtest(held, len(told)).proportion_ci(0.95)
        assert share == held / len(told)
        assert (low, high) == pytest.approx((limits.low, limits.high), abs=1e-9)
    assert row.points[0][1] == 36 / 40
    assert row.points[-1][1] == (36 - len(won)) / 40
    assert [r["success"] for r in _rows(row.sheet)].count("True") == len(won)
    page = _page(tmp_path, lines)
    assert page.data["smooth-attack-table"] == [36, len(won), row.silenced]
    assert "Gaussian(sigma=0.25)" in page.texts["smooth-attack-table"]


def test_a_smooth_attack_without_successes_or_distances_is_drawn(tmp_path):
    head, *lines = sample.smooth_attack_lines()
    tame = [line | {"success": False} if line["type"] == "smooth-attack" else line for line in lines]
    row = SmoothAttackRow.of(_run(tmp_path / "a", [head, *tame]))
    assert (row.broken, row.distance, len(row.points)) == (0, None, 1)
    assert "0 of 36 broken" in standing_figure([row]).svgs[0]
    bare = [line | {"distance": None} for line in lines if line["type"] == "smooth-attack"]
    cut = SmoothAttackRow.of(_run(tmp_path / "b", [head, *bare]))
    assert cut.points == [(0.0, *cut.points[0][1:])]
    assert cut.points[0][1] == (cut.attacked - cut.broken) / 40
    assert cut.distance is None
    assert len(standing_figure([row, cut]).sheet.rows) == 2
