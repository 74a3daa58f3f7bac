"""Regions in a report: colours that agree, sheets and words that say what is drawn, and malformed lines refused."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

import sample_records as sample
from epsball.errors import BadFile
from epsball.record.lines import RegionsLine
from epsball.record.read import typed
from epsball.reporting import write_report
from epsball.reporting.class_map import away_from, colour_of
from epsball.reporting.runs import read_runs
from epsball.reporting.sections.regions import region_figures


def _run(folder, *lines):
    return read_runs([sample.write(folder, *lines)]).runs[0]


def _changed(**change):
    head, line, done = sample.regions_lines()
    return head, line | change, done


def _rows(figure):
    return list(csv.DictReader(io.StringIO(figure.sheet.text)))


def test_the_sheets_hold_every_cell_and_every_vote(tmp_path):
    plane, votes = region_figures(_run(tmp_path / "r", *sample.regions_lines()))
    area = {c: sum((float(r["right"]) - float(r["left"])) * (float(r["top"]) - float(r["bottom"]))
                   for r in _rows(plane) if r["class"] == c) for c in "72"}  # fmt: skip
    assert area == pytest.approx({"7": 16 * 0.6, "2": 16 * 0.4})
    assert [(int(r["class"]), int(r["votes"])) for r in _rows(votes)][:5] == [(7, 900), (2, 90), (8, 4), (1, 3), (9, 1)]
    assert len(_rows(votes)) == 12
    assert region_figures(_run(tmp_path / "none", sample.header("analyse"))) == ()


@pytest.mark.slow
def test_the_words_say_what_is_certified_and_what_is_not_shown(tmp_path):
    plane, votes = region_figures(_run(tmp_path / "r", *sample.regions_lines()))
    assert "certified l2 radius, 0.439: within it the smoothed classifier says 7" in plane.caption
    assert "falls fastest towards 2 and one direction drawn by chance" in plane.caption
    assert "σ√784 = 14 long" in plane.caption
    assert "p_A = 0.81 certifies class 7" in votes.caption
    assert "2 other classes got 0 votes. 1 outputs were NaN" in votes.caption
    plane, votes = region_figures(_run(tmp_path / "a", *_changed(smoothed=None, radius=0.0, p_a=0.4, towards=[None, None])))
    assert "abstains here: no radius is certified" in plane.caption
    assert "spanned by two directions drawn by chance" in plane.caption
    assert "No class is proven" in votes.caption
    assert "p_A" not in votes.svgs[0]


def test_one_class_has_one_colour_in_both_drawings():
    assert colour_of(7, [7, 2, 7]) != colour_of(2, [7, 2, 7])
    assert colour_of(4, [7, 2], [4, 5]) != colour_of(5, [7, 2], [4, 5])
    assert colour_of(7, [7, 2], [4]) == colour_of(7, [7, 2])


def test_names_keep_away_from_lines():
    """Around one closed triangle, seen as a brute-force distance to points along its edges."""
    corners = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    free = away_from([corners], (-1.0, 2.0, -1.0, 2.0), 30, 0.2)
    steps = np.linspace(0, 1, 2001)[:, None]
    edge = np.concatenate(
        [np.array(a) + steps * (np.array(b) - a) for a, b in zip(corners, corners[1:] + corners[:1], strict=True)]
    )
    for row, column in [(10, 10), (9, 15), (8, 15), (7, 15), (15, 15), (18, 18), (13, 13), (0, 29)]:
        point = np.array([-1 + (column + 0.5) * 0.1, -1 + (row + 0.5) * 0.1])
        assert free[row, column] == (np.linalg.norm(edge - point, axis=1).min() > 0.2)


@pytest.mark.slow
def test_the_report_has_both_in_its_section_beside_certificates(tmp_path):
    runs = [sample.write(tmp_path / "r", *sample.regions_lines()), sample.write(tmp_path / "c", *sample.certify_lines())]
    page = write_report(runs, tmp_path / "r.html").read_text()
    section = page[page.index('<section id="smoothing"') : page.index('<section id="reproduce"')]
    for ident in ("figure-regions-run-1-1", "figure-region-votes-run-1-1", "figure-certified", "regions-panel-run-1"):
        assert section.count(f'id="{ident}"') == 1
    assert "No smoothing in these runs" not in section
    alone = write_report(runs[:1], tmp_path / "alone.html").read_text()
    assert "No smoothing in these runs" not in alone
    assert "smoothing-table" not in alone


@pytest.mark.parametrize("change", [
    {"sigma": 0.0}, {"resolution": 21}, {"window": [0.0, 0.0, 0.0, 1.0]}, {"low": [0.1]}, {"votes": [900] * 12}, {"top": 12},
    {"towards": [2]}, {"p_a": 1.5}, {"radius": -1.0}, {"classes": [-1] * 400}, {"samples": 0},
])  # fmt: skip
def test_a_malformed_line_is_refused(tmp_path, change):
    assert isinstance(typed([sample.regions_lines()[1]], tmp_path)[0], RegionsLine)
    with pytest.raises(BadFile, match="malformed 'regions'"):
        _run(tmp_path / "r", *_changed(**change))


def test_text_of_the_line_stays_text(tmp_path):
    lines = _changed(network=sample.EVIL, data=sample.EVIL, noise=sample.EVIL, norm=sample.EVIL)
    page = write_report([sample.write(tmp_path / "r", *lines)], tmp_path / "r.html").read_text()
    assert "<script>window.evil" not in page
