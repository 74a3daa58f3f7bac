"""Properties of the output: every row of `C y + d` is positive."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from epsball.errors import BadData, BadShape
from epsball.rows import Rows
from epsball.types import Float, Int, Tensor


@dataclass(frozen=True, eq=False)
class Property:
    """All of `C y + d > 0`, for each sample its own C and d.

    Attributes:
        C: (R, B, K).
        d: (R, B), or None for 0.
    """

    C: Tensor
    d: Tensor | None = None

    def rows(self) -> Rows:
        """The linear forms, shared layout."""
        return Rows(self.C)

    def margins(self, y: Float[Tensor, "B K"]) -> Float[Tensor, "R B"]:
        """`C y + d` at concrete outputs."""
        values = (self.C * y).sum(-1)
        return values if self.d is None else values + self.d

    def take(self, index: Tensor) -> Property:
        """The properties of some samples."""
        return Property(self.C[:, index], None if self.d is None else self.d[:, index])

    def to(self, dtype: torch.dtype) -> Property:
        return Property(self.C.to(dtype), None if self.d is None else self.d.to(dtype))


def robust(label: Int[Tensor, " B"], classes: int, dtype: torch.dtype = torch.float32) -> Property:
    """`y_label - y_k > 0` for every other class k, in the order of k.

    Raises:
        BadData: a label outside 0..classes-1.
    """
    check_labels(label, classes)
    unit = torch.eye(classes, dtype=dtype, device=label.device)
    others = torch.arange(classes - 1, device=label.device)[:, None].expand(-1, len(label))
    others = others + (others >= label)
    return Property(unit[label] - unit[others])


def targeted(label: Int[Tensor, " B"], target: Int[Tensor, " B"], classes: int, dtype: torch.dtype = torch.float32) -> Property:
    """`y_label - y_target > 0` alone.

    Raises:
        BadData: a label or target outside 0..classes-1, or a target that equals its label.
    """
    check_labels(label, classes)
    check_labels(target, classes)
    if bool((label == target).any()):
        raise BadData("a target equals its label", fix="choose another class")
    unit = torch.eye(classes, dtype=dtype, device=label.device)
    return Property((unit[label] - unit[target])[None])


def check_labels(label: Tensor, classes: int) -> None:
    """Raise unless every label is one of the network's classes.

    Raises:
        BadData: a label out of range.
        BadShape: labels that are not one integer a sample.
    """
    if label.dim() != 1 or label.is_floating_point():
        raise BadShape(
            f"labels must be integers of shape (B,), not {label.dtype} {tuple(label.shape)}",
            fix="give one integer a sample, such as torch.tensor([3])",
        )
    if len(label) and not bool(((label >= 0) & (label < classes)).all()):
        raise BadData(
            f"a label lies outside 0..{classes - 1}: they reach from {int(label.min())} to {int(label.max())}",
            fix="check that the data set and the network have the same classes",
        )
