"""Logs of smoothing as arguments of a report: a section of their own, beside runs or alone, and clear refusals."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

import sample_records as sample
from epsball.cli.app import app
from epsball.errors import BadFile
from epsball.reporting import write_report
from epsball.reporting.html import render
from epsball.reporting.runs import read_runs
from epsball.smoothing.log import average_radius, read
from html_page import Page


def _log(folder, name: str = "cohen.tsv", text: str = ""):
    path = folder / name
    path.write_text(text or sample.log_text(), encoding="utf-8")
    return path


def test_a_log_alone_makes_a_page_with_its_numbers(tmp_path):
    path = _log(tmp_path, "sigma_0.50")  # the field names them without an ending
    page = render(read_runs([path]))
    told = Page(page.text)
    rows = read(path)
    assert [a["id"] for a in told.of("section")] == ["logs"]
    assert told.data["logs-table"] == [sum(row.correct for row in rows) / 30, average_radius(rows)[0]]
    (curve, table) = page.exhibits
    assert (table.sheet.rows[0][0], table.sheet.rows[0][1]) == ("sigma_0.50", 30)
    for _, radius, accuracy, low, high in curve.sheet.rows:
        assert accuracy == sum(row.correct and row.radius >= radius for row in rows) / 30
        assert low <= accuracy <= high
    assert curve.figure.n == "n = 30 inputs"
    assert "sigma_0.50" in told.texts["title"]


def test_logs_stand_beside_runs(tmp_path):
    paths = [
        sample.write(tmp_path / "v", *sample.attack_lines(20)),
        _log(tmp_path),
        _log(tmp_path, "other.tsv", sample.log_text(12)),
    ]
    story = read_runs([*paths, paths[1]])
    assert [run.id for run in story.runs] == ["run-1"]
    assert [(log.name, len(log.rows)) for log in story.logs] == [("cohen.tsv", 30), ("other.tsv", 12)]
    page = Page(write_report(paths, tmp_path / "r.html").read_text("utf-8"))
    assert [a["id"] for a in page.of("section")] == ["inequality", "accuracy", "logs", "reproduce"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("idx\tlabel\n1\t2\n", "not a certification log"),
        ("idx\tlabel\tpredict\tradius\tcorrect\ttime\n", "without a row"),
        (sample.log_text(3) + "60\t0\tzero\t0.1\t1\t0:00:01\n", "predict is 'zero'"),
        (sample.log_text(3) + "40\t0\t0\t0.1\t1\t0:00:01\n", "stands twice"),
    ],
)
def test_a_malformed_log_is_refused_with_its_line(tmp_path, text, told):
    path = _log(tmp_path, text=text)
    with pytest.raises(BadFile, match=told) as caught:
        read_runs([path])
    assert str(path) in caught.value.where
    done = CliRunner().invoke(app, ["report", str(path), "-o", str(tmp_path / "r.html")])
    assert done.exit_code != 0
    assert not (tmp_path / "r.html").exists()


def test_the_name_of_a_log_stays_text(tmp_path):
    page = Page(render(read_runs([_log(tmp_path, "<b onclick=alert(1)>.tsv")])).text)
    assert not page.of("b")
    assert "<b onclick" in page.texts["logs-table"]
