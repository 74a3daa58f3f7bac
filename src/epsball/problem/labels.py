"""The one door for labels: whatever integers they are stored as, one int64 a sample comes out, or an error says why not.

A tensor of uint8 or bool is a mask where it indexes another tensor, so labels that pass unchecked would choose rows of their own.
"""

from __future__ import annotations

import torch

from epsball.errors import BadData, BadShape
from epsball.types import Tensor

_WHOLE = (
    torch.bool,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
)


def as_labels(y: Tensor, classes: int | None = None, *, count: int | None = None, what: str = "label") -> Tensor:
    """Labels as int64.

    Integers of any width and truth values are converted, numbers with a fraction part in their type are refused: a float label is
    more often a score, or a regression target, than a class.

    Args:
        y: (B,) of any integer type, or of bool.
        classes: how many outputs the network has; one output is a binary classifier, with labels 0 and 1. None: not known here.
        count: how many inputs they belong to; None: not known here.
        what: their name in messages.

    Raises:
        BadShape: no tensor, another shape or type, or another number of them; labels that are one-hot are named.
        BadData: a label out of range.
    """
    if not isinstance(y, torch.Tensor):
        raise BadShape(f"{what}s must be a tensor of integers, not {type(y).__name__}", fix="give torch.tensor([3]), one a sample")
    if y.dim() == 2 and y.shape[1] > 1 and bool((y.double().sum(1) == 1).all()) and bool(((y == 0) | (y == 1)).all()):
        raise BadShape(f"{what}s of shape {tuple(y.shape)} are one-hot", fix="give the numbers of the classes: y.argmax(1)")
    if y.dim() != 1 or y.dtype not in _WHOLE:
        single = y.dim() == 2 and y.shape[1] == 1
        raise BadShape(
            f"{what}s must be integers of shape (B,), not {y.dtype} {tuple(y.shape)}",
            fix="take the axis of one away: y.flatten()"
            if single
            else "give one integer a sample, such as torch.tensor([3]); y.long() makes integers of whole numbers",
        )
    if count is not None and len(y) != count:
        raise BadShape(f"{count} inputs and {len(y)} {what}s", fix="give one label for each input")
    whole = y.long()
    if classes is not None:
        _check_range(whole, max(2, classes), what)
    return whole


def _check_range(y: Tensor, classes: int, what: str) -> None:
    if len(y) and not bool(((y >= 0) & (y < classes)).all()):
        raise BadData(
            f"a {what} lies outside 0..{classes - 1}: they reach from {int(y.min())} to {int(y.max())}",
            fix="number the classes from 0, and check that the data set and the network have the same ones",
        )
