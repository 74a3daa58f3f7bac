"""What callers of the public functions give: a module or a network, inputs and a radius or a set."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn

from epsball.attacks.base import Attack, attacks
from epsball.attacks.untouched import untouched
from epsball.errors import BadConfig, BadData, BadShape, did_you_mean
from epsball.graph.settled import floating, initialised, settled
from epsball.ops.network import Network
from epsball.problem.labels import as_labels
from epsball.problem.problem import check_input
from epsball.problem.property import Property, robust
from epsball.problem.sets import NORMS, Box, Clip, InputSet, LpBall, Norm
from epsball.verification.base import Verifier
from epsball.verification.ladder import Ladder, steps_named

if TYPE_CHECKING:
    from epsball.problem.threat import Threat
    from epsball.types import Tensor

Net = nn.Module | Network
Inputs = Any
"""(B, *x) inputs as a tensor, a numpy array or lists; or an input set. Arrays and lists take the network's own precision."""
Labels = Any
"""(B,) whole numbers as a tensor, a numpy array or a list; or a `Property`."""
Radius = float | str | torch.Tensor
"""A number, an exact fraction such as "8/255"; a tensor, array or list that fits the inputs: one a sample or feature (linf)."""
NormName = str | float
"""A norm by its name or its order: "linf", "Linf", `float("inf")`, 2, ..."""

_NORMS: dict[str, Norm] = {
    "linf": "linf",
    "l2": "l2",
    "l1": "l1",
    "l0": "l0",
    **dict.fromkeys(("inf", "Linf", "l_inf", "L_inf"), "linf"),
    **dict.fromkeys(("2", "L2", "l_2", "L_2"), "l2"),
    **dict.fromkeys(("1", "L1", "l_1", "L_1"), "l1"),
    **dict.fromkeys(("0", "L0", "l_0", "L_0"), "l0"),
}


def norm_of(norm: NormName) -> Norm:
    """A norm's own name.

    Raises:
        BadConfig: no such norm.
    """
    plain = not isinstance(norm, (int, float)) or not math.isfinite(norm) or norm != int(norm)
    text = str(norm if plain else int(norm))
    if text not in _NORMS:
        raise BadConfig(f"unknown norm {norm!r}", where="norm", fix=did_you_mean(text, NORMS) or f"use {', '.join(NORMS)}")
    return _NORMS[text]


def radius_of(eps: Radius, where: str = "eps") -> float | Tensor:
    """A radius as a number, or as a tensor.

    Raises:
        BadConfig: neither, or a text that is no number.
    """
    if isinstance(eps, torch.Tensor):
        return eps if eps.dim() else float(eps)
    try:
        if isinstance(eps, str):
            return float(Fraction(eps.strip()))
        found = np.asarray(eps, dtype=np.float64)
        return torch.from_numpy(found.copy()) if found.ndim else eps
    except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise BadConfig(f"{eps!r} is not a number", where=where, fix="give 0.1 or an exact fraction such as '8/255'") from error


def inputs_of(x: Inputs, net: Any) -> Any:
    """Inputs as a tensor; tensors and sets as they are, arrays and lists in the precision of the network.

    Raises:
        BadData: values that are no numbers.
    """
    if not isinstance(x, (np.ndarray, list, tuple)):
        return x
    module = net.module if isinstance(net, Network) else net
    like = floating(module, torch.float32) if isinstance(module, nn.Module) else torch.empty(0, dtype=torch.float32)
    try:
        return torch.as_tensor(np.asarray(x), dtype=like.dtype, device=like.device)
    except (ValueError, TypeError) as error:
        raise BadData(f"inputs that are no numbers of one shape: {error}", where="x", fix="give an array (B, *x)") from error


def labels_of(y: Labels) -> Any:
    """Labels as a tensor; tensors and properties as they are."""
    if not isinstance(y, (np.ndarray, list, tuple)):
        return y
    try:
        return torch.as_tensor(np.asarray(y))
    except (ValueError, TypeError) as error:
        raise BadData(f"labels that are no numbers: {error}", where="y", fix="number the classes from 0") from error


def property_of(y: Labels, input_set: InputSet, classes: int, threshold: float) -> Property:
    """What must hold: a property as it is, or that labels are kept.

    Raises:
        BadShape, BadData: labels that do not fit.
        BadConfig: a property beside a threshold.
    """
    if isinstance(y, Property):
        if threshold:
            raise BadConfig("a property beside a threshold", where="threshold", fix="leave it out")
        return y
    x = input_set.centre
    return robust(as_labels(labels_of(y), count=len(x)).to(x.device), classes, x.dtype, threshold)


def captured(net: Net, x: Tensor, *, mixed: bool = False) -> Network:
    """A network as it is, a module captured for inputs of x's shape.

    Args:
        net: the network.
        x: (B, *x).
        mixed: whether inputs may have another precision than the network.

    Raises:
        BadShape: x does not fit the network.
        BadData: nor does its precision.
    """
    network = net if isinstance(net, Network) else Network.capture(net, tuple(x.shape[1:]), x.dtype)
    check_input(x, network.input_shape)
    if not mixed and x.dtype != network.dtype:
        raise BadData(
            f"inputs of {x.dtype} for a network that computes in {network.dtype}",
            where="x",
            fix=f"give x.to({network.dtype}), or the network in the precision of the inputs",
        )
    return network


