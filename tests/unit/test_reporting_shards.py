"""Shards in a report: one headline, equal to that of the run in one piece; what does not belong together is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import sample_records as sample
from epsball.errors import BadConfig
from epsball.reporting import tables, write_report
from epsball.reporting.runs import read_runs
from epsball.reporting.sections.funnel import funnels

INDEX, COUNT, PARTS = "9f" * 32, 300, 3


def _shard(folder: Path, part: int, change: Callable[[dict], object] = dict.copy, take: int | None = None) -> Path:
    """Every third input of a run, as `verify --shard part/3` records it."""
    lines = sample.instances(COUNT)[(take or part) - 1 :: PARTS]
    shard = {"part": part, "parts": PARTS, "index": INDEX}
    header = sample.header("verify", "net", "--shard", f"{part}/{PARTS}", eps=0.1, model="net", data_digest="ab", shard=shard)
    header["config"]["index"] = {"count": len(lines), "first": part - 1}
    header["identity"]["data"] = f"{part}{part}" * 32
    change(header)
    return sample.write(folder / f"shard-{part}", header, *lines, sample.summary("verify", lines), {"type": "done"})


@pytest.mark.slow
def test_three_shards_have_the_headline_of_the_whole(tmp_path):
    whole = sample.write(tmp_path / "whole", *sample.verify_lines(COUNT, witnesses=0))
    parts = [_shard(tmp_path, part) for part in (2, 3, 1)]
    one, many = read_runs([whole]), read_runs(parts)
    (wanted,), (found,) = tables.headlines(one), tables.headlines(many)
    for name in ("verified", "attacked", "clean"):
        rate = sample.last(whole, "summary")["accuracy"][name]
        got = getattr(found, name)
        assert (got.value, got.low, got.high) == pytest.approx((rate["value"], rate["low"], rate["high"]), abs=1e-12)
    assert found.open == wanted.open
    assert funnels(many)[0].status == funnels(one)[0].status
    flow = [[(s.name, s.entered, s.verified, s.misclassified, s.falsified) for s in funnels(x)[0].steps] for x in (one, many)]
    assert flow[0] == flow[1]
    assert many.runs[0].summary.count == COUNT
    for name, rate in sample.last(whole, "summary")["verified_by"].items():
        assert many.runs[0].summary.verified_by[name].value == pytest.approx(rate["value"], abs=1e-12)
    assert not tables.notices(many)
    page = write_report(parts, tmp_path / "r.html").read_text()
    for part in (1, 2, 3):
        assert f"--shard {part}/3" in page
        assert f"{part}{part}" * 32 in page


def test_what_is_missing_or_unfinished_is_said(tmp_path):
    first, third = _shard(tmp_path, 1), _shard(tmp_path, 3)
    lines = (third / "record.jsonl").read_text().splitlines(keepends=True)
    (third / "record.jsonl").write_text("".join(lines[:11]))  # the header and ten inputs
    story = read_runs([first, third])
    (found,) = tables.headlines(story)
    right = [line for line in (*sample.read(first), *sample.read(third)) if line["type"] == "instance"]
    assert found.run.summary.count == len(right) == 110
    assert found.verified.value == sum(line["status"] == "verified" for line in right) / 110
    said = " ".join(notice.text for notice in tables.notices(story))
    assert "shard 2 of 3 is not here" in said
    assert "shard-3 was not finished" in said


def _set(*path: str, value: object) -> Callable[[dict], None]:
    def change(header: dict) -> None:
        for name in path[:-1]:
            header = header[name]
        header[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_set("identity", "weights", value="77" * 32), "weights a1a1a1a1a1a1 and 777777777777"),
        (_set("identity", "property", value="77" * 32), "property"),
        (_set("identity", "precision", value="float64"), "precision float32 and float64"),
        (_set("code", "sources", value="77" * 32), "code"),
        (_set("config", "data_digest", value="cd"), "data ab and cd"),
    ],
)
def test_shards_of_something_else_are_refused_by_name(tmp_path, change, says):
    with pytest.raises(BadConfig, match="do not belong together") as caught:
        read_runs([_shard(tmp_path, 1), _shard(tmp_path, 2, change)])
    assert says in caught.value.what
    assert "shard-1 and" in caught.value.where


def test_shards_that_overlap_are_refused(tmp_path):
    one = _shard(tmp_path / "a", 1)
    with pytest.raises(BadConfig, match="shard 1 was given twice"):
        read_runs([one, _shard(tmp_path / "b", 1)])
    with pytest.raises(BadConfig, match="two shards hold example 0"):
        read_runs([one, _shard(tmp_path / "c", 2, take=1)])


def test_shards_of_two_questions_stay_apart(tmp_path):
    other = _set("config", "eps", value=0.2)
    story = read_runs([_shard(tmp_path / "a", 1), _shard(tmp_path / "b", 1, other), _shard(tmp_path / "a", 2)])
    assert [len(run.records) for run in story.runs] == [2, 1]
