"""How tight the bounds of each hidden layer are: the "layer" lines of a record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from epsball.bounding.crown import Crown
from epsball.bounding.ibp import intervals
from epsball.device import exact_arithmetic
from epsball.errors import BadConfig
from epsball.graph.operator import Nonlinear
from epsball.spec.problem import check_input

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from epsball.graph.network import Network
    from epsball.graph.plan import Bound, Prepared
    from epsball.interval import Interval
    from epsball.spec.sets import InputSet

    Finder = Callable[[Prepared, InputSet], Mapping[int, Interval]]


def _ibp(prepared: Prepared, input_set: InputSet) -> Mapping[int, Interval]:
    return intervals(prepared, input_set.hull())


def _crown(prepared: Prepared, input_set: InputSet) -> Mapping[int, Interval]:
    return Crown(full=True).relax(prepared, input_set)[0]


METHODS: dict[str, Finder] = {"ibp": _ibp, "crown": _crown}


def layer_lines(network: Network, input_set: InputSet, methods: Sequence[str] = ("ibp", "crown")) -> list[dict[str, Any]]:
    """The bounds of what enters each non-linear layer, over the input sets of a batch.

    Args:
        network: the network, with its parameters as they are now.
        input_set: one set a sample, inputs of shape (B, *x) in the network's precision.
        methods: names of `METHODS`.

    Returns:
        A line for each method and layer: the neurons of one sample, the mean width of their bounds, the shares that are active
        (lower bound at least 0), inactive (upper bound at most 0) and unstable, over all neurons and samples, the seconds of
        the method for all layers together, and on a CUDA device its peak memory in bytes. A layer that reads several values
        counts all of them.

    Raises:
        BadConfig: an unknown method.
        BadShape: the set does not fit the network.
    """
    for name in methods:
        if name not in METHODS:
            raise BadConfig(f"no layer bounds by {name!r}", fix=f"use {' or '.join(METHODS)}")
    check_input(input_set.centre, network.input_shape)
    prepared = network.prepare()
    layers = [step for step in prepared.before_frontier if isinstance(step.op, Nonlinear)]
    lines = []
    with torch.no_grad(), exact_arithmetic():
        for name in methods:
            found, cost = _measured(METHODS[name], prepared, input_set)
            lines += [{"type": "layer", **_layer(step, found), "method": name, **cost} for step in layers]
    return lines


def _measured(find: Finder, prepared: Prepared, input_set: InputSet) -> tuple[Mapping[int, Interval], dict[str, float]]:
    cuda = prepared.device.type == "cuda"
    if cuda:
        torch.cuda.synchronize(prepared.device)
        torch.cuda.reset_peak_memory_stats(prepared.device)
    start = time.perf_counter()
    found = find(prepared, input_set)
    if not cuda:
        return found, {"seconds": time.perf_counter() - start}
    torch.cuda.synchronize(prepared.device)
    return found, {"seconds": time.perf_counter() - start, "peak_bytes": torch.cuda.max_memory_allocated(prepared.device)}


def _layer(step: Bound, found: Mapping[int, Interval]) -> dict[str, Any]:
    lower = torch.cat([found[slot].lower.flatten(1) for slot in step.args], 1)
    upper = torch.cat([found[slot].upper.flatten(1) for slot in step.args], 1)
    active, inactive = lower >= 0, (upper <= 0) & (lower < 0)
    return {
        "name": step.node.name,
        "op": step.node.op,
        "neurons": lower.shape[1],
        "width": float((upper - lower).double().mean()),
        "active": float(active.double().mean()),
        "inactive": float(inactive.double().mean()),
        "unstable": float((~(active | inactive)).double().mean()),
    }
