"""A small training run for processes that are going to be killed. Imported once by the fork server, with torch."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from torch import nn

from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.record.code import code
from epsball.record.folder import RunFolder
from epsball.run.track import screen
from epsball.run.training_job import Job, train
from epsball.storage import write_tensors
from epsball.training.config import TrainConfig
from epsball.training.evaluate import IbpAccuracy
from epsball.training.recipes.fast_ibp import FastIbp

torch.set_num_threads(1)


def job(epochs: int = 12, width: int = 12) -> Job:
    """Random pictures, a net with batch norm and dropout, a ramp that ends half-way."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 4
    x = torch.rand(400, 1, 8, 8, generator=generator)
    x[:, 0, 0] = 0.2 * y[:, None]  # something to learn
    module = nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, width),
        nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 4),
    )  # fmt: skip
    return Job(
        Network.capture(module, (1, 8, 8)),
        FastIbp(0.05, warmup=1, ramp=5),
        Examples((x * 255).to(torch.uint8), y),
        TrainConfig(epochs=epochs, batch=16, lr=1e-3, milestones=(9,), log_every=5, checkpoint_every=7, seed=3),
        IbpAccuracy(0.05),
        described={"epochs": epochs},
    )


JOB = job()
code()  # once in the server, as the network


def save(path: Path, module: nn.Module, description: dict[str, Any]) -> None:
    write_tensors(path, module.state_dict(), description)


def run(path: Path, *, die_in_checkpoint: bool = False) -> None:
    """Start or go on with the run; may kill itself while the second checkpoint is being written."""
    if die_in_checkpoint:
        written, sync = [], os.fsync

        def deadly(descriptor: int) -> None:
            name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            if name.endswith(".part") and "checkpoint" in name:
                written.append(name)
                if len(written) == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
            sync(descriptor)

        os.fsync = deadly
    with RunFolder(path, resume=True) as folder:
        train(JOB, folder, save, screen(quiet=True))
