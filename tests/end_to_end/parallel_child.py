"""One of two processes: losses and gradients on half a batch each, for the test to compare with those of a whole one.

python parallel_child.py FOLDER, in the environment that torchrun sets up.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

from epsball.cli import app
from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.storage import write_tensors
from epsball.training.base import Progress, Recipe
from epsball.training.config import TrainConfig
from epsball.training.evaluate import IbpAccuracy
from epsball.training.events import Epoch, Finished
from epsball.training.loop import fit
from epsball.training.parallel import Team, joined
from epsball.training.recipes.crown_ibp import FusedCrownIbp
from epsball.training.recipes.fast_ibp import FastIbp
from epsball.training.recipes.ibp import IbpTraining
from epsball.training.recipes.pgd import Pgd
from epsball.training.recipes.smoothadv import SmoothAdv
from epsball.training.recipes.smoothmix import SmoothMix
from epsball.training.recipes.standard import Standard
from epsball.training.step import Stepper
from epsball.types import Params
from plain_formulas import batch, network

HALF = Progress(15, 100, 10)  # of a ramp of one epoch after a warm-up of one
RECIPES: dict[str, Recipe] = {
    "standard": Standard(),
    "ibp": IbpTraining(0.1, warmup=1, ramp=1),
    "ibp-detached": IbpTraining(0.1, warmup=1, ramp=1, batch_norm="detached", form="hinge"),
    "fast-ibp": FastIbp(0.1, warmup=1, ramp=1, tolerance=0.9, regularisation=0.7),
    "fast-ibp-warm": FastIbp(0.1, warmup=9, ramp=1, tolerance=0.9),
    "crown-ibp-fused": FusedCrownIbp(0.1, warmup=1, ramp=1),
    "pgd": Pgd(0.1, steps=3),
    "smoothadv": SmoothAdv(0.2, eps=0.5, steps=2, ramp=3),
    "smoothmix": SmoothMix(0.2, steps=2, step_size=0.3, ramp=3),
    "pgd-own": Pgd(0.1, steps=3, batch_norm="adversarial", kappa_start=0.3, kappa_end=0.3),
}
CONFIG = TrainConfig(epochs=2, batch=12, lr=1e-3, l1=1e-3, clip_norm=1e9, accumulate=2, log_every=5)


@cache
def captured() -> Network:
    """Captured once: every recipe sets all weights and buffers anew."""
    return Network.capture(network(), (2, 6, 6))


def gradients(recipe: Recipe) -> Params:
    """Of one step, with the losses and the running statistics that it leaves."""
    net, data = captured(), batch()
    module = net.module
    module.load_state_dict(network().state_dict())
    module.train()
    torch.manual_seed(3)
    take = Stepper(net, recipe, replace(CONFIG, optimizer="sgd", lr=1e-30), Examples(data.x, data.y))
    take(torch.arange(12), HALF)
    found = {f"gradient/{name}": p.grad.clone() for name, p in module.named_parameters()}
    found |= {f"buffer/{name}": value.double().clone() for name, value in module.named_buffers()}
    means = take.window.read(1)
    return found | {f"loss/{name}": torch.tensor(value, dtype=torch.float64) for name, value in means.items()}


def run() -> Params:
    """Two epochs with population statistics and an average of the weights: the selected model and the scores."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(70) % 3
    x = torch.rand(70, 6, generator=generator, dtype=torch.float64)
    x[torch.arange(70), y] += 1
    layers = [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)]
    net = Network.capture(nn.Sequential(*layers).double(), (6,))
    config = replace(CONFIG, average="ema", ema_decay=0.8, augment=False, seed=1)
    recipe = FastIbp(0.05, warmup=0, ramp=1, batch_norm="population", clip=None)
    events = list(fit(net, recipe, Examples(x, y), config, IbpAccuracy(0.05, None)))
    last = events[-1]
    assert isinstance(last, Finished)
    scores = [list(e.scores.known().values()) for e in events if isinstance(e, Epoch)]
    return {**last.selected.model, "scores": torch.tensor(scores, dtype=torch.float64)}


def everything() -> Params:
    """What one process, or each of two, computes."""
    found = {f"{name}/{key}": value for name, recipe in RECIPES.items() for key, value in gradients(recipe).items()}
    return found | {f"run/{name}": value for name, value in run().items()}


def commands(out: Path) -> list[list[str]]:
    """A run that Ctrl-C stops, the same again, and its resumption."""
    run = [
        "train", "fast-ibp", "--data", "digits", "--model", "mlp", "--eps", "1/16", "--epochs", "2", "--batch", "256",
        "--set", "warmup=0", "--set", "ramp=1", "--out", str(out),
    ]  # fmt: skip
    return [run, run, ["train", "--resume", str(out)]]


def call(arguments: list[str]) -> tuple[int, str, str]:
    """The command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = app.run(arguments)
    return code, out.getvalue(), err.getvalue()


def main(folder: Path, ports: list[str]) -> None:
    """Everything, and then the commands, each over a port of its own."""
    with joined(torch.device("cpu")) as team:
        write_tensors(folder / f"{team.rank}.safetensors", everything(), {})
    asked, some = [], Team.some

    def interrupted(self: Team, flag: bool) -> bool:
        asked.append(flag)
        if self.rank == 1 and len(asked) == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return some(self, flag)

    answers = []
    for port, arguments in zip(ports, commands(folder / "run"), strict=True):
        os.environ["MASTER_PORT"] = port
        Team.some = some if answers else interrupted
        answers.append(call(arguments))
    (folder / f"{team.rank}.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2:])
