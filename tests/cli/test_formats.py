"""Tables on a terminal, in a pipe, as CSV and as JSON: the same cells, nothing cut."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from test_verbs import call, trained  # noqa: F401 - the fixture

from epsball.cli.tables import TableForm, separated, show

BALL = ("--data", "digits", "--eps", "1/16", "--index", ":2")


def tables(trained, tmp_path) -> dict[str, tuple]:  # noqa: F811
    return {
        "list": ("list", "attacks"),
        "show": ("show", "attack", "pgd"),
        "doctor": ("doctor",),
        "check": ("data", "check", "digits"),
        "attack": ("attack", trained, *BALL),
        "bounds": ("bounds", trained, *BALL),
        "forecast": ("bounds", trained, *BALL, "--dry-run"),
        "verify": ("verify", trained, *BALL, "--out", tmp_path / "v"),
        "certify": ("certify", trained, "--data", "digits", "--sigma", "0.1", "--index", ":2", "--set", "cap=512",
                    "--out", tmp_path / "c"),
        "radius": ("analyse", "radius", trained, "--data", "digits", "--index", ":2", "--method", "ibp", "--steps", "3"),
        "estimate": ("analyse", "estimate", trained, *BALL, "--batches", "2", "--samples", "4", "--steps", "1"),
        "init": ("analyse", "init", "--trials", "2"),
        "regions": ("analyse", "regions", trained, "--samples", "100", "--resolution", "8", "--out", tmp_path / "r"),
        "train": ("train", "--resume", trained),
    }  # fmt: skip


NAMES = tuple(tables(Path(), Path()))


@pytest.mark.parametrize("name", NAMES)
def test_in_a_pipe_a_table_is_lines_of_tabs_under_a_header(capsys, trained, tmp_path, name):  # noqa: F811
    code, out, err = call(capsys, *tables(trained, tmp_path)[name])
    assert code == 0, err
    for block in out.rstrip("\n").split("\n\n"):
        header, *lines = block.split("\n")
        assert "\t" in header
        assert lines
        assert {line.count("\t") for line in lines} == {header.count("\t")}
    assert not set(out) & set("┏┃│━…")


@pytest.mark.parametrize("name", NAMES)
def test_eighty_columns_cut_nothing(capsys, trained, tmp_path, monkeypatch, name):  # noqa: F811
    monkeypatch.setenv("COLUMNS", "80")
    arguments = tables(trained, tmp_path)[name]
    code, out, err = call(capsys, *arguments, "--format", "table")
    assert code == 0, err
    assert "…" not in out
    again = [tmp_path / "again" if part in (tmp_path / "v", tmp_path / "c", tmp_path / "r") else part for part in arguments]
    plain = call(capsys, *again, "--format", "tsv")[1]
    shown = " ".join(out.translate(str.maketrans("┃│", "  ")).split())
    for header in (block.split("\n")[0] for block in plain.split("\n\n")):
        if name != "show":  # people get its text without a table
            assert [word for word in header.split() if word not in shown] == []


def test_csv_and_json_by_one_option(capsys):
    code, out, _ = call(capsys, "list", "attacks", "--format", "csv")
    rows = list(csv.reader(io.StringIO(out)))
    found = call(capsys, "list", "attacks", "--format", "json")
    assert (code, found[0]) == (0, 0)
    assert found == call(capsys, "list", "attacks", "--json")
    assert rows == [["attacks", "what it is"], *map(list, json.loads(found[1])["entries"].items())]
    assert call(capsys, "list", "attacks", "--format", "xml")[0] == 2


def test_an_error_is_json_where_the_result_would_have_been(capsys):
    for asked in (("--format", "json"), ("--format=json",), ("--json",)):
        code, out, err = call(capsys, "list", "nothing", *asked)
        assert (code, err) == (2, "")
        assert json.loads(out)["error"]["kind"] == "BadConfig"
    assert call(capsys, "list", "nothing", "--format", "tsv")[1] == ""


def test_two_forms_are_refused(capsys):
    code, out, _ = call(capsys, "list", "attacks", "--format", "tsv", "--json")
    assert "two forms" in out
    assert code == 2


def test_a_cell_of_tabs_and_lines_stays_one_cell():
    assert separated(TableForm.TSV, ("a", "b"), [("1\t2", "x\ny")]) == "a\tb\n1 2\tx y\n"
    assert separated(TableForm.CSV, ("a", "b"), [('1,"2', "x")]) == 'a,b\n"1,""2",x\n'


def rendered(width: int, *table: object) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False, soft_wrap=True)
    show(console, "", *table)
    return console.file.getvalue().splitlines()


def test_numbers_stand_right_and_words_left():
    lines = rendered(80, ("step", "label", "seconds"), [("attack", "taken for 3", "0.31"), ("crown", "-", "1,200.50")])
    assert "│ attack │ taken for 3 │     0.31 │" in lines
    assert "│ crown  │ -           │ 1,200.50 │" in lines


def test_what_looks_like_markup_is_shown():
    assert any("extra [report]" in line for line in rendered(80, ("what", "[95 %]"), [("extra [report]", "x")]))


def test_a_wide_table_wraps_its_text_and_keeps_its_numbers():
    told = " ".join(f"word{i}" for i in range(30))
    lines = rendered(60, ("name", "what it is", "seconds"), [("first", told, "1234567.5")])
    assert max(map(len, lines)) <= 60
    assert all(any(f"word{i} " in line for line in lines) for i in range(30))
    assert any("1234567.5" in line for line in lines)


def test_a_table_with_no_room_is_a_record_a_row():
    columns = [f"column {i}" for i in range(12)]
    lines = rendered(60, columns, [[f"{i}.{j}" for i in range(12)] for j in range(2)])
    assert [line.split() for line in lines if line] == [["column", str(i), f"{i}.{j}"] for j in range(2) for i in range(12)]
    path = "/a/path/of/a/model/that/no/terminal/of/forty/columns/holds"
    assert f"model  {path}" in rendered(40, ("model", "n"), [(path, "3")])
