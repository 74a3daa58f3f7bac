"""Record files: hostile and older ones, the command they name, and what a header's hashes depend on."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
import torch
from torch import nn

import sample_records as sample
from epsball.errors import BadConfig, BadFile
from epsball.ops.network import Network
from epsball.record.hashes import hashed
from epsball.record.heading import Heading, Identity
from epsball.record.journal import DEPTH, Journal, read
from epsball.reporting import tables
from epsball.reporting.runs import read_runs
from epsball.reporting.sections.funnel import funnels
from epsball.run.identity import network_of, weights_of

DEEP = 100_000


@pytest.mark.slow
@pytest.mark.parametrize("part", ['{"type":"x","y":' + "[" * DEEP + "]" * DEEP + "}", '{"type":"x","y":' * DEEP + "1" + "}" * DEEP])
def test_a_line_nested_100_000_deep_is_one_clear_error(tmp_path, part):
    path = tmp_path / "record.jsonl"
    path.write_text(json.dumps(sample.header("verify")) + "\n" + part + "\n")
    with pytest.raises(BadFile, match="nested more than 64 deep") as caught:
        read(path)
    assert caught.value.where.endswith("record.jsonl:2")
    with pytest.raises(BadFile, match="nested more than 64 deep"):
        read_runs([path])


def test_brackets_inside_of_texts_are_no_depth(tmp_path):
    path = tmp_path / "record.jsonl"
    wide = {"type": "note", "text": '[{"\\' * 500, "rows": [[i] for i in range(500)]}
    deep: object = 1
    for _ in range(DEPTH - 1):
        deep = [deep]
    path.write_text("".join(json.dumps(line) + "\n" for line in (sample.header("verify"), wide, {"type": "note", "deep": deep})))
    assert read(path)[1] == wide
    assert read(path)[2]["deep"] == deep


@pytest.mark.parametrize("name", ["identity", "code", "config"])
def test_a_header_without_its_hashes_is_refused_and_not_half_read(tmp_path, name):
    header = sample.header("verify")
    del header[name]
    folder = sample.write(tmp_path / "v", header, {"type": "done"})
    with pytest.raises(BadFile, match=f"no '{name}'"):
        read(folder / "record.jsonl")


def test_a_record_of_a_later_version_is_refused_by_its_version(tmp_path):
    folder = sample.write(tmp_path / "v", sample.header("verify") | {"format": "epsball.run/3"})
    with pytest.raises(BadFile, match=r"found 'epsball.run/3'"):
        read(folder / "record.jsonl")


def _older(lines: list[dict]) -> list[dict]:
    """As version 1 of the format had it: no hashes, and the misclassified among the falsified."""
    header, *rest = (dict(line) for line in lines)
    del header["identity"], header["code"]
    header["format"] = "epsball.run/1"
    for line in rest:
        if line.get("status") == "misclassified":
            line["status"] = "falsified"
        if line["type"] == "summary":
            counts = dict(line["status"])
            counts["falsified"] += counts.pop("misclassified")
            line["status"] = counts
            steps = [dict(step) for step in line["steps"]]
            for step in steps:
                step["falsified"] += step.pop("misclassified")
            line["steps"] = steps
    return [header, *rest]


def test_a_record_of_the_older_version_is_read_as_this_one_would_have_written_it(tmp_path):
    lines = sample.verify_lines(300)
    new = sample.write(tmp_path / "new", *lines)
    old = sample.write(tmp_path / "old", *_older(lines))
    one, two = (read_runs([folder]) for folder in (new, old))
    assert funnels(one)[0].status == funnels(two)[0].status
    assert funnels(one)[0].steps == funnels(two)[0].steps
    assert funnels(two)[0].status["misclassified"] > 0
    assert [line.status for line in one.runs[0].instances] == [line.status for line in two.runs[0].instances]
    assert not tables.notices(two)


def test_a_record_of_the_older_version_is_never_gone_on_with(tmp_path):
    folder = sample.write(tmp_path / "old", *_older(sample.verify_lines(20)))
    before = (folder / "record.jsonl").read_bytes()
    heading = Heading("verify", {}, Identity("a", "b", "c", "float32"), 0, "cpu", "float32")
    with pytest.raises(BadConfig, match=r"format epsball.run/1"), Journal(folder / "record.jsonl") as journal:
        heading.open(journal, anyway=True)
    assert (folder / "record.jsonl").read_bytes() == before


@pytest.mark.slow
def test_the_command_is_the_one_that_was_typed(tmp_path):
    script = "from epsball.record.origin import command; import json; print(json.dumps(command()))\n"
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "measure.py").write_text(script)
    (tmp_path / "epsball").write_text(script)

    def told(*arguments: str) -> list[str]:
        done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    python = sys.executable.rpartition("/")[2]
    assert told("-m", "work.measure", "--shard", "0/4") == [python, "-m", "work.measure", "--shard", "0/4"]
    assert told("work/measure.py", "-x") == [python, "work/measure.py", "-x"]
    assert told("epsball", "verify", "runs/a") == ["epsball", "verify", "runs/a"]


def test_a_hash_of_a_tensor_is_that_of_its_type_shape_and_bytes():
    x = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    assert hashed(x) == hashlib.sha256(b"tensor torch.float32 (2, 3);" + x.numpy().tobytes()).hexdigest()
    same = (x.double(), x.reshape(3, 2), x.T.contiguous(), x + 1)
    assert len({hashed(x), *map(hashed, same)}) == 5
    assert hashed(x.T) == hashed(x.T.contiguous()), "values, not strides"
    assert hashed([1, 2], 3) != hashed([1], 2, 3)
    assert hashed({"a": 1, "b": 2}) == hashed({"b": 2, "a": 1})


@pytest.mark.slow
def test_a_network_is_its_weights_and_what_is_done_with_them():
    def of(*layers: nn.Module) -> Network:
        return Network.capture(nn.Sequential(*layers), (3,))

    first, last = nn.Linear(3, 4), nn.Linear(4, 2)
    relu, tanh = of(first, nn.ReLU(), last), of(first, nn.Tanh(), last)
    assert weights_of(relu.module) == weights_of(tanh.module)
    assert network_of(relu) != network_of(tanh)
    assert network_of(relu) == network_of(of(first, nn.ReLU(), last))
    kept = network_of(relu)
    with torch.no_grad():
        first.bias[1] = torch.nextafter(first.bias[1], torch.tensor(9.0))
    assert network_of(relu) != kept


@pytest.mark.slow
def test_the_hash_of_a_network_is_the_same_in_another_process():
    script = (
        "import torch; from torch import nn\n"
        "from epsball.ops.network import Network; from epsball.run.identity import network_of\n"
        "torch.manual_seed(0)\n"
        "layers = (nn.Conv2d(1, 2, 3, stride=2), nn.BatchNorm2d(2), nn.GELU(), nn.Flatten(), nn.Linear(18, 3), nn.Softmax(1))\n"
        "print(network_of(Network.capture(nn.Sequential(*layers).eval(), (1, 8, 8))))"
    )
    found = {subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(found) == 1
