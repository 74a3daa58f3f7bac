"""Records written in one go."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from epsball.run.written import written
from torch import nn

from epsball.data.base import Dataset
from epsball.errors import BadConfig
from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.record.journal import read
from epsball.run.case import Case


@pytest.fixture
def case() -> Case:
    examples = Examples(torch.rand(4, 3), torch.tensor([0, 1, 0, 1]))
    network = Network.capture(nn.Linear(3, 2), (3,))
    return Case(Path("net"), network, Dataset("mine", examples, examples, 2, "own", (), (), (0.0, 1.0), ""), torch.arange(2), 0.1)


def test_header_lines_and_done(case, tmp_path):
    with written(tmp_path / "r", "bounds", case, steps=3) as append:
        append({"type": "layer", "name": "a"}, {"type": "layer", "name": "b"})
        append({"type": "summary"})
        assert len(read(tmp_path / "r" / "record.jsonl")) == 4  # what was appended is there before the end
    lines = read(tmp_path / "r" / "record.jsonl")
    assert [line["type"] for line in lines] == ["header", "layer", "layer", "summary", "done"]
    assert lines[0]["config"]["steps"] == 3
    assert lines[0]["verb"] == "bounds"


def test_a_run_that_failed_keeps_its_lines_and_is_not_done(case, tmp_path):
    def fail() -> None:
        with written(tmp_path / "r", "bounds", case) as append:
            append({"type": "layer", "name": "a"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [line["type"] for line in read(tmp_path / "r" / "record.jsonl")] == ["header", "layer"]
    with pytest.raises(BadConfig, match="holds a run already"), written(tmp_path / "r", "bounds", case):
        pass


def test_nothing_is_written_without_a_folder(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with written(None, "bounds", case) as append:
        append({"type": "layer"})
    assert not list(tmp_path.iterdir())
