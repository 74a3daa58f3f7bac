"""A network as it can be asked: it takes such inputs, answers with one tensor, and leaves what it is given as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from epsball.errors import BadCapture, BadConfig, BadData, BadShape, EpsballError

if TYPE_CHECKING:
    from epsball.types import Function, Tensor


class Copied(nn.Module):
    """A network that writes into its input, given a copy of it.

    Args:
        inner: maps (B, *x) to (B, K).
    """

    def __init__(self, inner: Function) -> None:
        super().__init__()
        self.inner = inner
        self.training = inner.training if isinstance(inner, nn.Module) else False

    def forward(self, x: Tensor) -> Tensor:
        """What the network answers; x stays as it is."""
        return self.inner(x.clone())


def settled(function: Function, example: Tensor) -> Function:
    """A network as it is; a `Copied` of one that writes into its input. It is asked once.

    Args:
        function: in evaluation mode.
        example: (B, *x), which stays as it is.

    Raises:
        BadConfig: no network.
        BadCapture: parameters without a shape yet, or an answer that is not one tensor.
        BadShape: it does not take such inputs.
        BadData: it computes in another precision.
    """
    initialised(function)
    given = example.detach().clone()
    before = given._version  # noqa: SLF001 - how often a tensor was written to: also where its values stay
    with torch.no_grad():
        one_tensor(_asked(function, given), function)
    kept = given._version == before and torch.equal(given, example)  # noqa: SLF001
    return function if kept else Copied(function)


def initialised(function: Any) -> None:
    """Raise for what is no network, and for one whose lazy layers have not seen an input.

    Raises:
        BadConfig, BadCapture: see `settled`.
    """
    if not callable(function):
        fix = f"give epsball.load({str(function)!r})" if isinstance(function, str) else "give a torch.nn.Module"
        raise BadConfig(f"a {type(function).__name__} is no network", where="net", fix=fix)
    if isinstance(function, nn.Module):
        for name, tensor in (*function.named_parameters(), *function.named_buffers()):
            if is_lazy(tensor):
                raise BadCapture(
                    f"the network's {name!r} has no shape yet: a lazy layer that has seen no input",
                    where=type(function).__name__,
                    fix="run it once, net(x[:1]), and train it or load its weights",
                )


def one_tensor(found: object, function: object) -> Tensor:
    """An answer that is one tensor.

    Raises:
        BadCapture: several, a dictionary of them, or none.
    """
    if isinstance(found, torch.Tensor):
        return found
    how = "return one tensor of logits (B, K)"
    if isinstance(found, Mapping):
        what, how = f"a {type(found).__name__} of {', '.join(map(str, found))}", f"{how}: out[{next(iter(found), 'logits')!r}]"
    elif isinstance(found, (tuple, list)):
        what, how = f"{len(found)} outputs", f"{how}: out[0]"
    else:
        what = f"a {type(found).__name__}"
    raise BadCapture(f"the network returns {what}", where=name_of(function), fix=f"{how}, from a module around this one")


def name_of(function: object) -> str:
    """What a network is called in a message: its class, or the name of a function."""
    return type(function).__name__ if isinstance(function, nn.Module) else str(getattr(function, "__name__", function))


def first_line(error: Exception) -> str:
    """Of an error's message; with its kind where it has none, or is a bare key."""
    text = str(error).strip()
    return text.splitlines()[0] if text and not isinstance(error, KeyError) else f"{type(error).__name__} {text}".strip()


def floating(module: nn.Module, inputs: torch.dtype) -> torch.Tensor:
    """A tensor of the dtype and device that a module computes in: one of its own, or an empty one of its inputs' dtype."""
    own = (p for p in (*module.parameters(), *module.buffers()) if p.is_floating_point())
    return next(own, torch.empty(0, dtype=inputs))


def _asked(function: Function, x: Tensor) -> object:
    try:
        return function(x)
    except EpsballError:
        raise
    except Exception as error:
        dtype = floating(function, x.dtype).dtype if isinstance(function, nn.Module) else x.dtype
        if dtype != x.dtype:
            raise BadData(
                f"inputs of {x.dtype} for a network that computes in {dtype}",
                where=name_of(function),
                fix=f"give x.to({dtype}), or the network in the precision of the inputs",
            ) from error
        own = "" if isinstance(error, (RuntimeError, ValueError, IndexError, KeyError)) else f"{type(error).__name__}: "
        raise BadShape(
            f"the network cannot be run on inputs of shape {tuple(x.shape[1:])}: {own}{first_line(error)}",
            where=name_of(function),
            fix="give inputs (B, *x) of the shape that the network takes, with any number of samples B",
        ) from error
