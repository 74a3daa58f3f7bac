"""Lines of a record: each type comes back as it was written, what is not finite is null, and nothing unknown is read."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import sample_records as sample
from epsball.errors import BadFile
from epsball.record import lines as of
from epsball.record.journal import FORMAT, Journal, read
from epsball.record.lines.analyses import CertifiedBox
from epsball.record.lines.summary import BoxGain, CurvePoint, MethodRadii, Selection
from epsball.record.read import typed
from epsball.reporting.runs import read_runs

RATE = of.Rate(value=0.5, low=0.25, high=0.75, std=0.125)
PART = of.AccuracyPart(clean=RATE, verified=RATE, noisy=RATE, count=3, of=4, verifier="ibp")
GRID = {"window": [-1.0, 1.0, -2.0, 2.0], "resolution": 2, "classes": [0, 1, 1, 0]}
TRIANGLE = [[0.0, 0.0], [1.0, 0.0], [0.5, 2.0]]
PLACE = {"index": 7, "label": 1, "predicted": 2}
FULL = [  # every field of every type
    of.HeaderLine(
        format=FORMAT, verb="verify", command=["epsball"], config={"eps": 0.1, "train": {"lr": [1, None]}}, config_hash="0a",
        identity={"weights": None, "precision": "float32"}, code={"version": "1", "changed": True, "commit": None}, anyway=["code"],
        versions={"torch": "2"}, seed=3, hardware={"cores": 2, "gpu": None}, arithmetic="real", time="2026-01-31T12:00:00Z",
        subject={"parameters": 9, "clip": None},
    ),
    of.MetricsLine(step=5, epoch=0.5, lr=1e-3, eps=0.1, loss=2.5, parts={"robust": 2.0, "tightness": None}, seconds=1.5),
    of.EpochLine(
        epoch=1, step=8, clean=0.5, verified=0.25, noisy=0.3, verifier="ibp", split="validation", best=True, seconds=2.0
    ),
    of.ReluLine(epoch=1, layers=[of.ReluShares(name="a", active=0.5, inactive=0.25, unstable=0.25, neurons=4)], eps=0.1),
    of.TightnessLine(epoch=1, step=8, eps=0.1, input=0.2, layers=[of.LayerSpread(name="a", width=0.5, spread=None)]),
    of.ResumeLine(step=6),
    of.InstanceLine(
        **PLACE, status="falsified", by="attack", margin=-0.5, bounds={"ibp": -0.5, "crown": None}, exact={"lp": False},
        attacked_margin=-0.25, seconds=0.5, times={"ibp": 0.25}, note="RuntimeError: out of memory",
    ),
    of.WitnessLine(**PLACE, shape=[1, 2], x=[0.0, 1.0], adversarial=[0.1, 0.9], margin=-0.5),
    of.LayerLine(
        name="relu", op="relu", method="ibp", neurons=4, width=0.5, active=0.5, inactive=0.25, unstable=0.25, seconds=0.5,
        peak_bytes=9,
    ),
    of.PlaneLine(
        **GRID, network="a", model="runs/a", data="digits", index=[1, 2, 3], labels=[0, 1, 2], predicted=[0, 1, 1],
        verified=[True, False, False], verifier="ibp", eps=0.1, points=TRIANGLE, traces=[TRIANGLE] * 3, valid=TRIANGLE,
    ),
    of.CertificateLine(
        **PLACE, image=7, radius=0.5, radii={"l2": 0.5, "linf": 0.1}, norm="l2", lower=0.9, upper=0.1, counts=[9, 1, 0],
        samples=110, selection=100, ledger={"n=10": 0.001}, steps=2, claim="exact", seconds=0.5,
    ),
    of.SmoothAttackLine(**PLACE, attacked=True, adversarial=None, success=False, distance=0.5, seconds=0.25),
    of.RegionsLine(
        **GRID, **PLACE, network="a", model="runs/a", data="digits", smoothed=None, top=1, towards=[0, None], noise="Gaussian(1)",
        sigma=1.0, size=4, samples=10, selection=5, alpha=0.001, votes=[4, 6], low=[0.1, 0.2], high=[0.8, 0.9], p_a=0.2, radius=0.0,
        norm="l2",
    ),
    of.RadiusLine(
        **PLACE, status="done", radii={"crown": 0.1}, seconds={"crown": 0.5},
        box=CertifiedBox(uniform=0.1, gain=None, narrowest=0.1, widest=0.2, shape=[2], radius=[0.1, 0.2], x=[0.0, 1.0]),
    ),
    of.PictureLine(group="g", row="a", column="b", shape=[1, 1, 3], pixels="AAEC", note="3.0 dB"),
    of.EstimateLine(
        index=7, label=1, status="estimate", least=0.5, outputs=[[0.0, 1.0], [None, 2.0]], lipschitz=3.0, radius=0.1, seconds=0.5
    ),
    of.BarrierLine(
        index=7, label=1, status="timeout", margins={"crown": -0.5, "lp": None}, exact=False, gap=1.0, barrier=0.5, unstable=3,
        seconds={"lp": 0.5},
    ),
    of.SummaryLine(
        verb="verify", model="runs/a", data="digits", count=4, eps=0.1, norm="linf", seconds=1.0, accuracy={"clean": RATE},
        verified_by={"ibp": RATE}, status={"verified": 1, "timeout": 0}, data_digest="0a", epochs=2, examples=9,
        steps=[of.StepTally(name="ibp", settled=1, verified=1, misclassified=0, falsified=0, seconds=0.5)], protocol="validation",
        selected=Selection(epoch=1, step=8), split="validation", splits={"train": PART}, hidden=0.5, classifier="runs/c",
        runs=[{"seed": 0, "clean": 0.5, "selected": {"epoch": 1.0, "step": 8}}], noise="Gaussian(1)", sigma=1.0, alpha=0.001,
        radius=0.5, samples=100, denoiser="runs/d", curve=[CurvePoint(radius=0.0, accuracy=0.5, low=0.25, high=0.75)],
        abstained=0.25, average_radius={"value": 0.5, "error": None}, votes=100, success=RATE, abstained_under_attack=1,
        methods={"crown": MethodRadii(mean=0.1, median=0.1, proven=1, reach=0, seconds=0.5)}, box=BoxGain(count=1, gain=0.5),
        misclassified=1, high=1.0, whole=3, timeout=1, exact=1, positive={"lp": 2}, margins={"lp": 0.5}, gap=1.0, barrier=0.5,
        share=0.5,
    ),
    of.DoneLine(),
]  # fmt: skip
BY_KIND = {line.kind: line for line in FULL}


def test_every_type_has_an_example_with_every_field():
    assert set(BY_KIND) == set(of.KINDS)
    for kind, line in BY_KIND.items():
        assert type(line) is of.KINDS[kind]
        assert set(line.written()) - {"type"} == set(of.KINDS[kind].model_fields)


@pytest.mark.parametrize("line", FULL, ids=lambda line: line.kind)
def test_a_line_comes_back_as_it_was_written(line, tmp_path):
    path = tmp_path / "record.jsonl"
    header = BY_KIND["header"].model_copy(update={"config": {}})
    with Journal(path) as journal:
        journal.append(header)
        journal.append(line)
    raw = read(path)
    assert raw[1]["type"] == line.kind
    assert raw[1] == line.written()
    back = typed(raw, path)[1]
    assert back == line
    assert back.written() == line.written()


@pytest.mark.parametrize("kind", of.KINDS)
def test_what_was_not_given_is_not_written(kind):
    needed = {name: getattr(BY_KIND[kind], name) for name, field in of.KINDS[kind].model_fields.items() if field.is_required()}
    line = of.KINDS[kind](**needed)
    assert list(line.written()) == ["type", *(name for name in of.KINDS[kind].model_fields if name in needed)]
    assert typed([line.written()], Path("record")) == [line]


@pytest.mark.parametrize("line", [line.written() for line in FULL], ids=lambda line: line["type"])
def test_a_field_that_is_not_named_is_refused(line):
    with pytest.raises(BadFile, match=f"malformed '{line['type']}' line in a run record: mood") as caught:
        typed([line, line | {"mood": "good"}], Path("record"))
    assert caught.value.where == "record:2"


def test_a_field_of_a_part_of_a_line_is_refused_by_its_place():
    line = BY_KIND["summary"].written()
    line["splits"]["train"]["clean"]["mood"] = "good"
    with pytest.raises(BadFile, match=r"splits\.train\.clean\.mood"):
        typed([line], Path("record"))


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


@given(NUMBERS, NUMBERS, st.dictionaries(st.sampled_from("abc"), NUMBERS))
def test_what_is_not_finite_is_null(loss, eps, parts):
    line = of.MetricsLine(step=1, loss=loss, eps=eps, parts=parts)
    back = json.loads(json.dumps(line.written(), allow_nan=False))

    def null(value: float) -> float | None:
        return value if math.isfinite(value) else None

    assert (back["loss"], back["eps"]) == (null(loss), null(eps))
    assert back["parts"] == {name: null(value) for name, value in parts.items()}


def test_null_stands_deep_inside_and_in_lines_of_ones_own(tmp_path):
    path = tmp_path / "record.jsonl"
    nan, inf = math.nan, math.inf
    with Journal(path) as journal:
        journal.append(of.HeaderLine(format=FORMAT, verb="verify", config={"clip": [inf, {"a": nan}]}, identity={}, code={}))
        journal.append(
            of.EstimateLine(index=0, label=0, status="estimate", least=-inf, outputs=[[-inf, 1.0]], lipschitz=nan, radius=inf)
        )
        journal.append({"type": "image", "rows": (1.0, nan), "where": Path("a")})
    header, line, own = read(path)
    assert header["config"] == {"clip": [None, {"a": None}]}
    assert (line["least"], line["outputs"], line["lipschitz"], line["radius"]) == (None, [[None, 1.0]], None, None)
    assert own == {"type": "image", "rows": [1.0, None], "where": "a"}


def test_a_number_that_must_be_there_is_never_written_as_null():
    with pytest.raises(ValidationError, match="eps"):
        of.TightnessLine(epoch=1, step=8, eps=math.nan, input=0.2, layers=[])


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_is_not_finite_is_refused_where_it_stands(tmp_path, text):
    folder = sample.write(tmp_path / "t", sample.header("train"), {"type": "metrics", "step": 1})
    path = folder / "record.jsonl"
    path.write_text(path.read_text() + f'{{"type":"metrics","step":2,"loss":{text}}}\n')
    for reading in (read, lambda path: read_runs([path])):
        with pytest.raises(BadFile, match=f"{text} is no finite number") as caught:
            reading(path)
        assert caught.value.where == f"{path}:3"


@pytest.mark.parametrize(
    ("value", "drawn"), [(1e30, True), (-(10**30), True), (1.1e30, False), (-1e31, False), (10**31, False), (10**400, False)]
)
def test_a_report_draws_no_number_beyond_1e30(tmp_path, value, drawn):
    folder = sample.write(tmp_path / "t", sample.header("train", lr=1e31), {"type": "metrics", "step": 1, "parts": {"a": value}})
    if drawn:
        assert read_runs([folder]).runs[0].of(of.MetricsLine)[0].parts == {"a": float(value)}
        return
    with pytest.raises(BadFile, match="malformed 'metrics' line") as caught:
        read_runs([folder])
    assert caught.value.where.endswith("record.jsonl:2")


def test_an_unknown_type_is_one_error_that_names_it_and_its_line(tmp_path):
    folder = sample.write(tmp_path / "v", *sample.verify_lines(12), {"type": "opinion" * 99, "index": 1})
    count = len(sample.verify_lines(12))
    with pytest.raises(BadFile, match="unknown type 'opinionopinion") as caught:
        read_runs([folder])
    assert caught.value.where.endswith(f"record.jsonl:{count + 1}")
    assert "version of epsball that wrote it" in caught.value.fix
    assert len(caught.value.what) < 120
