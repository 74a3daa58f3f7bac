"""Properties of the output: every row of `C y + d` is positive."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from epsball.errors import BadConfig, BadData, BadShape
from epsball.forms.rows import Rows
from epsball.problem.labels import as_labels
from epsball.problem.sets.base import outward
from epsball.types import Float, Tensor


@dataclass(frozen=True, eq=False)
class Property:
    """All of `C y + d > 0`, for each sample its own C and d.

    Attributes:
        C: (R, B, K).
        d: (R, B), or None for 0.
        ties: whether a row that is exactly 0 breaks the property. If not, it neither holds nor is broken there: a network whose two
            largest outputs are equal may answer either class.

    Raises:
        BadShape: no row at all, which would hold for every network, or C and d that do not fit.
    """

    C: Tensor
    d: Tensor | None = None
    ties: bool = False

    def __post_init__(self) -> None:
        if self.C.dim() != 3 or not self.C.shape[0] or not self.C.shape[2] or not self.C.is_floating_point():
            raise BadShape(
                f"a property is at least one row over at least one output, not C {self.C.dtype} {tuple(self.C.shape)}",
                fix="give C (R, B, K) of floating-point numbers, R >= 1",
            )
        if self.d is not None and self.d.shape != self.C.shape[:2]:
            raise BadShape(
                f"d {tuple(self.d.shape)} beside C {tuple(self.C.shape)}", fix="give d (R, B), one number a row and sample"
            )

    def rows(self) -> Rows:
        """The linear forms, shared layout."""
        return Rows(self.C)

    def margins(self, y: Float[Tensor, "B K"]) -> Float[Tensor, "R B"]:
        """`C y + d` at concrete outputs."""
        values = (self.C * y).sum(-1)
        return values if self.d is None else values + self.d

    def broken(self, margin: Tensor) -> Tensor:
        """Where a least margin at a concrete output breaks the property; NaN never does."""
        return margin <= 0 if self.ties else margin < 0

    def take(self, index: Tensor) -> Property:
        """The properties of some samples."""
        return replace(self, C=self.C[:, index], d=None if self.d is None else self.d[:, index])

    def to(self, dtype: torch.dtype) -> Property:
        """The property in another precision, where it asks at least as much: d is rounded down.

        Raises:
            BadData: a coefficient of C that the precision does not have.
        """
        if dtype == self.C.dtype:
            return self
        C = self.C.to(dtype)
        if not bool((C.double() == self.C.double()).all()):
            raise BadData(f"a coefficient of a property is no number of {dtype}", fix="bound in float64: prepare(torch.float64)")
        return replace(self, C=C, d=None if self.d is None else outward(self.d, dtype, -math.inf))


def robust(label: Tensor, classes: int, dtype: torch.dtype = torch.float32, threshold: float = 0.0) -> Property:
    """`y_label - y_k > 0` for every other class k, in the order of k; of one output, that it stays on the label's side.

    Args:
        label: (B,) integers of any type; see `as_labels`.
        classes: outputs of the network. One is a binary classifier: class 1 above the threshold, class 0 below.
        dtype: of the rows.
        threshold: of a network with one output.

    Raises:
        BadData: a label outside 0..classes-1.
        BadShape: labels that are not one integer a sample, or no output.
        BadConfig: a threshold beside several outputs, or one that is not finite.
    """
    label = as_labels(label, classes)
    if check_threshold(classes, threshold):
        side = (2 * label - 1).to(dtype)[None]  # +1 for class 1
        return Property(side[:, :, None], None if threshold == 0 else -threshold * side)
    unit = torch.eye(classes, dtype=dtype, device=label.device)
    others = torch.arange(classes - 1, device=label.device)[:, None].expand(-1, len(label))
    others = others + (others >= label)
    return Property(unit[label] - unit[others])


def targeted(label: Tensor, target: Tensor, classes: int, dtype: torch.dtype = torch.float32) -> Property:
    """`y_label - y_target > 0` alone.

    Raises:
        BadData: a label or target outside 0..classes-1, or a target that equals its label.
        BadShape: labels or targets that are not one integer a sample.
    """
    label = as_labels(label, classes)
    target = as_labels(target, classes, count=len(label), what="target")
    if bool((label == target).any()):
        raise BadData("a target equals its label", fix="choose another class")
    if check_threshold(classes, 0.0):
        return robust(label, classes, dtype)  # of two classes there is one other
    unit = torch.eye(classes, dtype=dtype, device=label.device)
    return Property((unit[label] - unit[target])[None])


def check_threshold(outputs: int, threshold: float) -> bool:
    """Whether a network of so many outputs is a binary classifier by its sign.

    Raises:
        BadConfig: a threshold beside several outputs, or one that is not finite.
        BadShape: no output.
    """
    if outputs < 1:
        raise BadShape("a network without an output", fix="return logits (B, K)")
    if outputs > 1 and threshold != 0:
        raise BadConfig(
            f"a threshold is of a network with one output, and this one has {outputs}", where="threshold", fix="leave it out"
        )
    if not math.isfinite(threshold):
        raise BadConfig(f"a threshold of {threshold}", where="threshold", fix="give a finite number")
    return outputs == 1
