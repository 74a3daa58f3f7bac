"""The whole page: its numbers are the record's, nothing in it loads or runs, and every part of a record may be missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sample_records as sample
import zoo
from epsball.analysis.tightness import layer_lines
from epsball.ops.network import Network
from epsball.problem.sets import LpBall
from epsball.reporting import write_report
from epsball.reporting.section import ordered
from html_page import Page

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "report_skeleton.txt"
DRAWN = {"g", "path", "clippath", "use", "rect", "defs"}  # ids inside drawings are matplotlib's own


def _render(folder: Path, *runs: Path) -> Page:
    return Page(write_report(runs, folder / "report.html").read_text("utf-8"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[list[Path], Path]:
    folder = tmp_path_factory.mktemp("demo")
    runs = sample.demo(folder, 400)
    return runs, write_report(runs, folder / "report.html")


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evil")
    return write_report(sample.poisoned(folder), folder / "report.html")


def test_the_numbers_on_the_page_are_the_records(demo):
    runs, out = demo
    page = Page(out.read_text("utf-8"))
    summary = sample.last(runs[2], "summary")
    accuracy = summary["accuracy"]

    def limits(rate):
        return [rate["value"], rate["low"], rate["high"]]

    gap = accuracy["attacked"]["value"] - accuracy["verified"]["value"]
    assert page.data["headline-run-3"] == [*limits(accuracy["verified"]), gap, *limits(accuracy["attacked"])]
    listed = [accuracy["clean"], accuracy["attacked"], *summary["verified_by"].values(), accuracy["verified"]]
    assert page.data["accuracy-table-run-3"] == [number for rate in listed for number in limits(rate)]
    assert page.data["outcome-run-3"] == list(summary["status"].values())
    flow = page.data["funnel-table-run-3"]
    for place, name in enumerate(("verified", "misclassified", "falsified")):
        assert flow[place::4] == [step[name] for step in summary["steps"]]
    assert sum(flow[1::4]) == flow[1] > 0, "only the first step finds what is misclassified"
    assert flow[3::4][-1] == summary["status"]["unknown"]
    layers = [line for line in sample.read(runs[3]) if line["type"] == "layer"]
    assert page.data["layers-table-run-4"] == [number for line in layers for number in (line["width"], line["unstable"])]


def test_the_reproduction_box_has_all_that_is_needed(demo):
    runs, out = demo
    page = Page(out.read_text("utf-8"))
    header = sample.last(runs[2], "header")
    box = page.texts["reproduce-run-3"]
    command = "epsball verify runs/demo/train --data mnist --eps 0.1 --index :400"
    wanted = (command, header["config_hash"], header["arithmetic"], 'method = "auto"', "torch 2.13.0", "cores 2", "Seed")
    assert [text for text in wanted if text not in box] == []
    assert [b for b in page.of("button") if b.get("data-copy") == command]


def test_the_embedded_inputs_are_the_records(demo):
    runs, out = demo
    data = json.loads(Page(out.read_text("utf-8")).texts["instances-data"])["run-3"]
    lines = [line for line in sample.read(runs[2]) if line["type"] == "instance"]
    for line, row in zip(lines, data["rows"], strict=True):
        assert row[:3] == [line["index"], line["label"], line["predicted"]]
        assert (data["statuses"][row[3]], data["steps"][row[4]]) == (line["status"], line["by"])
        assert row[5] == (None if line["margin"] is None else pytest.approx(line["margin"], rel=1e-5))
        bounds = {name: value for name, value in zip(data["methods"], row[8:], strict=True) if value is not None}
        assert bounds == pytest.approx(line["bounds"], rel=1e-5)


def test_nothing_is_loaded_from_anywhere(demo):
    text = demo[1].read_text("utf-8")
    page = Page(text)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, name)
        assert not [name for name in attributes if name.startswith("on")], tag
        assert "http" not in attributes.get("style", "")
    assert "url(http" not in text
    assert "@import" not in text
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_the_page_is_accessible(demo):
    page = Page(demo[1].read_text("utf-8"))
    known = set(page.ids)
    assert len(page.ids) == len(known)
    assert len(page.of("h1")) == 1
    assert all(image["alt"] for image in page.of("img"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.of("svg"))
    assert page.of("html")[0]["lang"] == "en"
    for _, attributes in page.elements:
        for name in ("aria-labelledby", "aria-controls"):
            assert name not in attributes or attributes[name] in known
    for link in page.of("a"):
        assert not link["href"].startswith("#") or link["href"][1:] in known


def test_the_skeleton_is_the_golden_one(demo):
    page = Page(demo[1].read_text("utf-8"))
    kept = [(tag, a["id"]) for tag, a in page.elements if "id" in a and tag not in DRAWN and not a["id"].startswith("witness-")]
    got = "".join(f"{tag}#{ident}\n" for tag, ident in kept)
    if os.environ.get("EPSBALL_UPDATE_GOLDEN"):
        GOLDEN.write_text(got, encoding="utf-8")
    assert got == GOLDEN.read_text("utf-8")


def test_every_figure_has_its_data(demo):
    text = demo[1].read_text("utf-8")
    figures = re.findall(r'<figure(?: id="figure-[\w-]+"| class="axis-figure")>.*?</figure>', text, re.DOTALL)
    assert len(figures) == 14
    assert all('href="data:text/csv' in figure for figure in figures)


def test_text_of_a_record_stays_text(poisoned, demo):
    clean, page = Page(demo[1].read_text("utf-8")), Page(poisoned.read_text("utf-8"))
    for tag in ("script", "title", "style", "meta", "link", "section"):
        assert len(page.of(tag)) == len(clean.of(tag)), tag
    assert not [image for image in page.of("img") if not image["src"].startswith("data:image/png")]
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert not page.of("b")
    assert sample.EVIL in page.texts["reproduce-run-1"]
    assert "49" not in page.texts["title"]


@pytest.mark.parametrize("verb", ["train", "attack", "verify", "bounds", "demo"])
def test_a_header_alone_makes_a_page_that_says_what_is_missing(tmp_path, verb):
    page = _render(tmp_path, sample.write(tmp_path / "run", sample.header(verb)))
    assert _shown(page) == ["reproduce"]
    said = page.texts["missing"]
    offered = [button["data-copy"] for button in page.of("button")]
    for name, section in ordered():
        if name != "reproduce":
            assert section.title in said
            assert section.missing in said
            made = section.command.format(model="MODEL", data="mnist", eps="0.1")
            assert re.match(r"epsball (train|attack|verify|bounds|certify|analyse \w+) ", made)
            assert made in said
            assert offered.count(made) == 1
    assert "not finished" in page.texts["main"]


def _shown(page: Page) -> list[str]:
    """The sections of a page; its contents name the same ones."""
    found = [a["id"] for a in page.of("section")]
    assert [a["href"] for a in page.of("a") if "class" not in a and a["href"].removeprefix("#") in found] == [
        f"#{i}" for i in found
    ]
    return found


FILLED = (
    ["training", "tradeoff"],
    ["inequality", "accuracy"],
    ["inequality", "accuracy", "funnel", "margins", "instances", "gallery"],
    ["layers"],
    ["planes"],
)


@pytest.mark.parametrize(("keep", "filled"), enumerate(FILLED))
def test_each_run_alone_makes_a_page(tmp_path, keep, filled):
    page = _render(tmp_path, sample.demo(tmp_path, 200)[keep])
    assert _shown(page) == [*filled, "reproduce"]
    for name, section in ordered():
        assert (section.missing in page.texts["missing"]) == (name not in [*filled, "reproduce"])


def test_a_run_killed_at_any_line_makes_a_page(tmp_path):
    lines = sample.verify_lines(12, witnesses=1)
    for count in range(1, len(lines), 4):
        page = _render(tmp_path, sample.write(tmp_path / str(count), *lines[:count]))
        assert "not finished" in page.texts["main"]


def test_layers_of_a_real_network_make_a_page(tmp_path):
    network = Network.capture(*zoo.build("conv"))
    lines = layer_lines(network, LpBall(torch.rand(2, *network.input_shape), 0.05))
    written = (line.written() for line in lines)
    page = _render(tmp_path, sample.write(tmp_path / "b", sample.header("bounds"), *written, {"type": "done"}))
    assert page.data["layers-table-run-1"] == [number for line in lines for number in (line.width, line.unstable)]


def test_ten_thousand_inputs_stay_under_three_megabytes(tmp_path):
    run = sample.write(tmp_path / "v", *sample.verify_lines(10_000, witnesses=12))
    assert write_report([run], tmp_path / "report.html").stat().st_size < 3e6


def test_the_same_records_make_the_same_bytes(demo, tmp_path):
    runs, out = demo
    assert write_report(runs, tmp_path / "again.html").read_bytes() == out.read_bytes()


def test_a_report_never_imports_torch(demo, tmp_path):
    code = (
        "import sys; from pathlib import Path; from epsball.reporting import write_report\n"
        "write_report([Path(p) for p in sys.argv[2:]], Path(sys.argv[1]))\n"
        "sys.exit('torch' in sys.modules)"
    )
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "r.html"), *map(str, demo[0])], check=True, env=environment)
