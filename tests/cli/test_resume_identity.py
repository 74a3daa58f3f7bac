"""A record is of one network, one question, one data set and one code: a resumed run that would mix two is refused by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_bad_input import fails
from test_verbs import answer, call

import epsball
from epsball.data import stored
from epsball.data.base import Dataset, digest, statistics
from epsball.models.store import load_model, save_model
from epsball.training.base import Examples


def _keep(seed: int, *, moved: int | None = None) -> None:
    """A small data set called "mine", learnable, different for each seed; `moved`: the one test example with other pixels."""
    draw = torch.Generator().manual_seed(seed)
    parts = []
    for count in (96, 40):
        y = torch.arange(count) % 3
        x = (0.3 * torch.rand(count, 1, 4, 4, generator=draw) + 0.2 * y[:, None, None, None]).clamp(0, 1)
        parts.append(Examples((255 * x).round().to(torch.uint8), y))
    if moved is not None:
        parts[1].x[moved] = 255 - parts[1].x[moved]
    mean, std = statistics(parts[0])
    stored.write(Dataset("mine", *parts, 3, "own", mean, std, (0.0, 1.0), digest(*parts)))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _keep(0)


@pytest.fixture
def net(cache, tmp_path) -> Path:
    options = ("train", "ibp", "--data", "mine", "--model", "mlp", "--set", "model.hidden=[8]", "--eps", "0.02", "--epochs", "3")
    assert run_quiet(*options, "--batch", "16", "--set", "warmup=0", "--set", "ramp=1", "--out", tmp_path / "net") == 0
    return tmp_path / "net"


def run_quiet(*arguments: object) -> int:
    from epsball.cli.app import run

    return run([*map(str, arguments), "--quiet"])


def _lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]


def _cut(folder: Path, keep: int) -> bytes:
    """As a killed run leaves it: the header and some instances."""
    record = folder / "record.jsonl"
    record.write_bytes(b"".join(record.read_bytes().splitlines(keepends=True)[:keep]))
    return record.read_bytes()


def _nudge(net: Path) -> None:
    """Another network under the same name: one weight moved by one unit in its last place."""
    module, architecture, extra = load_model(net)
    with torch.no_grad():
        weight = next(module.parameters()).view(-1)
        weight[3] = torch.nextafter(weight[3], torch.tensor(9.0))
    save_model(net, module, architecture, extra)


VERIFY = ("--data", "mine", "--eps", "0.02", "--index", ":20")
CERTIFY = ("--data", "mine", "--sigma", "0.1", "--index", ":6", "--set", "cap=2048")


@pytest.mark.parametrize(("verb", "options"), [("verify", VERIFY), ("certify", CERTIFY)])
def test_another_network_of_the_same_name_is_refused(capsys, net, tmp_path, verb, options):
    out = tmp_path / "out"
    whole = answer(capsys, verb, net, *options, "--out", out)
    held = _cut(out, 4)
    kept = (net / "model.safetensors").read_bytes()
    _nudge(net)
    for says in ("another network", "weights = "):
        fails(capsys, 2, says, verb, net, *options, "--out", out, "--resume")
    assert (out / "record.jsonl").read_bytes() == held, "the record is not touched"
    (net / "model.safetensors").write_bytes(kept)
    again = answer(capsys, verb, net, *options, "--out", out, "--resume")
    key = {"verify": "accuracy", "certify": "curve"}[verb]
    assert again[key] == whole[key]


def test_another_precision_is_refused(capsys, net, tmp_path):
    options = ("verify", net, *VERIFY, "--out", tmp_path / "v")
    assert call(capsys, *options)[0] == 0
    held = _cut(tmp_path / "v", 4)
    fails(capsys, 2, "another precision: precision = float32 there and float64 here", *options, "--float64", "--resume")
    assert (tmp_path / "v" / "record.jsonl").read_bytes() == held
    assert _lines(tmp_path / "v")[0]["identity"]["precision"] == "float32"


@pytest.mark.parametrize(("verb", "options"), [("verify", VERIFY), ("certify", CERTIFY)])
def test_another_data_set_of_the_same_name_is_refused(capsys, net, tmp_path, verb, options):
    out = tmp_path / "out"
    assert call(capsys, verb, net, *options, "--out", out)[0] == 0
    _cut(out, 4)
    _keep(1)
    for says in ("another data", "data_digest = "):
        fails(capsys, 2, says, verb, net, *options, "--out", out, "--resume")


def test_one_changed_example_of_the_slice_is_another_slice(capsys, net, tmp_path):
    options = ("verify", net, *VERIFY, "--out", tmp_path / "v")
    assert call(capsys, *options)[0] == 0
    before = _lines(tmp_path / "v")[0]["identity"]
    _cut(tmp_path / "v", 4)
    _keep(0, moved=19)
    fails(capsys, 2, "another data", *options, "--resume")
    assert call(capsys, "verify", net, *VERIFY, "--out", tmp_path / "w")[0] == 0
    after = _lines(tmp_path / "w")[0]["identity"]
    assert {name for name in before if before[name] != after[name]} == {"data"}
    _keep(0, moved=20)  # outside the slice of 20
    assert call(capsys, "verify", net, *VERIFY, "--out", tmp_path / "x")[0] == 0
    assert _lines(tmp_path / "x")[0]["identity"] == before


def test_training_goes_on_with_the_same_data_alone(capsys, net):
    """The digest was written, and never compared: a data set of the same name was gone on with."""
    held = (net / "record.jsonl").read_bytes()
    _keep(1)
    fails(capsys, 2, "another data", "train", "--resume", net)
    _cut(net, 6)
    fails(capsys, 2, "another data", "train", "--resume", net)
    (net / "record.jsonl").write_bytes(held)
    _keep(0)
    assert call(capsys, "train", "--resume", net, "--quiet")[0] == 0


def test_seeds_go_on_with_the_same_data_alone(capsys, cache, tmp_path):
    options = ("train", "ibp", "--data", "mine", "--model", "mlp", "--set", "model.hidden=[4]", "--eps", "0.02", "--epochs", "2")
    out = tmp_path / "many"
    assert run_quiet(*options, "--batch", "16", "--set", "warmup=0", "--set", "ramp=1", "--seeds", "2", "--out", out) == 0
    _keep(1)
    fails(capsys, 2, "another data", "train", "--resume", out)


def test_another_version_of_the_code_is_refused_unless_the_record_says_so(capsys, net, tmp_path):
    out = tmp_path / "v"
    options = ["verify", str(net), *VERIFY, "--out", str(out)]
    whole = answer(capsys, *options)
    held = _cut(out, 4)
    shutil.copytree(Path(epsball.__file__).parent, tmp_path / "other" / "epsball", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "other" / "epsball" / "rows.py").open("a") as file:
        file.write("# one line more\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "other")}

    def there(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "epsball", *options, *more]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)

    refused = there("--resume")
    assert refused.returncode == 2
    assert "another version of the code" in refused.stderr
    assert "--anyway" in refused.stderr
    assert (out / "record.jsonl").read_bytes() == held
    accepted = there("--resume", "--anyway", "--json")
    assert accepted.returncode == 0, accepted.stderr
    assert json.loads(accepted.stdout)["accuracy"] == whole["accuracy"]
    first, second = (line for line in _lines(out) if line["type"] == "header")
    assert first["code"]["sources"] != second["code"]["sources"]
    assert (first.get("anyway"), second["anyway"]) == (None, ["code"])
    assert second["command"] == ["epsball", *options, "--resume", "--anyway", "--json"], "as it was typed"
    fails(capsys, 2, "another version of the code", *options, "--resume")
    assert answer(capsys, "report", out, "-o", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "resumed by another version of the code" in page
    assert first["code"]["sources"] in page
    assert second["code"]["sources"] in page


def test_anyway_without_resume_is_an_error(capsys, net, tmp_path):
    fails(capsys, 2, "--resume", "verify", net, *VERIFY, "--out", tmp_path / "v", "--anyway")


def test_every_verb_writes_the_hashes_and_the_report_shows_them(capsys, net, tmp_path):
    runs = {
        "verify": ("verify", net, *VERIFY),
        "attack": ("attack", net, *VERIFY),
        "certify": ("certify", net, *CERTIFY),
        "bounds": ("bounds", net, "--data", "mine", "--eps", "0.02", "--index", "0"),
        "radius": ("analyse", "radius", net, "--data", "mine", "--index", ":2", "--method", "ibp"),
    }
    for name, options in runs.items():
        assert call(capsys, *options, "--out", tmp_path / name)[0] == 0, name
    page = tmp_path / "r.html"
    assert call(capsys, "report", *(tmp_path / name for name in runs), net, "-o", page)[0] == 0
    headers = {name: _lines(tmp_path / name)[0] for name in runs}
    for name, header in headers.items():
        hashes = [header["identity"][key] for key in ("weights", "property", "data")] + [header["code"]["sources"]]
        assert all(len(value) == 64 and int(value, 16) for value in hashes), name
        assert all(value in page.read_text() for value in hashes), name
    assert len({header["identity"]["weights"] for header in headers.values()}) == 1
    assert headers["verify"]["identity"] == headers["attack"]["identity"]
    assert headers["verify"]["identity"]["property"] != headers["certify"]["identity"]["property"]
    assert len(_lines(net)[0]["identity"]["data"]) == 64


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"type": "opinion", "index": 3}, "unknown type 'opinion'"),
        ({"type": "instance", "index": 39, "label": 0, "status": "unknown", "mood": "good"}, "malformed 'instance' line"),
    ],
)
def test_a_line_that_is_not_known_is_one_error_of_report_and_resume(capsys, net, tmp_path, line, says):
    """It was left out of the report without a word, and gone on with."""
    options = ("verify", net, *VERIFY, "--out", tmp_path / "v")
    assert call(capsys, *options)[0] == 0
    _cut(tmp_path / "v", 4)
    for folder in (tmp_path / "v", net):
        record = folder / "record.jsonl"
        record.write_text(record.read_text() + json.dumps(line) + "\n")
    held = {folder: (folder / "record.jsonl").read_bytes() for folder in (tmp_path / "v", net)}
    page = tmp_path / "r.html"
    fails(capsys, 2, says, "report", tmp_path / "v", "-o", page)
    assert not page.exists()
    fails(capsys, 2, says, *options, "--resume")
    where = json.loads(call(capsys, *options, "--resume", "--json")[1])["error"]["where"]
    assert where.endswith("record.jsonl:5")
    fails(capsys, 2, says, "train", "--resume", net)
    assert held == {folder: (folder / "record.jsonl").read_bytes() for folder in held}, "no record is touched"
