"""What the bounds of each ReLU look like during a run: which units are decided, and how wide the bounds are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from epsball.training.interval_pass import Bounded, training_box

if TYPE_CHECKING:
    from epsball.examples import Examples
    from epsball.forms.interval import Interval
    from epsball.ops.network import Network
    from epsball.ops.prepared import Layer
    from epsball.types import Tensor


class LayerStates(NamedTuple):
    """Shares of a ReLU layer's units, over a batch, and how many units it has."""

    name: str
    active: float
    inactive: float
    unstable: float
    neurons: int


class LayerWidth(NamedTuple):
    """Mean width of what enters a ReLU layer, and how far its clean values spread over a batch (deviation, mean square)."""

    name: str
    width: float
    spread: float


@dataclass(frozen=True)
class Census:
    """ReLU states at the radius in force, on a fixed batch of held-out examples."""

    epoch: int
    layers: list[LayerStates]
    eps: float = 0.0


@dataclass(frozen=True)
class Tightness:
    """Interval bounds of each layer after an epoch (0: before the first step), on a fixed batch of held-out examples.

    Attributes:
        epoch: which one ended.
        step: steps done.
        eps: the radius that the run is judged at, the same in every epoch, so that epochs compare.
        input: mean width of the box as the first layer sees it, normalised: the thesis' E(Delta_0).
        layers: E(Delta_i) and the clean spread of each layer.
    """

    epoch: int
    step: int
    eps: float
    input: float
    layers: list[LayerWidth]


def census(net: Network, data: Examples, eps: float, clip: tuple[float, float] | None) -> list[LayerStates]:
    """How many units of each ReLU interval bounds prove active (l >= 0) or inactive (u <= 0), and how many neither.

    A unit that is always 0 is inactive. Of a network without bounds nothing is known.
    """
    if net.plan.unbounded is not None:
        return []
    relus = _bounded(net, data, eps, clip).relus
    found = torch.stack([_shares(pre) for _, pre in relus]).tolist() if relus else []
    return [
        LayerStates(name, active, inactive, max(0.0, 1.0 - active - inactive), pre.lower[0].numel())
        for name, (_, pre), (active, inactive) in zip(names([step for step, _ in relus]), relus, found, strict=True)
    ]


def tightness(net: Network, data: Examples, eps: float, clip: tuple[float, float] | None) -> tuple[float, list[LayerWidth]]:
    """Mean width of the box that the first layer sees, and of the interval bounds of what enters each ReLU.

    Widths alone say little: scaling a layer scales its bounds and its values alike. So each comes beside the spread of the layer's
    clean values over the batch; it has to be smaller than that for the network to tell examples apart inside their balls.
    """
    bounded, clean = _bounded(net, data, eps, clip), _bounded(net, data, 0.0, None)
    widths = [pre.width.double().mean() for _, pre in bounded.relus]
    spreads = [pre.lower.double().var(0, correction=0).mean().sqrt() for _, pre in clean.relus]
    values = torch.stack([bounded.input.width.double().mean(), *widths, *spreads]).tolist()
    known = names([step for step, _ in bounded.relus])
    return values[0], [LayerWidth(*each) for each in zip(known, values[1 : 1 + len(known)], values[1 + len(known) :], strict=True)]


def names(steps: list[Layer]) -> list[str]:
    """A name for each step: its module, or its node where several steps are of one module."""
    modules = Counter(step.node.where.module for step in steps)
    return [
        step.node.where.module if step.node.where.module and modules[step.node.where.module] == 1 else step.node.name
        for step in steps
    ]


def _bounded(net: Network, data: Examples, eps: float, clip: tuple[float, float] | None) -> Bounded:
    with torch.no_grad():
        network = net.prepare(covers="nothing")
        return Bounded.over(network, training_box(net.embed(data.inputs()).to(network.dtype), eps, clip))


def _shares(pre: Interval) -> Tensor:
    inactive = pre.upper <= 0
    return torch.stack((((pre.lower >= 0) & ~inactive).double().mean(), inactive.double().mean()))
