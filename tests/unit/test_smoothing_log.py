"""Logs of the field: a golden file of 20 rows, curves recomputed by hand, and malformed files."""

from __future__ import annotations

import pytest

from epsball.errors import BadConfig, BadFile
from epsball.smoothing.log import Row, abstentions, average_radius, curve, read, write

HEAD = "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"
GOLDEN = """idx\tlabel\tpredict\tradius\tcorrect\ttime
0\t3\t3\t0.571\t1\t0:00:14.551244
20\t7\t7\t0.313\t1\t0:00:14.508134
40\t4\t-1\t0.0\t0\t0:00:14.512
60\t7\t7\t0.952\t1\t0:00:14.5
80\t8\t8\t0.952\t1\t0:00:14.5
100\t4\t4\t0.101\t1\t0:00:14.5
120\t8\t8\t0.64\t1\t0:00:14.5
140\t6\t6\t0.25\t1\t0:00:14.5
160\t2\t3\t0.411\t0\t0:00:14.5
180\t0\t0\t0.5\t1\t0:00:14.5
200\t5\t5\t0.0712\t1\t0:00:14.5
220\t7\t7\t0.75\t1\t0:00:14.5
240\t1\t1\t0.952\t1\t0:00:14.5
260\t8\t8\t0.333\t1\t0:00:14.5
280\t9\t9\t0.2499\t1\t0:00:14.5
300\t6\t-1\t0.0\t0\t0:00:14.5
320\t3\t5\t0.02\t0\t0:00:14.5
340\t2\t2\t0.611\t1\t0:00:14.5
360\t9\t9\t0.887\t1\t0:00:14.5
380\t6\t6\t0.499\t1\t1:02:03.5
"""


@pytest.fixture
def golden(tmp_path):
    path = tmp_path / "cohen.tsv"
    path.write_text(GOLDEN)
    return path


def test_curve_of_the_golden_log(golden):
    rows = read(golden)
    assert len(rows) == 20
    points = curve(rows, [0.0, 0.25, 0.5, 0.75, 0.952, 1.0])
    assert [p.accuracy for p in points] == [0.8, 0.65, 0.45, 0.25, 0.15, 0.0]
    assert all(p.low < p.accuracy < p.high for p in points[:-1])
    assert points[-1].low == 0.0
    assert points[0].low == pytest.approx(0.5634, abs=1e-4)  # 16 of 20, 95 % Clopper-Pearson
    assert points[0].high == pytest.approx(0.9427, abs=1e-4)
    mean, error = average_radius(rows)
    assert mean == pytest.approx(8.6321 / 20)
    assert error == pytest.approx(0.0777, abs=2e-3)
    assert abstentions(rows) == 0.1
    assert rows[-1].seconds == 3723.5


def test_written_logs_read_back(golden, tmp_path):
    rows = read(golden)
    again = tmp_path / "again.tsv"
    write(again, rows)
    assert read(again) == rows
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.tsv", "cohen.tsv"]
    assert again.read_text().splitlines()[1].split("\t")[-1] == "0:00:14.551244"


def test_rows_from_certificates():
    assert Row.of(5, 2, None, 0.0, 1.5) == Row(5, 2, -1, 0.0, correct=False, seconds=1.5)
    assert Row.of(5, 2, 2, 0.7, 1.5).correct
    assert not Row.of(5, 2, 1, 0.7, 1.5).correct


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a certification log"),
        ("idx,label\n", "not a certification log"),
        ("idx\tlabel\tpredict\tradius\tcorrect\ttime\n0\t1\t1\n", ":2"),
        ("idx\tlabel\tpredict\tradius\tcorrect\ttime\n0\t1\t1\tx\t1\t0:00:01\n", "malformed"),
        ("idx\tlabel\tpredict\tradius\tcorrect\ttime\n0\t1\t1\tnan\t1\t0:00:01\n", "radius is 'nan'"),
        (f"{HEAD}0\t1\t1\t0.5\n", "has 4 cells"),
        (f"{HEAD}0\t1\t1\t-0.5\t1\t0:00:01\n", "radius is '-0.5'"),
        (f"{HEAD}0\t1\t1\tinf\t1\t0:00:01\n", "radius is 'inf'"),
        (f"{HEAD}0\t1\t1\t0.5\t2\t0:00:01\n", "correct is '2'"),
        (f"{HEAD}0\t1\t1\t0.5\t1\tnan\n", "time is 'nan'"),
        (f"{HEAD}0\t-1\t-1\t0.0\t1\t1\n", "label is '-1'"),  # or an abstention would count as right
        (f"{HEAD}0\t1\t-1\t0.5\t0\t1\n", "abstention with a radius"),
        (f"{HEAD}0\t1\t1\t0.5\t1\t1\n\n0\t1\t1\t0.5\t1\t1\n", "image 0 stands twice"),
        ("idx\tlabel\tpredict\tradius\tcorrect\ttime\n0\t1\t2\t0.5\t1\t0:00:01\n", "correct says 1"),
    ],
)
def test_malformed_logs(tmp_path, text, message):
    path = tmp_path / "bad.tsv"
    path.write_text(text)
    with pytest.raises(BadFile, match=message) as caught:
        read(path)
    assert caught.value.fix
    assert str(path) in caught.value.where


def test_a_clock_above_a_day(tmp_path):
    path = tmp_path / "slow.tsv"
    path.write_text(f"{HEAD}0\t1\t1\t0.5\t1\t1 day, 2:03:04\n1\t1\t1\t0.5\t1\t2 days, 0:00:01.5\n")
    assert [row.seconds for row in read(path)] == [86400 + 7384, 2 * 86400 + 1.5]


def test_missing_and_empty(tmp_path):
    with pytest.raises(BadFile, match="no certification log"):
        read(tmp_path / "none.tsv")
    with pytest.raises(BadConfig, match="no images"):
        curve([], [0.0])
