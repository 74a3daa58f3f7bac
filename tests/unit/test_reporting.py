"""What a report computes from records: rows, funnels, notices, sheets and pictures; and what it refuses."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

import sample_records as sample
from epsball.errors import BadConfig, BadFile, MissingExtra
from epsball.record.lines import EpochLine, MetricsLine, Rate, WitnessLine
from epsball.reporting import tables, write_report
from epsball.reporting.csv import Sheet, duration, number, percent
from epsball.reporting.drawing import ACCENT, draw
from epsball.reporting.numbers import Numbers
from epsball.reporting.pictures import png
from epsball.reporting.runs import read_runs
from epsball.reporting.sections.accuracies import results
from epsball.reporting.sections.funnel import funnels
from epsball.reporting.sections.gallery import difference, picture
from epsball.reporting.sections.inequality import eps_figure
from epsball.reporting.sections.layers_over_time import relu_figure, tightness_figures
from epsball.reporting.sections.margins import margin_figure
from epsball.reporting.sections.training import best_epoch
from epsball.reporting.sections.training_curves import training_figures
from html_page import Page


def _rows(sheet: Sheet) -> list[list[str]]:
    return list(csv.reader(io.StringIO(unquote(sheet.uri.partition(",")[2]))))


def test_a_sheet_comes_back_from_its_link():
    sheet = Sheet("a.csv", ("name", "value"), (('with "quotes", commas\nand lines', 0.1), ("=HYPERLINK(1)", None), ("−5", -5)))
    assert _rows(sheet) == [["name", "value"], ['with "quotes", commas\nand lines', "0.1"], ["'=HYPERLINK(1)", ""], ["−5", "-5"]]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.0005, "0.5 ms"), (0.7, "700 ms"), (14.25, "14.2 s"), (61.5, "1 min 02 s"), (7260, "2 h 01 min")],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_numbers_read_well():
    assert (percent(0.94314), percent(None), number(-0.012345), number(1e-7)) == ("94.31", "–", "−0.01235", "1e−07")


def test_a_png_holds_the_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)) / 255
    for wanted in (pixels, pixels[:, :, :1]):
        data = base64.b64decode(png(wanted).partition(",")[2])
        got = imread(io.BytesIO(data), format="png")
        assert np.allclose(got, wanted if wanted.shape[2] == 3 else wanted[:, :, 0], atol=1e-6)


def test_a_difference_has_full_colour_at_its_largest_change_and_none_where_nothing_changed():
    change = np.zeros((2, 2, 1))
    change[0, 0], change[1, 1] = 0.2, -0.1
    shown = difference(change)
    assert (shown[0, 1] == 1).all()
    assert shown[0, 0, 0] < shown[0, 0, 1]  # grew: towards teal
    assert shown[1, 1, 0] > shown[1, 1, 1]  # shrank: towards rust
    assert shown[1, 1].min() > shown[0, 0].min()  # half the change, paler
    assert (difference(np.zeros((2, 2, 3))) == 0.5).all()


def test_a_witness_that_is_no_picture_lists_its_largest_changes(tmp_path):
    line = WitnessLine(index=0, label=0, shape=[8], x=[0.0] * 8, adversarial=[0, 0.1, 0, -0.3, 0, 0.2, 0, 0], margin=-1.0)
    run = read_runs([sample.write(tmp_path / "a", sample.header("attack"))]).runs[0]
    shown = picture(run, line)
    assert not shown.images
    assert [feature for feature, _, _ in shown.changes][:3] == [3, 5, 1]
    assert (shown.largest, shown.length) == (0.3, pytest.approx(0.14**0.5))


def test_the_headline_takes_the_strongest_attack_on_the_same_inputs(tmp_path):
    weak, strong, other = sample.verify_lines(200), sample.attack_lines(200), sample.attack_lines(200)
    strong[1]["accuracy"]["attacked"] = sample.rate(191, 200)
    other[1]["accuracy"]["attacked"] = sample.rate(10, 200)
    other[1]["eps"] = 0.3
    story = read_runs([sample.write(tmp_path / n, *lines) for n, lines in (("v", weak), ("a", strong), ("b", other))])
    first, second = tables.headlines(story)
    assert first.attacked.value == min(0.955, weak[-2]["accuracy"]["attacked"]["value"])
    assert (second.verified, second.attacked.value, second.run.name) == (None, 0.05, "b")


def test_a_proof_that_an_attack_beat_is_a_grave_notice(tmp_path):
    lines = sample.verify_lines(100)
    lines[-2]["accuracy"]["attacked"] = sample.rate(50, 100)
    story = read_runs([sample.write(tmp_path / "v", *lines)])
    assert tables.headlines(story)[0].broken
    assert any(notice.grave and "defect" in notice.text for notice in tables.notices(story))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=3))
def test_the_window_holds_every_limit(limits):
    rates = [Rate(low=low, value=value, high=high) for low, value, high in map(sorted, limits)]
    shown = tables.Headline(None, *rates, *[None] * (3 - len(rates)), None)
    low, high = shown.window
    assert 0 <= low <= min(r.low for r in rates)
    assert max(r.high for r in rates) <= high <= 1
    assert high - low >= 0.05 - 1e-9


def test_the_funnel_loses_nobody(tmp_path):
    story = read_runs(sample.demo(tmp_path, 500))
    (funnel,) = funnels(story)
    assert funnel.count == 500
    for one, following in zip(funnel.steps, funnel.steps[1:], strict=False):
        assert one.left == following.entered
    assert funnel.steps[-1].left == sum(funnel.status[s] for s in ("unknown", "timeout", "error"))
    assert [row[0] for row in _rows(funnel.sheet)[1:]] == [*sample.LADDER, "unknown", "timeout", "error"]


def test_a_run_cut_short_is_counted_from_its_inputs(tmp_path):
    lines = sample.verify_lines(300, witnesses=0)
    whole = read_runs([sample.write(tmp_path / "whole", *lines)])
    cut = read_runs([sample.write(tmp_path / "cut", *lines[:-2])])
    (one,), (two,) = funnels(whole), funnels(cut)
    assert two.counted
    assert {s.name: (s.verified, s.falsified) for s in one.steps} == {s.name: (s.verified, s.falsified) for s in two.steps}
    assert {k: v for k, v in one.status.items() if v} == dict(two.status)
    assert [notice.text for notice in tables.notices(whole)] == []
    assert "not finished" in tables.notices(cut)[0].text


def test_a_summary_that_its_own_inputs_contradict_is_a_grave_notice(tmp_path):
    lines = sample.verify_lines(100)
    lines[-2]["status"]["unknown"] += 1
    (notice,) = tables.notices(read_runs([sample.write(tmp_path / "v", *lines)]))
    assert notice.grave


def test_an_input_judged_again_after_a_resume_counts_once(tmp_path):
    lines = sample.verify_lines(50)
    again = dict(lines[1], status="error", by="crown")
    run = read_runs([sample.write(tmp_path / "v", *lines[:3], again)]).runs[0]
    assert [line.status for line in run.instances if line.index == again["index"]] == ["error"]


def test_what_a_resumed_run_took_again_counts_once(tmp_path):
    lines = sample.train_lines(6)
    late = {"type": "epoch", "epoch": 5, "step": 1000, "clean": 0.1, "verified": 0.1, "verifier": "ibp", "split": "validation"}
    cut = next(i for i, line in enumerate(lines) if line["type"] == "epoch" and line["epoch"] == 5)
    resumed = [
        *lines[:cut],
        late,
        {"type": "resume", "step": 800},
        *[line for line in lines[cut - 2 :] if line.get("step", 801) > 800],
    ]
    run = read_runs([sample.write(tmp_path / "t", *resumed)]).runs[0]
    assert [line.step for line in run.of(EpochLine)] == [200, 400, 600, 800, 1000, 1200]
    assert min(line.clean for line in run.of(EpochLine)) > 0.5
    steps = [line.step for line in run.of(MetricsLine)]
    assert steps == sorted(set(steps))


def test_the_best_epoch_is_the_one_the_run_selected(tmp_path):
    lines = sample.train_lines(6)
    story = [sample.write(tmp_path / "none", *lines)]
    epochs = [line for line in lines if line["type"] == "epoch"]
    epochs[2]["best"] = epochs[3]["best"] = True
    story.append(sample.write(tmp_path / "some", *lines))
    assert [best_epoch(run).epoch for run in read_runs(story).runs] == [6, 4]


@pytest.mark.slow
def test_margins_of_every_method_are_all_in_the_sheet(tmp_path):
    run = read_runs([sample.write(tmp_path / "v", *sample.verify_lines(400))]).runs[0]
    figure = margin_figure(run)
    counted: dict[str, int] = {}
    for method, low, high, inputs in _rows(figure.sheet)[1:]:
        assert float(low) * float(high) >= 0  # no bin holds both signs
        counted[method] = counted.get(method, 0) + int(inputs)
    wanted = {m: sum(m in line.bounds for line in run.instances) for m in ("ibp", "crown-ibp", "crown")}
    wanted["attacked"] = sum(line.attacked_margin is not None for line in run.instances)
    assert counted == wanted


@pytest.mark.slow
def test_training_figures_carry_the_record(tmp_path):
    lines = sample.train_lines(4)
    figures = {f.id: f for f in training_figures(read_runs([sample.write(tmp_path / "t", *lines)]).runs[0])}
    assert list(figures) == [f"figure-{name}-run-1" for name in ("loss", "epochs", "eps", "lr", "relu")]
    metrics = [line for line in lines if line["type"] == "metrics"]
    assert [float(row[1]) for row in _rows(figures["figure-loss-run-1"].sheet)[1:]] == [line["loss"] for line in metrics]
    assert len(figures["figure-relu-run-1"].svgs) == 3


def test_two_radii_make_a_curve(tmp_path):
    runs = [sample.write(tmp_path / str(eps), *sample.verify_lines(50, eps)) for eps in (0.2, 0.1)]
    assert eps_figure(read_runs(runs[:1])) is None
    assert [row[2] for row in _rows(eps_figure(read_runs(runs)).sheet)[1:3]] == ["0.1", "0.2"]


def test_a_drawing_uses_the_page_and_escapes_names():
    name = "<script>alert(1)</script> $\\frac{1}$"
    svg = draw(lambda axes: axes.set_title(name, color=ACCENT), alt=f'"{name}', ident="one", size=(2, 1)).inline
    assert "<script" not in svg
    assert "&lt;script&gt;alert(1)" in svg
    assert "$\\frac{1}$" in svg
    assert "var(--accent)" in svg
    assert 'id="one-' in svg
    assert "#040404" not in svg
    assert "<metadata" not in svg


def _spoil(change) -> list[dict]:
    lines = sample.verify_lines(20, witnesses=1)
    change(lines)
    return lines


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda lines: lines[3].update(status="proven"), "status"),
        (lambda lines: lines[3].update(margin="big"), "margin"),
        (lambda lines: lines[3].pop("index"), "index"),
        (lambda lines: lines[-2]["accuracy"]["clean"].update(value=1.5), "accuracy.clean.value"),
        (lambda lines: next(x for x in lines if x["type"] == "witness")["x"].pop(), "do not fill"),
        (lambda lines: lines[0].update(command="rm"), "command"),
        (lambda lines: lines[-2].update(steps=[3]), "steps.0"),
        (lambda lines: lines.insert(1, {"type": "resume"}), "step"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, change, what):
    folder = sample.write(tmp_path / "v", *_spoil(change))
    with pytest.raises(BadFile, match=what) as caught:
        write_report([folder], tmp_path / "report.html")
    assert "record.jsonl:" in caught.value.where
    assert not (tmp_path / "report.html").exists()


def test_what_is_no_record_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(BadFile, match="no run record"):
            write_report([path], tmp_path / "report.html")
    (tmp_path / "foreign.jsonl").write_text(json.dumps({"format": "other"}) + "\n")
    with pytest.raises(BadFile, match="not a run record"):
        write_report([tmp_path / "foreign.jsonl"], tmp_path / "report.html")
    (tmp_path / "cut.jsonl").write_text(json.dumps(sample.header("verify")) + "\n{not json}\n")
    with pytest.raises(BadFile, match="malformed") as caught:
        write_report([tmp_path / "cut.jsonl"], tmp_path / "report.html")
    assert caught.value.where.endswith("cut.jsonl:2")


@pytest.mark.slow
def test_the_place_of_a_report_is_a_file(tmp_path):
    folder = sample.write(tmp_path / "t", *sample.train_lines(1))
    with pytest.raises(BadConfig, match="folder"):
        write_report([folder], tmp_path)
    with pytest.raises(BadConfig, match="at least one run"):
        write_report([], tmp_path / "report.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadFile, match="could not be written"):
        write_report([folder], tmp_path / "file" / "report.html")


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtra, match=r"epsball\[report\]"):
        write_report([sample.write(tmp_path / "t", *sample.train_lines(1))], tmp_path / "report.html")


@pytest.mark.slow
@pytest.mark.parametrize("text", ["\ud800\x00\x1b[2J日本語$\\frac{1}$ %s {}" + "a" * 3000, ""])
@pytest.mark.filterwarnings("error::UserWarning")
def test_any_text_can_be_a_name(tmp_path, monkeypatch, text):
    monkeypatch.setattr(sample, "EVIL", text)
    page = write_report(sample.poisoned(tmp_path), tmp_path / "report.html").read_text("utf-8")
    assert "\x00" not in page
    assert "\x1b" not in page


@pytest.mark.parametrize("value", [0.0, 1e30, -1e30, 1e-30])
def test_margins_of_any_size_are_drawn(tmp_path, value):
    lines = [line | {"bounds": {"ibp": value}, "attacked_margin": None} for line in sample.instances(20)]
    figure = margin_figure(read_runs([sample.write(tmp_path / "v", sample.header("verify"), *lines)]).runs[0])
    assert sum(int(row[3]) for row in _rows(figure.sheet)[1:]) == 20


def test_training_results_name_verifier_protocol_and_selection(tmp_path):
    lines = sample.train_lines(3)
    seeds = [
        sample.header("seeds"),
        json.loads(json.dumps(lines[-2])) | {"verb": "seeds", "protocol": "literature", "split": "test"},
    ]
    for part in seeds[1]["splits"].values():
        part["verified"]["std"] = part["clean"]["std"] = 0.005
    story = read_runs([sample.write(tmp_path / "one", *lines), sample.write(tmp_path / "five", *seeds)])
    found = results(story)
    assert [(r.run.name, r.name, r.selected, r.averaged) for r in found.rows] == [
        *[("one", name, name == "validation", False) for name in ("train", "validation", "test")],
        *[("five", name, name == "test", True) for name in ("train", "validation", "test")],
    ]
    rows = _rows(found.sheet)
    assert rows[1][:8] == ["one", "train", "1000", "54000", "ibp", "", "validation", "no"]
    assert rows[6][6:10] == ["literature", "yes", "0.975", "0.005"]
    assert results(read_runs([sample.write(tmp_path / "cut", *lines[:-2])])) is None


@pytest.mark.slow
def test_whole_networks_are_compared_by_neurons(tmp_path):
    layers = [{"name": n, "active": a, "inactive": round(1 - a - u, 9), "unstable": u, "neurons": k} for n, a, u, k in (
        ("one", 0.1, 0.5, 300), ("two", 0.9, 0.1, 100))]  # fmt: skip
    runs = [
        sample.write(
            tmp_path / place / "train", sample.header("train"), *({"type": "relu", "epoch": e, "layers": layers} for e in (1, 2))
        )
        for place in "ab"
    ]
    figure = relu_figure(read_runs(runs))
    assert len(figure.svgs) == 3
    rows = _rows(figure.sheet)
    assert len(rows) == 1 + 2 * 2
    assert [float(cell) for cell in rows[1][2:]] == pytest.approx([0.3, 0.4, 0.3])
    bare = [{k: v for k, v in layer.items() if k != "neurons"} for layer in layers]
    old = sample.write(tmp_path / "old", sample.header("train"), {"type": "relu", "epoch": 1, "layers": bare})
    assert [float(cell) for cell in _rows(relu_figure(read_runs([old])).sheet)[1][2:]] == pytest.approx([0.5, 0.3, 0.2])
    assert relu_figure(read_runs([sample.write(tmp_path / "none", sample.header("train"))])) is None


def test_tightness_is_drawn_relative_to_the_input_and_to_the_spread(tmp_path):
    lines = sample.train_lines(2)
    run = read_runs([sample.write(tmp_path / "t", *lines)]).runs[0]
    growth, blur = tightness_figures(run)
    told = [line for line in lines if line["type"] == "tightness"]
    wanted = [(e["epoch"], n["width"] / 0.2, n["width"] / 0.5) for e in told for n in e["layers"]]
    assert [(float(r[0]), float(r[-1])) for r in _rows(growth.sheet)[1:]] == [pytest.approx((e, g)) for e, g, _ in wanted]
    assert [float(r[-1]) for r in _rows(blur.sheet)[1:]] == pytest.approx([b for _, _, b in wanted])
    flat = [dict(line, input=0.0, layers=[dict(n, spread=0.0) for n in line["layers"]]) for line in told]
    assert tightness_figures(read_runs([sample.write(tmp_path / "f", sample.header("train"), *flat)]).runs[0]) == []


def test_axes_have_names_and_counts_have_whole_ticks(tmp_path):
    lines = sample.verify_lines(40, witnesses=0)
    story = read_runs([*sample.demo(tmp_path / "demo", 40), sample.write(tmp_path / "v", *lines)])
    losses, accuracy = (
        next(f for f in training_figures(story.runs[0]) if f.id.startswith(f"figure-{k}-")) for k in ("loss", "epochs")
    )
    assert ">loss</text>" in losses.svgs[0]
    assert ">accuracy</text>" in accuracy.svgs[0]
    judged = story.runs[-1]
    few = margin_figure(judged)
    assert few is not None
    for svg in few.svgs:
        ticks = re.findall(r'id="[^"]*text_\d+".*?>([^<>]+)</text>', svg.partition("matplotlib.axis_2")[2], re.DOTALL)
        assert [tick for tick in ticks if "." in tick and tick.replace(".", "").isdigit()] == []


@pytest.mark.parametrize("kind", ["Figure", "Table"])
def test_figures_and_tables_are_numbered_as_they_stand_on_the_page(tmp_path, kind):
    page = write_report(sample.demo(tmp_path, 40), tmp_path / "r.html").read_text("utf-8")
    found = re.findall(rf'<span class="numbered">{kind} (\d+)([a-z]*)\.</span>', page)
    assert len(found) > 2
    assert len(set(found)) == len(found)
    seen = [int(number) for number, letter in found if letter in ("", "a")]
    assert seen == list(range(1, len(seen) + 1))


def test_what_hides_behind_a_tab_takes_no_number_from_what_is_seen(tmp_path):
    runs = sample.demo(tmp_path, 40)
    page = Page(write_report(runs, tmp_path / "r.html").read_text("utf-8"))
    numbers = {i: re.match(r"Table (\w+)\.", t.strip())[1] for i, t in page.texts.items() if re.match(r"\s*Table \w+\.", t)}
    assert (numbers["accuracy-table-run-3"], numbers["accuracy-table-run-2"], numbers["funnel-table-run-3"]) == ("1a", "1b", "2")
    one = Page(write_report(runs[2:3], tmp_path / "one.html").read_text("utf-8"))
    assert one.texts["accuracy-table-run-1"].strip().startswith("Table 1. ")


def test_numbers_of_panels_share_and_go_on_above_the_longest():
    numbers, sheet = Numbers(), Sheet("a", ("b",), ())

    def told(count):
        return [numbers.table("t", sheet) for _ in range(count)]

    assert told(1) == ["1"]
    shown = []
    for place, count in enumerate((1, 3, 2)):
        assert numbers.panel(place, 3) == ""
        shown.append(told(count))
    assert shown == [["2a"], ["2b", "3b", "4b"], ["2c", "3c"]]
    assert numbers.after() == ""
    assert told(1) == ["5"]
    numbers.panel(0, 28)
    numbers.panel(27, 28)
    assert told(1) == ["6ab"]
    assert len({exhibit.number for exhibit in numbers.exhibits}) == len(numbers.exhibits)


def test_the_legend_of_the_axis_tells_the_broken_from_the_misclassified(tmp_path):
    page = write_report([sample.write(tmp_path / "v", *sample.verify_lines(40))], tmp_path / "r.html").read_text("utf-8")
    assert 'broken by the attack <span class="key rest"></span> misclassified without any change.' in page
