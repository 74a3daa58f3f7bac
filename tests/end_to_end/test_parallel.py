"""Two gloo processes take the step that one process takes on the whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import parallel_child
import pytest
import torch

from epsball.errors import BadConfig
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


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Params, Params, Params]:
    """Of both processes, and of one alone."""
    folder, port = tmp_path_factory.mktemp("parallel"), free_port()
    command = [sys.executable, parallel_child.__file__, str(folder)]
    both = [subprocess.Popen(command, env=environment(rank, port)) for rank in (0, 1)]
    alone = parallel_child.everything()
    assert [process.wait(60) for process in both] == [0, 0]
    first, second = (read_tensors(folder / f"{rank}.safetensors")[0] for rank in (0, 1))
    return first, second, alone


@pytest.mark.parametrize("name", parallel_child.RECIPES)
def test_the_gradient_is_that_of_one_process(results: tuple[Params, Params, Params], name: str) -> None:
    first, second, alone = ({key: value for key, value in found.items() if key.startswith(f"{name}/")} for found in results)
    assert any("/gradient/" in key for key in alone)
    assert sum("/buffer/" in key for key in alone) == 9, "three batch norms"
    largest = max(value.abs().max() for key, value in alone.items() if "/gradient/" in key)
    for key, value in alone.items():
        assert torch.equal(first[key], second[key]), f"{key}: both processes end in the same state"
        # a bias before batch norm has no gradient but rounding
        assert (first[key] - value).abs().max() <= 1e-6 * value.abs().max() + 1e-14 * largest, key


def test_a_run_ends_with_the_same_model_and_scores(results: tuple[Params, Params, Params]) -> None:
    first, second, alone = ({k: v for k, v in found.items() if k.startswith("run/")} for found in results)
    assert torch.equal(first["run/scores"], alone["run/scores"])
    for key, value in alone.items():
        assert torch.equal(first[key], second[key])
        torch.testing.assert_close(first[key], value, rtol=1e-6, atol=1e-9)


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


def test_a_batch_that_cannot_be_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epsball.training.parallel.team", lambda: Team(0, 2))
    with pytest.raises(BadConfig, match="7 examples cannot be shared out evenly among 2"):
        check_share(7)
    x = torch.arange(12).view(6, 2)
    assert torch.equal(torch.cat([Team(rank, 3).share(x) for rank in range(3)]), x)
