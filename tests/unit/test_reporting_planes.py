"""Planes in a report: the sheet covers every cell once, borders lie between classes, and malformed planes are refused."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

import sample_records as sample
from epsball.errors import BadFile
from epsball.record.lines import PlaneLine
from epsball.record.read import typed
from epsball.reporting.class_map import borders, deepest
from epsball.reporting.planes import plane_figure
from epsball.reporting.runs import read_runs


def _run(folder, *lines):
    return read_runs([sample.write(folder, *lines)]).runs[0]


def test_the_sheet_covers_every_cell_with_its_class(tmp_path):
    lines = sample.plane_lines()
    figure = plane_figure(_run(tmp_path / "p", *lines))
    assert len(figure.svgs) == 2
    rows = list(csv.DictReader(io.StringIO(figure.sheet.text)))
    for line in lines[1:3]:
        grid = np.full((20, 20), -1)
        for row in (r for r in rows if r["network"] == line["network"]):
            left, right, bottom, top = (float(row[k]) for k in ("left", "right", "bottom", "top"))
            r, a, b = (round(v) for v in ((bottom + 3) * 2, (left + 2) * 2, (right + 2) * 2))
            assert top - bottom == pytest.approx(0.5)
            assert (grid[r, a:b] == -1).all()
            grid[r, a:b] = int(row["class"])
        assert grid.ravel().tolist() == line["classes"]
    assert plane_figure(_run(tmp_path / "none", sample.header("analyse"))) is None


def test_borders_lie_between_classes_and_nowhere_else():
    grid = np.array([[0, 0, 1], [0, 1, 1], [2, 2, 2]])
    found = {tuple(map(tuple, segment)) for segment in borders(grid, [0.0, 3.0, 0.0, 3.0])}
    assert found == {((1, 1), (2, 1)), ((0, 2), (3, 2)), ((1, 1), (1, 2)), ((2, 0), (2, 1))}


def test_a_name_stands_deep_inside_its_region():
    inside = np.zeros((9, 9), bool)
    inside[1:8, 2:7] = True
    assert deepest(inside)[1] == 4
    assert deepest(np.eye(3, dtype=bool)) == (0, 0)


@pytest.mark.parametrize("change", [
    {"resolution": 21}, {"window": [0.0, 0.0, 0.0, 1.0]}, {"classes": [-1] * 400}, {"traces": [[], [], []]}, {"labels": [1, 2]},
    {"verified": [1, 0, 1]}, {"points": [[0.0], [1.0], [2.0]]},
])  # fmt: skip
def test_a_malformed_plane_is_refused(tmp_path, change):
    head, line, *_ = sample.plane_lines()
    assert isinstance(typed([line], tmp_path)[0], PlaneLine)
    with pytest.raises(BadFile, match="malformed 'plane'"):
        _run(tmp_path / "p", head, line | change)
