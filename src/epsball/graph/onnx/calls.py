"""One node's call: its arguments, its attributes, and the table of what each operator does.

A value is a tensor, or an array of the host: shapes, axes and other numbers that follow from the file and from shapes alone. An
array's elements may be torch's symbolic sizes, so a batch of any size runs through `Shape -> Gather -> Concat -> Reshape`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from epsball.errors import BadFile, UnsupportedOp
from epsball.types import Tensor

Array = np.ndarray[Any, Any]
Value = Tensor | Array
Layout = Literal["free", "one", "none"]
LIMIT = 2**27  # elements of one value: what a small hostile file may ask for


@dataclass(frozen=True, eq=False)
class Call:
    """A node about to run.

    Attributes:
        op: operator name, as in the file.
        where: the node in the user's file.
        inputs: its arguments; None for one left out.
        attrs: its attributes.
        outputs: how many results it has.
        opset: the version of the operator set.
        batch: length of the batch axis.
        layout: the batch axis that the file declares: "free"; "one": a batch of 1, so a leading 1 in a shape stands for the batch;
            "none": one sample without a batch axis, which is put before all others.
        known: by position, the numbers of short constant arguments.
    """

    op: str
    where: str
    inputs: tuple[Value | None, ...]
    attrs: Mapping[str, Any]
    outputs: int
    opset: int
    batch: Any
    layout: Layout
    known: Mapping[int, tuple[float, ...]]

    def has(self, index: int) -> bool:
        """Whether an argument is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def tensor(self, index: int) -> Tensor:
        """An argument as a tensor.

        Raises:
            BadFile: it is missing.
        """
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise BadFile(f"input {index} of `{self.op}` is missing", where=self.where, fix="export the network again")
        if isinstance(value, torch.Tensor):
            return value
        like = next(
            (v for v in self.inputs if isinstance(v, torch.Tensor) and v.is_floating_point()), torch.empty(0, dtype=torch.float32)
        )
        made = torch.from_numpy(np.array(plain(value, self)))
        return made.to(like.device, like.dtype) if made.is_floating_point() else made.to(like.device)

    def tensors(self) -> list[Tensor]:
        """All arguments as tensors."""
        return [self.tensor(i) for i in range(len(self.inputs))]

    def number(self, index: int, default: float) -> float:
        """A constant argument of one element.

        Raises:
            UnsupportedOp: it is not constant.
        """
        if not self.has(index):
            return default
        found = self.numbers(index)
        if len(found) != 1:
            raise self.refuse(f"input {index} must be a constant number", "a constant")
        return found[0]

    def numbers(self, index: int) -> tuple[float, ...]:
        """A short constant argument; empty where it is not one."""
        value = self.inputs[index]
        if isinstance(value, np.ndarray):
            return tuple(float(v) for v in value.reshape(-1))
        return self.known.get(index, ())

    def ints(self, index: int, name: str = "") -> list[Any] | None:
        """Whole numbers from an attribute (older operator sets) or from an argument; None where neither is given.

        Raises:
            UnsupportedOp: the argument depends on the network's input.
        """
        if name and name in self.attrs:
            found = self.attrs[name]
            return list(found) if isinstance(found, (list, tuple)) else [found]
        if not self.has(index):
            return None
        value = self.inputs[index]
        if not isinstance(value, np.ndarray):
            raise self.refuse(f"input {index} ({name or 'a shape'}) depends on values", "constant shapes and axes")
        return [n if isinstance(n, torch.SymInt) else int(n) for n in value.reshape(-1)]

    def refuse(self, what: str, nearest: str) -> UnsupportedOp:
        """The error of a form of an operator that is not covered."""
        return UnsupportedOp(f"no bounds for the ONNX operator `{self.op}`: {what}", where=self.where, fix=f"use {nearest}")

    def fits(self, sizes: Sequence[Any]) -> None:
        """Raise unless a value of this shape may be made.

        Raises:
            BadFile: it is larger than any network needs.
        """
        known = [int(n) for n in sizes if not isinstance(n, torch.SymInt)]
        if math.prod(known) > LIMIT or any(n < 0 for n in known):
            raise BadFile(
                f"`{self.op}` asks for a value of shape {tuple(known)}",
                where=self.where,
                fix="the file is damaged or hostile: export it again",
            )


def plain(value: Array, call: Call) -> Array:
    """An array of the host whose elements are ordinary numbers.

    Raises:
        UnsupportedOp: it holds the batch size, which is no value of a network.
    """
    if value.dtype != object:
        return value
    if any(isinstance(n, torch.SymInt) for n in value.reshape(-1)):
        raise call.refuse("the batch size is used as a value", "a network whose samples do not see the batch size")
    return value.astype(np.int64)


Handler = Callable[[Call], "Value | list[Value]"]
TABLE: dict[str, Handler] = {}
HOST: dict[str, Handler] = {}
H = TypeVar("H", bound=Handler)


def operator(*names: str) -> Callable[[H], H]:
    """File what an operator does to tensors under its ONNX names."""

    def keep(handler: H) -> H:
        TABLE.update(dict.fromkeys(names, handler))
        return handler

    return keep


def on_host(*names: str) -> Callable[[H], H]:
    """File what an operator does where all its arguments are numbers of the host."""

    def keep(handler: H) -> H:
        HOST.update(dict.fromkeys(names, handler))
        return handler

    return keep


def axis_of(call: Call, axis: int, rank: int) -> int:
    """A non-negative axis.

    Raises:
        BadFile: there is no such axis.
    """
    if not -rank <= axis < max(rank, 1):
        raise BadFile(f"`{call.op}` names axis {axis} of {rank}", where=call.where, fix="export the network again")
    return axis % max(rank, 1)
