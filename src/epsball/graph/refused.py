"""What capture refuses by name: operators without bounds, a second precision, random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from epsball.errors import BadCapture, UnsupportedOp, did_you_mean
from epsball.graph.graph import Where

PRECISIONS = (torch.float32, torch.float64)

_REFUSED = {
    "detach": "its derivative is zero, so no linear bound follows from it",
    "round": "its derivative is zero, so no linear bound follows from it",
    "gt": "comparisons have no bound rule",
    "lt": "comparisons have no bound rule",
    "ge": "comparisons have no bound rule",
    "le": "comparisons have no bound rule",
}


_NEAREST = {
    **dict.fromkeys(("gt", "lt", "ge", "le", "eq", "ne"), "relu, clamp, torch.maximum or torch.minimum"),
    **dict.fromkeys(("topk", "sort", "argsort", "median", "kthvalue", "argmax", "argmin"), "amax or amin, or return the logits"),
    **dict.fromkeys(("round", "floor", "ceil", "trunc", "detach"), "the value itself"),
    "cumsum": "a product with a constant triangular matrix",
    "prod": "a chain of products",
    "embedding": "the vectors of the words as the input (docs/how-to/text.md)",
    "tan": "sin and cos",
    "sinh": "exp",
    "cosh": "exp",
    "hypot": "square and sqrt",
    "cdist": "sub, square and sum",
}

_SWITCHES = ("train", "training", "p", "dropout_p", "dropout")  # of these arguments a false one turns an operator's noise off


def not_covered(name: str, where: Where, table: Mapping[str, object]) -> UnsupportedOp:
    """The error of an operator that is not in the table."""
    why = _REFUSED.get(name, "")
    near = f"use {_NEAREST[name]} instead" if name in _NEAREST else f"{did_you_mean(name, table)} replace the operator".strip()
    return UnsupportedOp(
        f"no bounds for `{name}`" + (f": {why}" if why else ""),
        where=str(where),
        fix=f"{near}; {len(table)} are covered: epsball list ops",
    )


def draws(target: object, arguments: Mapping[str, Any]) -> bool:
    """Whether an operator draws random numbers when it is called with these arguments."""
    tags = getattr(target, "tags", ())  # Python's own functions have none
    return torch.Tag.nondeterministic_seeded in tags and all(arguments.get(switch, True) for switch in _SWITCHES)


def noise(what: str, where: str) -> BadCapture:
    """The error of a network that draws random numbers as it runs."""
    return BadCapture(
        f"the network has noise in its forward pass: {what}, so it has no bounds",
        where=where,
        fix="draw none in evaluation mode (F.dropout takes training=self.training); for noise on the input: epsball certify",
    )


def one_precision(name: str, found: torch.dtype, wanted: torch.dtype, where: Where) -> None:
    """Raise unless an operator's result has the precision of the whole network.

    A graph computes in one precision. A cast to a narrower one rounds, which no bound of the graph sees; after one to a wider one
    the graph's rounding is not the network's.

    Raises:
        UnsupportedOp: the result has another type.
    """
    if found == wanted:
        return
    if not (found.is_floating_point or found.is_complex):
        raise UnsupportedOp(
            f"`{name}` gives {_short(found)}: a cast to integers has no bounds",
            where=str(where),
            fix="keep the network in floating point",
        )
    raise UnsupportedOp(
        f"`{name}` gives {_short(found)} in a network of {_short(wanted)}: bounds hold for one precision throughout",
        where=str(where),
        fix=f"remove the cast or autocast there, or convert the whole network with .to(torch.{_short(wanted)})",
    )


def whole_precision(dtype: torch.dtype, where: str) -> None:
    """Raise unless a network's parameters have a precision that bounds are computed in.

    Raises:
        UnsupportedOp: they are of half precision, or complex.
    """
    if dtype not in PRECISIONS:
        raise UnsupportedOp(
            f"the network computes in {_short(dtype)}: bounds hold for float32 and float64",
            where=where,
            fix="convert it with .float(), and verify what you will run: the converted network",
        )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