def check_clip(clip: Any) -> None:
    """Raise for what is no valid range.

    Raises:
        BadConfig: not two numbers, the lower one first.
    """
    try:
        fits = clip is None or (len(clip) == 2 and float(clip[0]) < float(clip[1]))
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise BadConfig(
            f"{clip!r} is no valid range", where="clip", fix="give clip=(0, 1), its lower end first, or None for no range"
        )


def sets_of(x: Any) -> InputSet:
    """Inputs that are a set already.

    Raises:
        BadConfig: they are not.
    """
    if not isinstance(x, InputSet):
        fix = "give epsball.Box(x, 0.1), one for each sample"
        raise BadConfig(f"bounds are of a set, not of a {type(x).__name__}", where="input_set", fix=fix)
    return x


def verifier_of(method: Any) -> Verifier:
    """A way to decide: the ladder, steps of it by name, or a verifier as it is.

    Raises:
        BadConfig: none of them.
    """
    if method is None:
        return Ladder()
    if isinstance(method, str):
        return Ladder(steps_named(method))
    if not isinstance(method, Verifier):
        what = method.__name__ if isinstance(method, type) else type(method).__name__
        fix = (
            f"give {what}() itself"
            if isinstance(method, type) and issubclass(method, Verifier)
            else 'give method="auto" or Ladder()'
        )
        raise BadConfig(f"{what} does not verify", where="method", fix=f"{fix}; attacks go to epsball.attack")
    return method


def attack_of(method: Any) -> Attack:
    """An attack by its name, or one as it is.

    Raises:
        BadConfig: no such name, or a class in place of an attack.
    """
    if isinstance(method, str):
        return attacks[method]()
    if isinstance(method, type) or not callable(method):
        called = method.__name__ if isinstance(method, type) else type(method).__name__
        raise BadConfig(f"{called} is no attack with its options", where="method", fix=f"give {called}(), or a name such as 'pgd'")
    return cast("Attack", method)


def input_set_of(x: Any, eps: Radius | None, norm: NormName, clip: Clip, threat: Threat | None = None) -> InputSet:
    """A set as it is, or a ball or a threat around inputs.

    Raises:
        BadConfig: a set with a radius, inputs without one, a radius beside a threat, or one that is wider than the valid range.
    """
    check_clip(clip)
    if not isinstance(x, (torch.Tensor, InputSet)):
        raise BadData(f"a {type(x).__name__} is no inputs", where="x", fix="give an array (B, *x), or an input set: Box(x, 0.1)")
    if threat is not None:
        if eps is not None or not isinstance(x, torch.Tensor):
            raise BadConfig("a threat beside a radius or a set", where="threat", fix="give inputs and the threat alone")
        if norm != "linf":
            raise BadConfig("a threat beside a norm", where="norm", fix="the threat has its own: Threat(0.5, norm='l2')")
        return threat.within(clip).around(x)
    if not isinstance(x, torch.Tensor):
        if eps is not None:
            raise BadConfig("an input set has its own size", where="eps", fix="give inputs and eps, or a set without eps")
        return x
    if eps is None:
        raise BadConfig("a ball needs its radius", where="eps", fix="give eps, or a set such as Patch(x, 4) in place of x")
    name, size = norm_of(norm), radius_of(eps)
    if not isinstance(size, torch.Tensor):
        return LpBall(x, size, name, clip)
    if name != "linf":
        raise BadConfig(f"several radii in the norm {name}", where="eps", fix='give one number, or norm="linf"')
    each = size.dim() == 1 and len(size) == len(x)
    if each and len(size) == x.shape[-1]:
        raise BadConfig(
            f"{len(size)} radii may be of {len(x)} samples, or of as many features",
            where="eps",
            fix="give eps[:, None] for samples, or eps[None] for features",
        )
    if clip is not None and bool((size > clip[1] - clip[0]).any()):
        raise BadConfig(
            f"a radius of {float(size.max()):g} is larger than the whole valid range {clip}",
            where="eps",
            fix="eps is in units of the inputs: 8/255, not 8",
        )
    return Box(x, size.view(-1, *(1,) * (x.dim() - 1)) if each else size, clip)


def function_of(net: Net, x: Tensor) -> tuple[Any, int]:
    """A network as an attack may ask it, which leaves its input as it is; and how many outputs it has, seen at one input.

    Raises:
        BadShape: it does not take such inputs, or answers with something else than logits (B, K).
        BadCapture, BadConfig, BadData: see `settled`.
    """
    function: Any = net.module if isinstance(net, Network) else net
    initialised(function)
    with untouched(function), torch.no_grad():
        function = settled(function, x[:1])
        found = tuple(function(x[:1]).shape)
    if len(found) != 2:
        raise BadShape(
            f"the network answers a batch of one input with shape {found}",
            fix="return logits (B, K), or one score (B, 1): .flatten(1) keeps the batch axis, .squeeze() eats it",
        )
    return function, found[1]
