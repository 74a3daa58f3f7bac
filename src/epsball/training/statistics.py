"""The clean pass: batch-norm statistics of the unperturbed batch, for the bounds of the same step.

In training, bounds pass batch norm with the mean and variance of the clean batch, and gradients flow through them; running
statistics are updated from the same batch and used in evaluation (Shi et al. 2021, Sec. 3.2.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from epsball.errors import BadConfig
from epsball.ops.plan import Plan, Step, constants
from epsball.ops.prepared import bind
from epsball.training.base import Policy
from epsball.training.parallel import team
from epsball.training.parallel_batch import batch_norm

if TYPE_CHECKING:
    from epsball.types import Params, Tensor

POLICIES: tuple[Policy, ...] = ("clean", "detached", "adversarial", "population")


def check_policy(policy: str, allowed: tuple[Policy, ...] = POLICIES) -> None:
    """Raise unless a recipe can follow a batch-norm policy.

    Raises:
        BadConfig: it is unknown, or asks for an attacked batch where there is none.
    """
    if policy in allowed:
        return
    why = "this recipe attacks no batch" if policy in POLICIES else "unknown"
    raise BadConfig(f"batch_norm = {policy!r}: {why}", where="recipe.batch_norm", fix=f"use {', '.join(allowed)}")


@dataclass(frozen=True, eq=False)
class CleanPass:
    """What a pass over the clean batch found.

    Attributes:
        logits: (B, K), or None where they were not asked for.
        statistics: mean and variance of the batch by the name of the running buffer they stand for; `prepare(plan, params |
            statistics)` bounds the network as it is in this step.
        running: new values of the running buffers, without gradient: momentum, and the unbiased variance.
    """

    logits: Tensor | None
    statistics: Params
    running: Params


def clean_pass(plan: Plan, params: Params, x: Tensor, *, logits: bool = True, detach: bool = False) -> CleanPass:
    """Run the network on a clean batch with batch statistics.

    Args:
        plan: the network.
        params: every parameter and buffer.
        x: (B, *x).
        logits: whether the logits are needed; without them the pass ends at the last batch norm, and is empty if there is none.
        detach: return the statistics as constants; where no logits are needed nothing is then recorded for differentiation.

    Raises:
        BadConfig: a batch norm sees one value a channel, is applied twice, or keeps a cumulative average.
    """
    check_batch_norm(plan, len(x) * team().size)
    with torch.set_grad_enabled(torch.is_grad_enabled() and (logits or not detach)):
        found = _pass(plan, params, x, logits=logits)
    if not detach:
        return found
    return CleanPass(found.logits, {name: value.detach() for name, value in found.statistics.items()}, found.running)


def _pass(plan: Plan, params: Params, x: Tensor, *, logits: bool) -> CleanPass:
    fixed = constants(plan, params)
    keys = {node.name: str(node.attrs["key"]) for node in plan.constants if node.op == "param"}
    values: dict[int, Tensor] = {0: x}
    statistics: Params = {}
    running: Params = {}
    for step in _needed(plan, logits=logits):
        args = [values[slot] for slot in step.args]
        if step.node.op != "batch_norm":
            values[step.slot] = bind(step, fixed).value(*args)
            continue
        weight, bias, mean_name, var_name = (cast("str", name) for name in step.constants[1:5])
        normal = batch_norm(args[0], fixed[weight], fixed[bias], step.node.attrs["eps"])
        values[step.slot] = normal.value
        count = args[0].numel() // args[0].shape[1] * team().size
        # torch keeps the unbiased variance for evaluation, and normalises by the biased one
        for name, found, factor in ((mean_name, normal.mean, 1.0), (var_name, normal.var, count / (count - 1))):
            key = keys[name]
            statistics[key] = found
            running[key] = torch.lerp(params[key], found.detach() * factor, step.node.attrs["momentum"])
    return CleanPass(values[plan.output] if logits else None, statistics, running)


def check_batch_norm(plan: Plan, batch: int) -> None:
    """Raise unless every batch norm of a network can be trained on batches of this size.

    Raises:
        BadConfig: see `clean_pass`.
    """
    seen = set()
    for step in plan.steps:
        if step.node.op != "batch_norm":
            continue
        where = str(step.node.where)
        if batch * math.prod(step.node.shape[1:]) < 2:
            raise BadConfig("batch norm needs more than one value a channel", where=where, fix="train on batches of at least 2")
        if not step.node.attrs["momentum"]:
            raise BadConfig(
                "batch norm without momentum never updates its running statistics", where=where, fix="set momentum, such as 0.1"
            )
        if step.constants[3] in seen:
            raise BadConfig(
                "one batch norm is applied twice: its two batches have different statistics",
                where=where,
                fix="give each use its own layer",
            )
        seen.add(step.constants[3])


def _needed(plan: Plan, *, logits: bool) -> list[Step]:
    """The steps that the logits, or the batch statistics alone, depend on."""
    if logits:
        return list(plan.steps)
    needed: set[int] = set()
    kept = []
    for step in reversed(plan.steps):
        is_norm = step.node.op == "batch_norm"
        if is_norm or step.slot in needed:
            kept.append(step)
            needed.update(step.args)
    return kept[::-1]
