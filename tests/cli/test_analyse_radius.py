"""`epsball analyse radius`: radii side by side, boxes, the record, the report, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import sample_records as sample
from epsball.bounding.radius.region import holds
from epsball.cli.app import run
from epsball.cli.target import Balls, Setup
from epsball.errors import BadFile
from epsball.models.base import Architecture
from epsball.models.store import save_model
from epsball.problem.property import robust
from epsball.problem.sets import Box
from epsball.record.journal import read
from epsball.record.lines import RadiusLine
from epsball.reporting import write_report
from epsball.reporting.runs import read_runs
from epsball.reporting.sections.radii import radii_panel


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net"
    few = (
        "--epochs",
        "3",
        "--batch",
        "64",
        "--set",
        "model.hidden=[24]",
        "--set",
        "warmup=0",
        "--set",
        "ramp=1",
        "--set",
        "lr=5e-3",
    )
    code = run(["train", "fast-ibp", "--data", "digits", "--model", "mlp", "--eps", "1/16", *few, "--out", str(path), "--quiet"])
    assert code == 0
    return path


def answer(capsys, *arguments: object, code: int = 0) -> dict:
    capsys.readouterr()
    assert run([*map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def _of(model: Path, *more: object) -> tuple:
    return ("analyse", "radius", model, "--data", "digits", *more)


@pytest.fixture(scope="module")
def measured(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("radii") / "r"
    options = ("--index", ":8", "--method", "crown,ibp,envelope", "--box", "--steps", "12", "--out", folder, "--quiet")
    assert run([*map(str, _of(model, *options))]) == 0
    return folder


def test_every_radius_and_box_of_the_record_is_proven(model, measured):
    header, *lines, summary, done = read(measured / "record.jsonl")
    assert (header["verb"], summary["verb"], done["type"]) == ("radius", "radius", "done")
    assert header["config"]["methods"] == ["crown", "ibp", "envelope"]
    case = Balls(model, "digits", ":8").case(Setup())
    network = case.network.prepare()
    from epsball.bounding.linear.crown import Crown

    right = [line for line in lines if line["status"] == "done"]
    assert len(right) > 3
    for line in right:
        index = torch.tensor([line["index"]])
        x, prop = case.data.test.inputs(index), robust(case.data.test.y[index], 10)
        assert 0 < line["radii"]["ibp"] <= line["radii"]["crown"]
        largest = max(line["radii"].values())
        assert bool(holds(Crown(), network, Box(x, largest, (0.0, 1.0)), prop))
        box = line["box"]
        radius = torch.tensor(box["radius"], dtype=torch.float64).view(1, *box["shape"])
        same = Crown(slope="same", intermediate="crown")
        assert bool(holds(same, network, Box(x, radius, (0.0, 1.0)), prop))
        assert box["gain"] >= 0
        assert box["gain"] == pytest.approx(float(radius.log().mean().exp()) / box["uniform"] - 1, abs=1e-3)
        assert box["narrowest"] < box["uniform"] < box["widest"]
    assert summary["methods"]["crown"]["mean"] == pytest.approx(sum(line["radii"]["crown"] for line in lines) / 8)
    assert summary["box"]["count"] == len(right)


def test_what_is_misclassified_is_said_to_be(capsys, model):
    found = answer(capsys, *_of(model, "--method", "ibp", "--index", ":40", "--steps", "4"))
    wrong = [line for line in found["radii"] if line["status"] == "misclassified"]
    assert wrong
    assert len(wrong) == found["summary"]["misclassified"]
    assert all(line["predicted"] != line["label"] and line["radii"] == {"ibp": 0.0} for line in wrong)
    assert all(line["predicted"] == line["label"] for line in found["radii"] if line["status"] == "done")
    assert run([*map(str, _of(model, "--method", "ibp", "--steps", "4", "--index", wrong[0]["index"], "--format", "table"))]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"taken for {wrong[0]['predicted']}" in out
    assert "1 of 1 are misclassified" in out


def test_l2_and_the_largest_radius(capsys, model):
    found = answer(
        capsys, *_of(model, "--norm", "l2", "--index", ":3", "--steps", "8", "--method", "crown,lipschitz,lipschitz-local")
    )
    assert found["summary"]["high"] == pytest.approx(math.sqrt(64))
    cut = answer(capsys, *_of(model, "--index", ":3", "--high", "1/256", "--method", "crown,lipschitz,envelope"))
    assert cut["summary"]["high"] == 1 / 256
    right = [line for line in cut["radii"] if line["status"] == "done"]
    assert all(0 < radius <= 1 / 256 for line in right for radius in line["radii"].values())
    assert cut["summary"]["methods"]["crown"]["reach"] == len(right)


@pytest.mark.parametrize(
    ("options", "where", "says"),
    [
        (("--norm", "l1"), "--norm", "linf or l2"),
        (("--method", "envelop"), "--method", "did you mean 'envelope'"),
        (("--method", "crown,crown"), "--method", "with commas"),
        (("--high", "0"), "--high", "above 0"),
        (("--high", "-1"), "--high", "at least 0"),
        (("--high", "8"), "--high", "units of the inputs"),
        (("--high", "wide"), "--high", "fraction"),
        (("--steps", "0"), "--steps", "at least 1"),
        (("--box", "--norm", "l2"), "--box", "leave"),
        (("--memory", "2kB"), None, "or more"),
        (("--index", "999"), "--index", "give 7"),
    ],
)
def test_bad_input_is_one_error_and_no_folder(capsys, model, tmp_path, options, where, says):
    error = answer(capsys, *_of(model, *options, "--out", tmp_path / "r"), code=2)["error"]
    assert error["kind"] in ("BadConfig", "TooLarge")
    assert where is None or error["where"] == where
    assert says in error["fix"]
    assert not (tmp_path / "r").exists()


def test_an_operator_without_a_constant_names_itself_before_a_folder_is_made(capsys, tmp_path):
    architecture = Architecture("lenet", (1, 8, 8), 10)
    path = save_model(tmp_path / "net.safetensors", architecture.build(), architecture, {})
    error = answer(capsys, *_of(path, "--method", "ibp,lipschitz", "--index", "0", "--out", tmp_path / "r"), code=2)["error"]
    assert error["kind"] == "UnsupportedOp"
    assert not (tmp_path / "r").exists()


def test_the_report_draws_curves_and_boxes(measured, tmp_path):
    panel = radii_panel(read_runs([measured]).runs[0])
    lines = [line for line in read(measured / "record.jsonl") if line["type"] == "radius"]
    right = [line for line in lines if line["status"] == "done"]
    assert [row.name for row in panel.rows] == ["crown", "ibp", "envelope"]
    assert panel.misclassified == len(lines) - len(right)
    for name, radius, accuracy, *_ in panel.figure.sheet.rows:
        assert accuracy == sum(line["radii"][name] >= radius for line in right) / len(lines)
    assert len(panel.boxes.columns) == len(right)
    page = write_report([measured], tmp_path / "r.html").read_text("utf-8")
    assert page.count('src="data:image/png') >= 2 * len(right)
    assert "radii-table-run-1" in page


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": "fine"}, "malformed 'radius' line"),
        ({"radii": {"crown": -0.1}}, "malformed 'radius' line"),
        ({"radii": {"crown": 1e31}}, "malformed 'radius' line"),
        ({"radii": {"crown": float("inf")}}, "malformed line in a run record: Infinity is no finite number"),
        (
            {"box": {"uniform": 0.1, "narrowest": 0.1, "widest": 0.2, "shape": [1, 2, 2], "radius": [0.1] * 3}},
            "malformed 'radius' line",
        ),
    ],
)
def test_a_malformed_line_is_refused(tmp_path, change, says):
    line = {"type": "radius", "index": 0, "label": 1, "predicted": 1, "status": "done", "radii": {"crown": 0.1}}
    whole = sample.write(tmp_path / "a", sample.header("radius"), line)
    assert read_runs([whole]).runs[0].of(RadiusLine)[0].radii == {"crown": 0.1}
    record = sample.write(tmp_path / "b", sample.header("radius"), line) / "record.jsonl"
    head = record.read_text().splitlines()[0]
    record.write_text(head + "\n" + json.dumps(line | change) + "\n")
    with pytest.raises(BadFile, match=says) as caught:
        read_runs([tmp_path / "b"])
    assert caught.value.where == f"{record}:2"
