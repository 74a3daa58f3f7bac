"""Smoothing without chance: all values of a finite noise are tried, so the counts are exact and no alpha is spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from epsball.errors import BadShape
from epsball.registry import Registry
from epsball.smoothing.noises.continuous import Shape
from epsball.smoothing.sampling.sampler import Function, check_mode
from epsball.smoothing.statistics.boundary import Counts
from epsball.types import Float, Tensor


@dataclass(frozen=True)
class ExactCertificate:
    """What all copies of one input say. Nothing here is a matter of chance.

    Attributes:
        image: the image's number.
        label: the smoothed class, or None: no copy gave any class, as of a network that answers NaN.
        radius: in `norm`: l1, strict, over the inputs of the grid; for patches the side of the largest square in pixels, which may
            lie anywhere and hold anything. 0: nothing is certified.
        norm: "l1" or "patch".
        steps: the radius in whole units, ties decided: steps of one level over all coordinates, or pixels.
        counts: copies by class; the last entry counts outputs that were NaN.
        claim: what exactly is claimed.
    """

    image: int
    label: int | None
    radius: float
    norm: str
    steps: int
    counts: tuple[int, ...]
    claim: str

    def line(self) -> dict[str, Any]:
        """The certificate as plain values, for a line of a run record; `lower` is the exact share of the class."""
        total = sum(self.counts)
        return {**vars(self), "counts": list(self.counts), "lower": max(self.counts[:-1]) / total, "samples": total}


@runtime_checkable
class Enumeration(Protocol):
    """A frozen dataclass: a finite set of changed copies of an input, and what counting all of them proves."""

    def shape(self, inputs: Shape, /) -> Shape:
        """Shape of a copy of an input of that shape: what the base classifier takes."""
        ...

    def total(self, inputs: Shape, /) -> int:
        """How many copies there are."""
        ...

    def copies(self, x: Float[Tensor, " *x"], first: int, last: int) -> Tensor:
        """Copies first..last of one input: (last - first, *shape(x))."""
        ...

    def certificate(self, image: int, counts: Counts, inputs: Shape, /) -> ExactCertificate:
        """What the counts of one image (classes + 1,) prove."""
        ...


enumerations: Registry[type[Enumeration]] = Registry("exact noise", package="epsball.smoothing.noises", verb="exact-noises")


def certify_all(
    module: Function, kinds: Enumeration, x: Float[Tensor, "B *x"], classes: int, batch: int = 256
) -> list[ExactCertificate]:
    """Exact certificates of a batch, numbered from 0; raises what `count_all` does."""
    counts = count_all(module, kinds, x, classes, batch)
    return [kinds.certificate(image, row, tuple(x.shape[1:])) for image, row in enumerate(counts)]


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


def winner(counts: Counts) -> int | None:
    """The class that `lead` names, if any copy gave it."""
    label, _ = lead(counts)
    return label if counts[label] else None


def lead(counts: Counts) -> tuple[int, int]:
    """The winning class (the first of equals), and by how many copies it leads.

    The lead over a class of smaller number is one less than the difference of counts: an equal count would go to that class.
    """
    votes = counts[:-1]
    label = int(votes.argmax())
    rivals = votes + (np.arange(len(votes)) < label)  # a tie is lost to a smaller number
    others = np.delete(rivals, label)
    return label, int(votes[label] - others.max())
