"""Every verb from the command line, on a small network trained by the command line itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text

from epsball.cli.app import run
from epsball.reporting.runs import read_runs

VERBS = ("doctor", "list", "show", "data", "demo", "train", "attack", "bounds", "verify", "certify", "predict", "report", "analyse")


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def answer(capsys, *arguments: str) -> dict:
    code, out, err = call(capsys, *arguments, "--json")
    assert code == 0, out + err
    assert not [line for line in err.splitlines() if not line.startswith("NearChance")]  # networks of a few seconds' training
    found = json.loads(out)
    assert re.fullmatch(r"epsball\.[a-z]+/1", found["schema"])
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "digits"
    code = run(["train", "fast-ibp", "--data", "digits", "--model", "mlp", "--eps", "1/16", "--epochs", "4", "--batch", "64",
                "--set", "warmup=0", "--set", "ramp=2", "--set", "lr=2e-3", "--out", str(path), "--quiet"])  # fmt: skip
    assert code == 0
    return path


def test_help_names_every_verb_and_imports_no_torch():
    slow = "{'torch', 'pydantic', 'scipy', 'numpy', 'importlib.metadata'}"
    script = f"import sys; from epsball.cli.app import run; run(['--help']); sys.exit(len({slow} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", [v for v in VERBS if v not in ("data", "analyse")])
def test_every_verb_has_json_quiet_and_help(capsys, verb):
    code, out, _ = call(capsys, verb, "--help")
    assert code == 0
    assert "--json" in out
    assert "--quiet" in out


def test_alone_it_prints_its_help_and_its_version_when_asked(capsys):
    code, out, _ = call(capsys)
    assert (code, out) == call(capsys, "-h")[:2] == call(capsys, "--help")[:2]
    assert code == 0
    assert "verify" in out
    assert call(capsys, "verify", "-h")[:2] == call(capsys, "verify", "--help")[:2]
    assert call(capsys, "--version") == (0, "epsball 0.1.0\n", "")
    assert call(capsys, "list", "recipes", "-q")[0] == 0


def test_a_mistyped_verb_is_told_the_nearest(capsys):
    code, out, err = call(capsys, "verfy", "runs/x")
    assert (code, out) == (2, "")
    assert "'verfy'" in err
    assert "'verify'" in err
    assert "see: epsball --help" in err


def test_training_leaves_a_whole_run(trained):
    names = {p.name for p in trained.iterdir()}
    assert {"record.jsonl", "config.toml", "model.safetensors", "checkpoint.safetensors"} <= names
    lines = [json.loads(line) for line in (trained / "record.jsonl").read_text().splitlines()]
    assert lines[0]["verb"] == "train"
    assert {"metrics", "epoch", "relu", "summary", "done"} <= {line["type"] for line in lines}


def test_a_finished_run_resumes_to_the_same_summary(capsys, trained):
    before = (trained / "model.safetensors").read_bytes()
    found = answer(capsys, "train", "--resume", trained)
    assert found["verb"] == "train"
    assert (trained / "model.safetensors").read_bytes() == before


def test_verify_keeps_the_inequality_and_its_record(capsys, trained, tmp_path):
    found = answer(capsys, "verify", trained, "--data", "digits", "--eps", "1/16", "--index", ":40", "--out", tmp_path / "v")
    shares = [found["accuracy"][name]["value"] for name in ("verified", "attacked", "clean")]
    assert shares == sorted(shares)
    assert shares[-1] > 0.5
    assert sum(found["status"].values()) == found["count"] == 40
    assert sum(step["settled"] for step in found["steps"]) == 40 - sum(
        found["status"][name] for name in ("unknown", "timeout", "error")
    )
    lines = [json.loads(line) for line in (tmp_path / "v" / "record.jsonl").read_text().splitlines()]
    assert sorted(line["index"] for line in lines if line["type"] == "instance") == list(range(40))


def test_shards_together_are_the_whole(capsys, trained, tmp_path):
    options = ("verify", trained, "--data", "digits", "--eps", "1/16", "--index", ":21")
    whole = answer(capsys, *options, "--out", tmp_path / "whole")
    parts = [answer(capsys, *options, "--shard", f"{i}/2", "--out", tmp_path / f"part{i}") for i in (1, 2)]
    assert [part["count"] for part in parts] == [11, 10]
    for name in ("verified", "clean"):
        together = sum(round(p["accuracy"][name]["value"] * p["count"]) for p in parts)
        assert together == round(whole["accuracy"][name]["value"] * whole["count"])
    story = read_runs([tmp_path / "part2", tmp_path / "part1"])
    assert [run.summary.count for run in story.runs] == [21]
    assert {name: rate.value for name, rate in story.runs[0].summary.accuracy.items()} == {
        name: rate["value"] for name, rate in whole["accuracy"].items()
    }


def test_a_cut_verification_resumes_where_it_stopped(capsys, trained, tmp_path):
    options = ("verify", trained, "--data", "digits", "--eps", "1/16", "--index", ":30", "--out", tmp_path / "v")
    whole = answer(capsys, *options)
    record = tmp_path / "v" / "record.jsonl"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(lines[:12]) + lines[12][: len(lines[12]) // 2])
    resumed = answer(capsys, *options, "--resume")
    assert resumed["status"] == whole["status"]
    instances = [json.loads(line) for line in record.read_text().splitlines()]
    assert sorted(i["index"] for i in instances if i["type"] == "instance") == list(range(30))


def test_gate_sets_the_exit_code(capsys, trained, tmp_path):
    options = ("verify", trained, "--data", "digits", "--gate", "--quiet")
    found = answer(capsys, "verify", trained, "--data", "digits", "--eps", "0", "--out", tmp_path / "a")
    lines = [json.loads(line) for line in (tmp_path / "a" / "record.jsonl").read_text().splitlines()]
    right = next(i["index"] for i in lines if i.get("status") == "verified")
    wrong = next(i["index"] for i in lines if i.get("status") == "misclassified")
    assert found["status"]["verified"] > 0
    assert call(capsys, *options, "--eps", "0", "--index", right, "--out", tmp_path / "b")[0] == 0
    assert call(capsys, *options, "--eps", "0", "--index", wrong, "--out", tmp_path / "c")[0] == 1
    hopeless = ("--eps", "0.2", "--timeout", "1e-9", "--index", right, "--out", tmp_path / "d")
    assert call(capsys, *options, *hopeless)[0] in {1, 2}


def test_attack_reports_what_survives(capsys, trained, tmp_path):
    found = answer(
        capsys,
        "attack",
        trained,
        "--data",
        "digits",
        "--eps",
        "1/16",
        "--index",
        ":40",
        "--set",
        "steps=5",
        "--out",
        tmp_path / "a",
    )
    assert found["accuracy"]["attacked"]["value"] <= found["accuracy"]["clean"]["value"]
    weak = answer(capsys, "attack", trained, "--data", "digits", "--eps", "0", "--index", ":40")
    assert weak["accuracy"]["attacked"] == weak["accuracy"]["clean"]


def test_bounds_show_each_layer(capsys, trained):
    found = answer(capsys, "bounds", trained, "--data", "digits", "--eps", "1/16", "--index", "0:4")
    layers = {(line["method"], line["name"]): line["width"] for line in found["layers"]}
    names = {name for _, name in layers}
    assert len(names) == 2
    assert all(layers["crown", n] <= layers["ibp", n] * (1 + 1e-6) for n in names)


def test_the_convex_barrier_of_a_few_images(capsys, trained, tmp_path):
    options = ("analyse", "barrier", trained, "--data", "digits", "--eps", "1/16", "--index", ":2")
    found = answer(capsys, *options, "--out", tmp_path / "b", "--figure", tmp_path / "b.svg")
    lines = [json.loads(line) for line in (tmp_path / "b" / "record.jsonl").read_text().splitlines()]
    assert [line["type"] for line in lines] == ["header", "barrier", "barrier", "summary", "done"]
    assert lines[1]["margins"] == pytest.approx(found["images"][0]["margins"])
    drawn = (tmp_path / "b.svg").read_text().strip()
    assert drawn.startswith("<?xml")
    assert drawn.endswith("</svg>")
    whole = [line["margins"] for line in found["images"] if line["status"] == "done"]
    assert whole
    assert all(m["crown"] <= m["lp"] + 1e-8 <= m["lp-tight"] + 2e-8 <= m["attack"] + 1e-6 for m in whole)
    code, out, _ = call(capsys, *options[:-1], "0", "--quiet", "--format", "table")
    assert code == 0
    assert "beyond every relaxation of single neurons" in out


def test_a_ladder_with_linear_programs(capsys, trained, tmp_path):
    options = ("verify", trained, "--data", "digits", "--eps", "1/8", "--index", ":8")
    plain = answer(capsys, *options, "--out", tmp_path / "plain")
    found = answer(capsys, *options, "--method", "auto,lp", "--out", tmp_path / "lp")
    assert found["status"]["verified"] >= plain["status"]["verified"]
    assert found["status"]["unknown"] <= plain["status"]["unknown"]
    code, _, err = call(capsys, *options, "--method", "auto,lpp")
    assert code == 2
    assert "did you mean 'lp'" in err


def test_certify_by_smoothing(capsys, trained, tmp_path):
    options = (
        "certify",
        trained,
        "--data",
        "digits",
        "--sigma",
        "0.1",
        "--index",
        ":6",
        "--set",
        "cap=4096",
        "--out",
        tmp_path / "c",
    )
    found = answer(capsys, *options)
    accuracies = [point["accuracy"] for point in found["curve"]]
    assert found["count"] == 6
    assert accuracies == sorted(accuracies, reverse=True)
    log = (tmp_path / "c" / "certificates.tsv").read_text()
    record = tmp_path / "c" / "record.jsonl"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(lines[:4]))  # the header and three certificates
    assert answer(capsys, *options, "--resume")["curve"] == found["curve"]
    assert [row.split("\t")[:5] for row in (tmp_path / "c" / "certificates.tsv").read_text().splitlines()] == [
        row.split("\t")[:5] for row in log.splitlines()
    ]


def test_report_is_one_file(capsys, trained, tmp_path):
    answer(capsys, "verify", trained, "--data", "digits", "--eps", "1/16", "--index", ":20", "--out", tmp_path / "v")
    found = answer(capsys, "report", trained, tmp_path / "v", "--out", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert found["bytes"] == len(page.encode())
    assert "<script src" not in page


@pytest.mark.parametrize(
    "kind", ["attacks", "verifiers", "bounders", "recipes", "relaxations", "ops", "models", "data", "noises", "procedures"]
)
def test_list_and_show_every_entry(capsys, kind):
    entries = answer(capsys, "list", kind)["entries"]
    assert entries
    for name, text in entries.items():
        shown = answer(capsys, "show", kind, name)
        assert shown["doc"].startswith(text)


def test_doctor_names_versions_and_data(capsys):
    found = answer(capsys, "doctor")
    assert {"epsball", "torch"} <= set(found["versions"])
    assert "mnist" in found["data"]


def test_text_output_is_a_table(capsys, trained, tmp_path):
    code, out, _ = call(capsys, "verify", trained, "--data", "digits", "--eps", "1/16", "--index", ":5", "--out", tmp_path / "v",
                        "--format", "table")  # fmt: skip
    assert code == 0
    assert {"clean", "attacked", "verified"} <= set(Text.from_ansi(out).plain.split())
    assert "not answers" in out


def test_the_demo_runs_on_the_digits_when_mnist_is_nowhere(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from epsball.data import fetch, find
    from epsball.errors import BadFile

    def offline(*_args, **_options):
        raise BadFile("no way to fetch it")

    monkeypatch.setattr(find, "where", lambda _: None)
    monkeypatch.setattr(fetch, "get", offline)
    code, out, err = call(capsys, "demo", "--out", tmp_path / "demo", "--epochs", "1")
    assert code == 0, err
    assert "digits of scikit-learn" in err
    assert "verified accuracy (union)" in out
    assert (tmp_path / "demo" / "report.html").is_file()
