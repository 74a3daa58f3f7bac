"""`epsball list ops`: for each operator the methods that cover it."""

from __future__ import annotations

from test_verbs import answer, call

from epsball.ops.operator import operators
from epsball.verification.rungs import named_steps


def test_a_column_a_method_for_programs(capsys):
    code, out, _ = call(capsys, "list", "ops")
    header, *rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert header == ["ops", *named_steps()]
    assert [row[0] for row in rows] == list(operators)
    cells = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert (cells["sigmoid"]["crown"], cells["sigmoid"]["sdp"], cells["matmul"]["sdp"]) == ("yes", "no", "affine")
    assert answer(capsys, "list", "ops")["methods"]["sigmoid"] == {k: v for k, v in cells["sigmoid"].items() if k != "ops"}


def test_for_people_what_is_not_covered(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call(capsys, "list", "op", "--format", "table")
    assert code == 0
    row = next(line for line in out.splitlines() if "sigmoid" in line)
    assert "not sdp" in row
    assert max(map(len, out.splitlines())) <= 80
