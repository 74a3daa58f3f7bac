"""An attack on the user's own module in its own precision: samples, corners, edges, sign gradients with restarts."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from tests.red.regions import Region
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor]
Goal = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Effort:
    """How hard to try."""

    samples: int = 256
    corners: int = 256
    restarts: int = 6
    steps: int = 12
    ends: bool = True


QUICK = Effort(64, 64, 3, 5, ends=False)
LIGHT = Effort(128, 128, 3, 5)
HARD = Effort()


def evaluated(module: nn.Module) -> Function:
    """The module in evaluation mode, on a copy of its inputs: some modules write into what they are given."""
    judge = deepcopy(module).eval()

    def run(x: Tensor) -> Tensor:
        return judge(x.clone())

    return run


def candidates(region: Region, sample: int, effort: Effort, generator: torch.Generator) -> Tensor:
    """Points (n, *x) of the set: the centre, a grid in one or two dimensions, uniform ones, corners and mixtures."""
    low, high = (end[sample].flatten() for end in region.ends)
    dtype, d = low.dtype, low.numel()
    unit = torch.rand(effort.samples, d, generator=generator, dtype=torch.float64).to(dtype)
    if d <= 2:
        side = torch.linspace(0, 1, 4 * effort.samples if d == 1 else int(effort.samples**0.5) * 2, dtype=dtype)
        unit = torch.cartesian_prod(*[side] * d).view(-1, d)
    if d <= 8:
        corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=dtype)] * d).view(-1, d)
    else:
        corners = torch.randint(0, 2, (effort.corners, d), generator=generator).to(dtype)
    pick = torch.randint(0, 3, (effort.samples, d), generator=generator)
    mixed = torch.where(pick == 0, 0.0, torch.where(pick == 1, 1.0, torch.rand(effort.samples, d, generator=generator))).to(dtype)
    edges = torch.full((2 * d, d), 0.5, dtype=dtype)
    edges[torch.arange(d), torch.arange(d)], edges[torch.arange(d, 2 * d), torch.arange(d)] = 0.0, 1.0
    points = low + torch.cat((unit, corners, mixed, edges)) * (high - low)
    points = torch.cat((region.centre[sample].flatten()[None], points)).view(-1, *region.centre.shape[1:])
    return region.pull(sample, points)


def margins(outputs: Tensor, label: int) -> Tensor:
    """By how much the label leads, at each point; one output is read by its sign."""
    wide = outputs.double()
    if wide.shape[1] == 1:
        return wide[:, 0] if label == 1 else -wide[:, 0]
    others = torch.cat((wide[:, :label], wide[:, label + 1 :]), 1)
    return wide[:, label] - others.amax(1)


def climb(function: Function, region: Region, sample: int, goal: Goal, starts: Tensor, steps: int) -> Tensor:
    """Every point on the way of signed steps (in an l2 ball: of steps down the slope) that lower a goal of the outputs."""
    low, high = (end[sample] for end in region.ends)
    found, points = [starts], starts
    for step in range(steps):
        x = points.detach().clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(goal(function(x)).sum(), x)
        stride = (high - low) * 0.5 * 0.75**step
        slope = slope.nan_to_num()
        steepest = slope / slope.flatten(1).norm(dim=1).clamp(min=1e-30).view(-1, *[1] * (x.dim() - 1))
        way = steepest if region.kind == "l2" else slope.sign()
        points = region.pull(sample, points - stride * way)
        found.append(points)
    return torch.cat(found)


def points_of(function: Function, region: Region, sample: int, label: int, effort: Effort, seed: int) -> Tensor:
    """Everything that was tried for one sample: for its margin and, with the hard effort, for both ends of every output."""
    generator = torch.Generator().manual_seed(seed)
    points = candidates(region, sample, effort, generator)
    outputs = outputs_of(function, points)
    goals: list[Goal] = [lambda z: margins(z, label)]
    if effort.ends:
        for k in range(outputs.shape[1]):
            goals += [lambda z, k=k: z[:, k], lambda z, k=k: -z[:, k]]
    starts = [points[goal(outputs).nan_to_num(float("inf")).argsort()[: effort.restarts]] for goal in goals]

    def each_its_own(z: Tensor) -> Tensor:
        return torch.cat([goal(part) for goal, part in zip(goals, z.split([len(s) for s in starts]), strict=True)])

    try:
        return torch.cat((points, climb(function, region, sample, each_its_own, torch.cat(starts), effort.steps)))
    except RuntimeError:  # no gradient: an operator without one, or an output that doesn't depend on the input
        return points


def outputs_of(function: Function, points: Tensor) -> Tensor:
    with torch.no_grad():
        return function(points)


def broken(function: Function, region: Region, sample: int, label: int, points: Tensor) -> tuple[float, Tensor]:
    """The least margin at points of the exact set, and where; each is asked for alone as well, as a user would."""
    worth = margins(outputs_of(function, points), label)
    worth = worth.nan_to_num(float("inf"))
    for index in worth.argsort()[:8].tolist():
        point = points[index]
        if region.contains(sample, point):
            alone = margins(outputs_of(function, point[None]), label).item()
            return max(alone, worth[index].item()), point
    return float("inf"), region.centre[sample]
