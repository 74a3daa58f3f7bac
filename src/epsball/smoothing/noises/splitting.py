"""Deterministic splitting noise (DSSN): l1 certificates without any chance, for inputs on a grid.

Each coordinate is cut at s, s + 2 w, s + 4 w, ... and replaced by the middle of its piece. Two values differ in their piece for a
share |a - b| / (2 w) of all offsets s, whatever the joint law of the coordinates' offsets. So one common shift runs through the
grid, every offset occurs once, and p_A and p_B are counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from epsball.device import generator
from epsball.errors import BadConfig, BadData
from epsball.smoothing.noises.continuous import Shape, check_scale
from epsball.smoothing.noises.exact import ExactCertificate, certify_all, enumerations, lead, winner
from epsball.smoothing.sampling.sampler import Function
from epsball.smoothing.statistics.boundary import Counts
from epsball.types import Float, Int, Tensor


@enumerations.register("splitting")
@dataclass(frozen=True)
class SplittingNoise:
    """All offsets of a splitting noise: l1, for inputs on a grid.

    Attributes:
        width: w; intervals are 2 w long. Any multiple of 1 / (2 levels).
        levels: inputs are k / levels, k = 0..levels: 255 for 8-bit pictures.
        seed: of the coordinates' fixed offsets.

    Cost:    2 w levels forward passes an image.
    Sound:   exactly, for inputs and perturbed inputs on the grid.
    Paper:   Levine and Feizi 2021, arXiv:2103.10834.  Differs: p_B is counted too: w (p_A - p_B) >= 2 w (p_A - 1/2).
    """

    width: float
    levels: int = 255
    seed: int = 0

    def __post_init__(self) -> None:
        check_scale(self.width, "the width of splitting noise")
        offsets = 2 * self.width * self.levels
        if self.levels < 1 or abs(offsets - round(offsets)) > 1e-6 or round(offsets) < 1:
            raise BadConfig(
                f"intervals of length {2 * self.width} are not a whole number of steps of 1/{self.levels}",
                fix=f"use a width of k/{2 * self.levels}, such as {max(round(offsets), 1)}/{2 * self.levels}",
            )

    @property
    def offsets(self) -> int:
        """2 w levels."""
        return round(2 * self.width * self.levels)

    def shape(self, inputs: Shape) -> Shape:
        return inputs

    def total(self, _inputs: Shape) -> int:
        return self.offsets

    def copies(self, x: Float[Tensor, " *x"], first: int, last: int) -> Tensor:
        steps, length = self._on_grid(x), self.offsets
        shift = torch.arange(first, last, device=x.device).view(-1, *(1,) * x.dim())
        offset = (self._fixed(x) + shift) % length  # cuts lie half a step above it, so no input is ever on a cut
        piece = torch.div(steps - offset - 1, length, rounding_mode="floor")
        low = (piece * length + offset + 0.5).clamp(min=0)
        high = ((piece + 1) * length + offset + 0.5).clamp(max=self.levels)
        return ((low + high) / (2 * self.levels)).to(x.dtype)

    def certify(self, module: Function, x: Float[Tensor, "B *x"], classes: int, batch: int = 256) -> list[ExactCertificate]:
        """Exact certificates.

        Raises:
            BadData: an input is not on the grid.
        """
        return certify_all(module, self, x, classes, batch)

    def certificate(self, image: int, counts: Counts, _inputs: Shape) -> ExactCertificate:
        """A step of 1 / levels in one coordinate changes one copy, which moves at most one vote from A to another class."""
        label, margin = lead(counts)
        gap = int(counts[label] - np.delete(counts[:-1], label).max())
        claim = f"every input k/{self.levels} nearer than the radius, exact: all {self.offsets} offsets were counted"
        return ExactCertificate(image, winner(counts), gap / (2 * self.levels), "l1", margin // 2, tuple(counts.tolist()), claim)

    def _on_grid(self, x: Tensor) -> Int[Tensor, " *x"]:
        steps = (x.double() * self.levels).round()
        if not bool(((x.double() * self.levels - steps).abs() < 1e-3).all()) or bool(((steps < 0) | (steps > self.levels)).any()):
            raise BadData(f"an input is not of the form k/{self.levels}, k = 0..{self.levels}", fix="certify the quantised picture")
        return steps.long()

    def _fixed(self, x: Tensor) -> Int[Tensor, " *x"]:
        seeded = generator(torch.device("cpu"), self.seed, 4)
        return torch.randint(self.offsets, tuple(x.shape), generator=seeded).to(x.device)
