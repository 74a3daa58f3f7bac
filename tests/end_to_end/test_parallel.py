"""Two gloo processes take the step that one process takes on the whole batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import parallel_child
import pytest
import torch
from parallel_child import call, commands

from epsball.errors import BadConfig
from epsball.record.journal import read
from epsball.storage import read_tensors
from epsball.training.parallel import Team, average_gradients, check_share, each, noise, whole_mean, whole_sum
from epsball.types import Params


def environment(rank: int, port: int) -> dict[str, str]:
    told = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return {**os.environ, **told, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Results(NamedTuple):
    first: Params
    second: Params
    alone: Params
    folder: Path


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Of both processes, and of one alone."""
    folder, port = tmp_path_factory.mktemp("parallel"), free_port()
    command = [sys.executable, parallel_child.__file__, str(folder), *(str(free_port()) for _ in range(3))]
    both = [subprocess.Popen(command, env=environment(rank, port)) for rank in (0, 1)]
    alone = parallel_child.everything()
    assert [process.wait(300) for process in both] == [0, 0]
    first, second = (read_tensors(folder / f"{rank}.safetensors")[0] for rank in (0, 1))
    return Results(first, second, alone, folder)


@pytest.mark.parametrize("name", parallel_child.RECIPES)
def test_the_gradient_is_that_of_one_process(results: Results, name: str) -> None:
    first, second, alone = ({key: value for key, value in found.items() if key.startswith(f"{name}/")} for found in results[:3])
    assert any("/gradient/" in key for key in alone)
    assert sum("/buffer/" in key for key in alone) == 9, "three batch norms"
    largest = max(value.abs().max() for key, value in alone.items() if "/gradient/" in key)
    for key, value in alone.items():
        assert torch.equal(first[key], second[key]), f"{key}: both processes end in the same state"
        # a bias before batch norm has no gradient but rounding
        assert (first[key] - value).abs().max() <= 1e-6 * value.abs().max() + 1e-14 * largest, key


def test_a_run_ends_with_the_same_model_and_scores(results: Results) -> None:
    first, second, alone = ({k: v for k, v in found.items() if k.startswith("run/")} for found in results[:3])
    assert torch.equal(first["run/scores"], alone["run/scores"])
    for key, value in alone.items():
        assert torch.equal(first[key], second[key])
        torch.testing.assert_close(first[key], value, rtol=1e-6, atol=1e-9)


def test_a_run_of_two_processes_from_the_command_line(results: Results) -> None:
    """Stopped by Ctrl-C in one of them, refused a second time, and resumed to its end."""
    first, second = (json.loads((results.folder / f"{rank}.json").read_text()) for rank in (0, 1))
    assert [code for code, _, _ in first] == [code for code, _, _ in second] == [130, 2, 0]
    assert all(out == err == "" for _, out, err in second), "one process tells"
    assert "holds a run already" in first[1][2]
    run = results.folder / "run"
    lines = read(run / "record.jsonl")
    assert [line["type"] for line in lines].count("header") == 1
    (resumed,) = (line["step"] for line in lines if line["type"] == "resume")
    assert 0 < resumed < 10
    assert lines[-1]["type"] == "done"
    found = {epoch["epoch"]: (epoch["clean"], epoch["verified"]) for epoch in lines if epoch["type"] == "epoch"}

    alone = call([*commands(results.folder / "alone")[0]])
    assert alone[0] == 0
    expected = {line["epoch"]: (line["clean"], line["verified"]) for line in read(results.folder / "alone" / "record.jsonl")
                if line["type"] == "epoch"}  # fmt: skip
    assert found == expected
    assert {path.name for path in run.iterdir()} == {path.name for path in (results.folder / "alone").iterdir()}


def test_alone_nothing_is_exchanged() -> None:
    x = torch.rand(4, 3, requires_grad=True)
    assert whole_sum(x) is x
    assert whole_mean(x) is x
    assert torch.equal(each(x), x[None])
    average_gradients([x])
    assert Team().share(x).equal(x)
    assert Team().some(flag=True)
    torch.manual_seed(0)
    drawn = noise(x)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(4, 3))
    check_share(7)


def test_what_several_processes_cannot_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("epsball.training.parallel.team", lambda: Team(0, 2))
    with pytest.raises(BadConfig, match="7 examples cannot be shared out evenly among 2"):
        check_share(7)
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = call([*commands(tmp_path)[0], "--seeds", "2"])
    assert code == 2
    assert "several seeds in several processes" in err
    x = torch.arange(12).view(6, 2)
    assert torch.equal(torch.cat([Team(rank, 3).share(x) for rank in range(3)]), x)
