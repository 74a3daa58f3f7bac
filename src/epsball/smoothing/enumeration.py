"""Smoothing without chance: all values of a finite noise are tried, so the counts are exact and no alpha is spent."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from epsball.errors import BadShape
from epsball.smoothing.boundary import Counts
from epsball.smoothing.noise import Shape
from epsball.smoothing.sampling import Function, check_mode
from epsball.types import Float, Tensor


class Enumeration(Protocol):
    """A frozen dataclass: a finite set of changed copies of an input."""

    def total(self, inputs: Shape, /) -> int:
        """How many copies there are."""
        ...

    def copies(self, x: Float[Tensor, " *x"], first: int, last: int) -> Tensor:
        """Copies first..last of one input: (last - first, *changed shape)."""
        ...


@torch.no_grad()
def count_all(module: Function, kinds: Enumeration, x: Float[Tensor, "B *x"], classes: int, batch: int = 256) -> Counts:
    """Predictions of all copies by class: (B, classes + 1). The last column counts outputs that are NaN: no class.

    Raises:
        BadConfig: a layer is in training mode.
        BadShape: the logits do not have the stated number of classes.
    """
    check_mode(module)
    counts = np.zeros((len(x), classes + 1), dtype=np.int64)
    total = kinds.total(tuple(x.shape[1:]))
    for image, one in enumerate(x):
        for first in range(0, total, batch):
            logits = module(kinds.copies(one, first, min(first + batch, total)))
            if logits.dim() != 2 or logits.shape[1] != classes:
                raise BadShape(f"outputs of shape {tuple(logits.shape)} for {classes} classes", fix="give the number of logits")
            predicted = torch.where(logits.sum(1).isnan(), classes, logits.argmax(1))
            counts[image] += torch.bincount(predicted, minlength=classes + 1).cpu().numpy()
    return counts


def lead(counts: Counts) -> tuple[int, int]:
    """The winning class (the first of equals), and by how many copies it leads.

    The lead over a class of smaller number is one less than the difference of counts: an equal count would go to that class.
    """
    votes = counts[:-1]
    label = int(votes.argmax())
    rivals = votes + (np.arange(len(votes)) < label)  # a tie is lost to a smaller number
    others = np.delete(rivals, label)
    return label, int(votes[label] - others.max())
