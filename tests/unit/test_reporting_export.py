"""The export of a report: every figure as SVG and PDF, every table as CSV and LaTeX, with the values of the record."""

from __future__ import annotations

import csv
import re
from importlib.resources import files
from xml.etree import ElementTree as ET

import pytest
from matplotlib import cycler, rc_context
from matplotlib.figure import Figure
from typer.testing import CliRunner

import sample_records as sample
from epsball.cli.app import app
from epsball.errors import BadConfig, BadFile
from epsball.reporting import write_report
from epsball.reporting.csv import Sheet, n_of
from epsball.reporting.drawing import _HELD, _NAMES, PRINTED
from epsball.reporting.export import write_exhibits
from epsball.reporting.html import render
from epsball.reporting.latex import escaped, tabular
from epsball.reporting.numbers import Exhibit
from epsball.reporting.runs import read_runs

_PICTURES = ("figure-gallery", "figure-noise", "figure-boxes")  # they have no axes


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The page of a run of every kind, and the folder of its export."""
    folder = tmp_path_factory.mktemp("whole")
    page = render(read_runs([sample.made(folder, name) for name in (*sample.RUNS, *sample.LOGS)]))
    write_exhibits(page.exhibits, folder / "export")
    return page, folder / "export"


def _table(folder, start: str) -> list[list[str]]:
    (path,) = folder.glob(f"{start}*.csv")
    return list(csv.reader(path.read_text("utf-8").splitlines()))


@pytest.mark.slow
def test_every_figure_and_table_of_the_page_is_there(whole):
    page, folder = whole
    numbered = re.findall(r'<span class="numbered">(Figure|Table) (\w+)\.</span> ([^<]*)', page.text)
    assert len(numbered) > 30
    endings = {"Figure": {"svg", "pdf", "csv"}, "Table": {"csv", "tex"}}
    for kind, number, title in numbered:
        found = list(folder.glob(f"{kind.lower()}-{re.sub('^(?=[0-9][a-z]*$)', '0', number)}-*"))
        assert {path.suffix[1:] for path in found} == endings[kind], (kind, number)
        first = re.sub("[^a-z]+", "-", title.lower()).split("-")[0]
        assert len({path.stem for path in found}) == 1
        assert found[0].stem.split("-")[2] == first
    assert len(list(folder.iterdir())) == sum(len(endings[kind]) for kind, _, _ in numbered)


@pytest.mark.slow
def test_every_file_is_what_its_name_says(whole):
    page, folder = whole
    for path in folder.iterdir():
        data = path.read_bytes()
        if path.suffix == ".svg":
            assert ET.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own file
            assert b"var(" not in data
            assert not set(_HELD) & set(re.findall("#[0-9a-f]{6}", data.decode()))
        elif path.suffix == ".pdf":
            assert data.startswith(b"%PDF")
            assert data.rstrip().endswith(b"%%EOF")
        elif path.suffix == ".tex":
            lines = data.decode().splitlines()
            columns = re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", lines[0])[1]
            rows = [line for line in lines[1:-1] if line != r"\hline"]
            assert lines[-1] == r"\end{tabular}"
            assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}
    assert {exhibit.sheet.text for exhibit in page.exhibits} == {path.read_text("utf-8") for path in folder.glob("*.csv")}


def test_the_values_are_the_records(tmp_path):
    lines = sample.verify_lines(60, witnesses=2)
    run = sample.write(tmp_path / "v", *lines)
    write_report([run], tmp_path / "r.html", tmp_path / "export")
    accuracy = lines[-2]["accuracy"]
    rows = {row[0]: row[2:5] for row in _table(tmp_path / "export", "table-01-accuracy")[1:]}
    for name, shown in (("clean", "clean"), ("attacked", "attacked"), ("verified", "verified, all methods")):
        assert [float(cell) for cell in rows[shown]] == [accuracy[name][key] for key in ("value", "low", "high")]
    inputs = _table(tmp_path / "export", "table-03-every")
    instances = [line for line in lines if line["type"] == "instance"]
    assert [(int(r[0]), r[3], float(r[7])) for r in inputs[1:]] == [(i["index"], i["status"], i["seconds"]) for i in instances]
    assert [None if r[5] == "" else float(r[5]) for r in inputs[1:]] == [i["margin"] for i in instances]
    axis = _table(tmp_path / "export", "figure-01-verified")
    assert [float(row[1]) for row in axis[1:]] == [accuracy[name]["value"] for name in ("verified", "attacked", "clean")]


@pytest.mark.slow
def test_every_axis_has_a_name_and_every_title_an_n(whole):
    page, _ = whole
    titles = re.findall(r'<span class="numbered">\w+ \w+\.</span> [^<]*(.{0,40})', page.text)
    assert [after for after in titles if not re.match(r'<span class="of">, n = [\d,]+', after)] == []
    for exhibit in page.exhibits:
        if exhibit.figure is None or exhibit.figure.id.startswith(_PICTURES):
            continue
        with rc_context({"axes.prop_cycle": cycler(color=PRINTED)}):
            for drawing in exhibit.figure.drawings:
                axes = Figure().add_subplot()
                drawing.paint(axes)
                assert axes.get_xlabel(), drawing.ident
                assert axes.get_ylabel(), drawing.ident


def test_files_have_the_colours_of_the_page_in_light():
    style = files("epsball.reporting").joinpath("templates", "style.css").read_text("utf-8").split("@media")[0]
    assert tuple(re.search(rf"--{name}: (#[0-9a-f]{{3,6}});", style)[1] for name in _NAMES) == PRINTED


def test_text_is_escaped_for_latex():
    assert escaped(r"50 % of a_b & $x^2$ #1 {~\}") == (
        r"50 \% of a\_b \& \$x\textasciicircum{}2\$ \#1 \{\textasciitilde{}\textbackslash{}\}"
    )
    assert escaped("a\n\tb") == "a b"
    sheet = Sheet("a.csv", ("[name]", "x_1", "n"), (('*|<>"', -0.123456789, -3), ("", None, None)))
    assert tabular(sheet).splitlines() == [
        r"\begin{tabular}{lrr}", r"\hline", r"{[}name{]} & x\_1 & n \\", r"\hline",
        r"{*}\textbar{}\textless{}\textgreater{}\textquotedbl{} & $-$0.123457 & $-$3 \\", r" &  &  \\", r"\hline", r"\end{tabular}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("count", "told"), [(1, "n = 1 input"), (1000, "n = 1,000 inputs"), ([40, 20], "n = 20 to 40 inputs"), ([3, 3], "n = 3 inputs")]
)
def test_n_reads_well(count, told):
    assert n_of(count, "input") == told


def test_a_title_never_leaves_the_folder(tmp_path):
    sheet = Sheet("x", ("a",), ((1,),))
    titles = ("../../etc/passwd", sample.EVIL, "", "…", "Größe")
    written = write_exhibits([Exhibit("table", str(k), title, sheet) for k, title in enumerate(titles)], tmp_path / "e")
    assert {path.parent for path in written} == {tmp_path / "e"}
    assert all(re.fullmatch("table-0[0-4](-[a-z0-9]+)*", path.stem) for path in written)
    assert (tmp_path / "e" / "table-04-grosse.csv").exists() or (tmp_path / "e" / "table-04-groe.csv").exists()


def test_a_folder_with_files_is_refused_before_anything_is_written(tmp_path):
    run = sample.write(tmp_path / "v", *sample.attack_lines(20))
    for place in (run, run / "record.jsonl"):
        with pytest.raises(BadConfig, match="new or empty folder"):
            write_report([run], tmp_path / "r.html", place)
    assert not (tmp_path / "r.html").exists()
    with pytest.raises(BadFile, match="could not be written"):
        write_exhibits(render(read_runs([run])).exhibits, run / "record.jsonl" / "e")


def test_the_verb_exports(tmp_path):
    run = sample.write(tmp_path / "v", *sample.attack_lines(20))
    out, folder = str(tmp_path / "r.html"), tmp_path / "e"
    done = CliRunner().invoke(app, ["report", str(run), "-o", out, "--export", str(folder)])
    assert done.exit_code == 0, done.output
    assert f"({len(list(folder.iterdir()))} files)" in done.output.replace("\n", "")
    assert sorted(path.suffix for path in folder.glob("figure-01-*")) == [".csv", ".pdf", ".svg"]
