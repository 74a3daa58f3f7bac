"""Small pictures under a patch, brightness or contrast: sets that are cut into cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from tests.red.attack import evaluated, margins, outputs_of
from tests.red.check import ALLOWANCE, SLOW, Outcome
from torch import Tensor, nn

import epsball
from epsball.ops.network import Network
from epsball.problem.sets import Geometric, InputSet, Patch, Photometric, Transformed
from epsball.verification.base import Verifier
from epsball.verification.divided import Cells
from epsball.verification.ladder import Ladder

STEPS = (
    ("clean", "attack", "lp"),
    ("clean", "attack", "multi-neuron"),
    ("lp",),
    ("clean", "ibp", "crown"),
    ("clean", "attack", "ibp"),
)


@dataclass(frozen=True)
class Pictures:
    """A network, one picture, its set, and points of it."""

    seed: int
    family: str
    module: nn.Module
    x: Tensor
    label: int
    points: Tensor

    def input_set(self) -> InputSet:
        if self.family == "patch":
            return Patch(self.x, 1)
        if self.family == "rotation":
            return Transformed.within(self.x, Geometric(), angle=30.0)
        size = {self.family: 0.2}
        return Transformed.within(self.x, Photometric(), **size)


def pictures(seed: int) -> Pictures:
    """Pictures of three by three numbers, whose network is moved until a few points break it: none of them an end of the set."""
    if seed % 5 == 4:
        return turned(seed)
    rng = np.random.default_rng([seed, 51])
    family = ("patch", "brightness", "contrast", "brightness")[seed % 5]
    for _ in range(400):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            body = nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 3)).double()
            x = torch.from_numpy(rng.uniform(0.25, 0.75, (1, 1, 3, 3)))  # no change leaves the valid range
        points, ends = _points(family, x, rng)
        label = int(body(x).argmax())
        with torch.no_grad():
            led, at_ends = margins(body(points), label), margins(body(ends), label)
            gap = float(torch.minimum(at_ends.min(), margins(body(x), label).min()) - led.min())
            if gap > 1e-3:
                body[3].bias[label] -= float(led.min()) + gap * float(rng.uniform(0.05, 0.6))
                break
    return Pictures(seed, family, body.eval(), x, label, points)


def turned(seed: int) -> Pictures:
    """One linear layer under rotations: points are drawn by the set itself, so they show only what is not attained."""
    rng = np.random.default_rng([seed, 52])
    body = nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).double().eval()
    with torch.no_grad():
        body[1].weight.copy_(torch.from_numpy(rng.normal(0, 1, (2, 9))))
        body[1].bias.zero_()
        x = torch.from_numpy(rng.uniform(0.25, 0.75, (1, 1, 3, 3)))
        label = int(body(x).argmax())
    drawn = Pictures(seed, "rotation", body, x, label, x)
    generator = torch.Generator().manual_seed(seed)
    points = torch.cat([drawn.input_set().sample(generator) for _ in range(200)]).view(-1, 1, 3, 3)
    return replace(drawn, points=points)


def _points(family: str, x: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Points of the set, and those that are its ends."""
    if family == "patch":
        out = []
        for place in range(9):
            for value in (0.0, 1.0, *rng.random(30)):
                flat = x.flatten().clone()
                flat[place] = value
                out.append(flat.view(1, 3, 3))
        points = torch.stack(out)
        return points, torch.cat((points[::32], points[1::32]))
    moves = torch.linspace(-0.1999, 0.1999, 401).double().view(-1, 1, 1, 1)
    points = x + moves if family == "brightness" else x * (1 + moves)
    return points, points[[0, -1]]


def check_pictures(case: Pictures) -> Outcome:
    """Cells over every ladder, and the ladder alone."""
    out = Outcome()
    function = evaluated(case.module)
    least = float(margins(outputs_of(function, case.points), case.label).min())
    clean = float(margins(outputs_of(function, case.x), case.label))
    input_set, labels = case.input_set(), torch.tensor([case.label])
    network = Network.capture(case.module, tuple(case.x.shape[1:]))
    for steps in STEPS:
        methods: dict[str, Callable[[], Verifier]] = {"Ladder": lambda steps=steps: Ladder(steps)}
        methods |= {f"Cells({n})": lambda n=n, steps=steps: Cells(n, Ladder(steps)) for n in (2, 3)}
        for name, method in methods.items():
            what = f"{name} {'-'.join(steps)}"
            found = out.asked(what, lambda method=method: epsball.verify(network, input_set, labels, method=method()))
            if not isinstance(found, list):
                continue
            verdict = found[0]
            out.verdicts.append(f"{what}: {verdict.status}")
            if verdict.status == "verified" and least <= 0:
                out.findings.append(("verified is broken", f"{what}: margin {verdict.margin:.6g}, the module has {least:.6g}"))
            if verdict.status == "verified" and not verdict.margin > 0:
                out.findings.append(("verified without margin", f"{what}: {verdict.margin}"))
            _exact(what, verdict, min(least, clean), out)
    return out


def _exact(what: str, verdict: epsball.Verdict, least: float, out: Outcome) -> None:
    for name in SLOW:
        value = verdict.proven.get(name, float("-inf"))
        if value > float("-inf") and verdict.steps[name].exact and least - value > 0.02 * (1 + abs(least)):
            out.findings.append(("exact, yet nothing attains it", f"{what}: {name} {value:.6g}, found {least:.6g}"))
        if value > least + ALLOWANCE[torch.float64]:
            out.findings.append(("margin broken", f"{what}: {name} proves {value:.9g}, the module has {least:.9g}"))
