"""How tight the bounds of each hidden layer are: the "layer" lines of a record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from epsball.bounding.affine.forward import Forward, forward_intervals
from epsball.bounding.affine.zonotope import Zonotope
from epsball.bounding.budget.within import Within
from epsball.bounding.ibp import Ibp, intervals
from epsball.bounding.intersection import Intersection
from epsball.bounding.linear.alpha import AlphaCrown
from epsball.bounding.linear.crown import Crown
from epsball.device import exact_arithmetic
from epsball.errors import BadConfig, did_you_mean
from epsball.forms.rows import node_flat
from epsball.ops.operator import Nonlinear
from epsball.problem.problem import Budget, check_input
from epsball.record.lines import LayerLine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epsball.bounding.base import Bounder
    from epsball.forms.interval import Interval
    from epsball.ops.network import Network
    from epsball.ops.prepared import Layer, Prepared
    from epsball.problem.sets import InputSet


# by name: what bounds hidden neurons. "crown-..." says where the bounds of the layers before come from; "crown" takes the tightest
METHODS: dict[str, Bounder] = {
    "ibp": Ibp(),
    "forward": Forward(),
    "zonotope": Zonotope(),
    "dual": AlphaCrown(slope="same", intermediate="crown", steps=0),  # as WongKolter bounds its own hidden neurons
    "crown-ibp": Crown(intermediate="ibp"),
    "crown-forward": Crown(intermediate="forward"),
    "crown-alone": Crown(intermediate="crown"),
    "crown": Crown(full=True),
}
_MEANS = ("width", "active", "inactive", "unstable")


def check_methods(names: Sequence[str]) -> None:
    """Raise unless all are names of `METHODS`, each at most once.

    Raises:
        BadConfig: an unknown one, one that is named twice, or none at all.
    """
    for name in names:
        if name not in METHODS:
            fix = did_you_mean(name, METHODS) or f"use {', '.join(METHODS)}"
            raise BadConfig(f"no layer bounds by {name!r}", where="--method", fix=fix)
    if not names or len(set(names)) < len(names):
        raise BadConfig("each method once, and at least one", where="--method", fix="name them with commas: ibp,crown")


def costs(names: Sequence[str]) -> dict[str, Bounder]:
    """For an estimate of what the layers take: CROWN bounds every neuron, after those that its source has bounded."""
    return {name: _cost(METHODS[name]) for name in names}


def _cost(method: Bounder) -> Bounder:
    if not isinstance(method, Crown):
        return method
    rows = Crown(full=True)
    return Intersection((Forward(), rows)) if method.intermediate == "forward" else rows


def layer_lines(
    network: Network, input_set: InputSet, methods: Sequence[str] = ("ibp", "crown"), budget: Budget | None = None
) -> list[LayerLine]:
    """The bounds of what enters each non-linear layer, over the input sets of a batch.

    Args:
        network: the network, with its parameters as they are now.
        input_set: one set a sample, inputs of shape (B, *x) in the network's precision.
        methods: names of `METHODS`.
        budget: memory; samples are taken in parts that fit.

    Returns:
        A line for each method and layer: the neurons of one sample, the mean width of their bounds, the shares that are active
        (lower bound at least 0), inactive (upper bound at most 0) and unstable, over all neurons and samples, the seconds of
        the method for all layers together, and on a CUDA device its peak memory in bytes. A layer that reads several values
        counts all of them.

    Raises:
        BadConfig: an unknown method, or a budget that does not hold one row.
        BadShape: the set does not fit the network.
    """
    check_methods(methods)
    check_input(input_set.centre, network.input_shape)
    prepared = network.prepare(covers="nothing")  # widths are compared, nothing is proven
    layers = [step for step in prepared.before_frontier if isinstance(step.op, Nonlinear)]
    lines = []
    with torch.no_grad(), exact_arithmetic():
        for name in methods:
            method, samples = Within(METHODS[name], budget or Budget()).cut(prepared, input_set, 0)
            parts = torch.split(torch.arange(len(input_set.centre), device=input_set.centre.device), samples)
            own: list[list[LayerLine]] = []
            for part in parts:
                found, cost = _measured(method, prepared, input_set.take(part) if len(parts) > 1 else input_set)
                own.append([LayerLine(**_layer(step, found), **cost, method=name) for step in layers])
            lines += [_joined(same, [len(part) for part in parts]) for same in zip(*own, strict=True)]
    return lines


def _joined(lines: Sequence[LayerLine], counts: Sequence[int]) -> LayerLine:
    """One layer's line from those of several parts of the samples."""
    first = lines[0]
    if len(lines) == 1:
        return first
    parts = {key: [getattr(line, key) for line in lines] for key in _MEANS}
    means = {
        key: None if None in values else sum(v * n for v, n in zip(values, counts, strict=True)) / sum(counts)
        for key, values in parts.items()
    }
    peaks = [line.peak_bytes for line in lines if line.peak_bytes is not None]
    return first.model_copy(
        update={
            **means,
            "seconds": sum(line.seconds or 0.0 for line in lines),
            **({"peak_bytes": max(peaks)} if peaks else {}),
        }
    )


def found_by(method: Bounder, prepared: Prepared, input_set: InputSet) -> Mapping[int, Interval]:
    """The interval of every slot by one of `METHODS`."""
    if isinstance(method, Crown | Zonotope):
        return method.neurons(prepared, input_set)
    if isinstance(method, Forward):
        return forward_intervals(prepared, input_set, method.slope)
    return intervals(prepared, input_set.hull())


def _measured(method: Bounder, prepared: Prepared, input_set: InputSet) -> tuple[Mapping[int, Interval], dict[str, Any]]:
    cuda = prepared.device.type == "cuda"
    if cuda:
        torch.cuda.synchronize(prepared.device)
        torch.cuda.reset_peak_memory_stats(prepared.device)
    start = time.perf_counter()
    found = found_by(method, prepared, input_set)
    if not cuda:
        return found, {"seconds": time.perf_counter() - start}
    torch.cuda.synchronize(prepared.device)
    return found, {"seconds": time.perf_counter() - start, "peak_bytes": torch.cuda.max_memory_allocated(prepared.device)}


def _layer(step: Layer, found: Mapping[int, Interval]) -> dict[str, Any]:
    lower = torch.cat([node_flat(found[slot].lower, 1) for slot in step.args], 1)
    upper = torch.cat([node_flat(found[slot].upper, 1) for slot in step.args], 1)
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
