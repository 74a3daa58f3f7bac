"""What callers of the public functions give: a module or a network, inputs and a radius or a set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from epsball.attacks.untouched import untouched
from epsball.errors import BadConfig, BadShape
from epsball.ops.network import Network
from epsball.problem.problem import check_input
from epsball.problem.sets import Clip, InputSet, LpBall, Norm

if TYPE_CHECKING:
    from epsball.types import Tensor

Net = nn.Module | Network


def captured(net: Net, x: Tensor) -> Network:
    """A network as it is, a module captured for inputs of x's shape.

    Raises:
        BadShape: x does not fit the network.
    """
    network = net if isinstance(net, Network) else Network.capture(net, tuple(x.shape[1:]), x.dtype)
    check_input(x, network.input_shape)
    return network


def input_set_of(x: Tensor | InputSet, eps: float | None, norm: Norm, clip: Clip) -> InputSet:
    """A set as it is, or a ball around inputs.

    Raises:
        BadConfig: a set with a radius, or inputs without one.
    """
    if not isinstance(x, torch.Tensor):
        if eps is not None:
            raise BadConfig("an input set has its own size", where="eps", fix="give inputs and eps, or a set without eps")
        return x
    if eps is None:
        raise BadConfig("a ball needs its radius", where="eps", fix="give eps, or a set such as Patch(x, 4) in place of x")
    return LpBall(x, eps, norm, clip)


def outputs_of(function: Any, x: Tensor) -> int:
    """How many outputs a function has, seen at one input.

    Raises:
        BadShape: it does not take such inputs, or answers with something else than logits (B, K).
    """
    try:
        with untouched(function), torch.no_grad():
            found: tuple[int, ...] = tuple(function(x[:1]).shape)
    except (RuntimeError, ValueError, IndexError) as error:
        raise BadShape(
            f"the network cannot be run on inputs of shape {tuple(x.shape[1:])}: {error}",
            fix="give a batch (B, *x) of the shape that the network takes",
        ) from error
    if len(found) != 2:
        raise BadShape(
            f"the network answers a batch of one input with shape {found}", fix="return logits (B, K), or one score (B, 1)"
        )
    return found[1]
