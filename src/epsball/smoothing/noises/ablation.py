"""Ablation: the classifier sees only a few pixels, or one block of them; certificates for l0 and for patches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

import torch

from epsball.errors import BadConfig, BadShape
from epsball.smoothing.noises.continuous import Shape, check_radius, noises
from epsball.smoothing.noises.exact import ExactCertificate, certify_all, enumerations, lead, winner
from epsball.smoothing.sampling.sampler import Function
from epsball.smoothing.statistics.boundary import Counts
from epsball.types import Bool, Float, Tensor


def hide(x: Float[Tensor, " C H W"], seen: Bool[Tensor, "n H W"], hidden: float | None = None) -> Float[Tensor, "n D H W"]:
    """Channels (x, 1 - x) where a pixel is seen and (0, 0) where it is not, so that hidden is not black: D = 2 C.

    With a value for what is hidden the channels stay as they are: D = C.
    """
    if hidden is not None:
        return torch.where(seen[:, None], x, hidden)
    both = torch.cat((x, 1 - x))
    return both * seen[:, None].to(x.dtype)


def _shape(inputs: Shape, hidden: float | None) -> Shape:
    return (2 * inputs[0], *inputs[1:]) if hidden is None else inputs


def _pixels(inputs: Shape) -> int:
    if len(inputs) != 3:
        raise BadShape(f"ablation hides pixels of pictures (C, H, W), not of {inputs}", fix="reshape features to (1, 1, features)")
    return inputs[1] * inputs[2]


@noises.register("ablation")
@dataclass(frozen=True)
class Ablation:
    """All but `keep` random pixels are hidden: l0, the number of pixels that an adversary may change.

    rho changed pixels are all hidden with probability C(d - rho, keep) / C(d, keep); otherwise anything may be predicted.

    Attributes:
        keep: pixels that are seen: 45 for MNIST, 75 for CIFAR-10, 1000 for ImageNet.
        hidden: the value that hidden pixels take, for a network of the picture's own channels; None: channels (x, 1 - x), which
            are 0 where hidden. Both prove the same: only what is seen reaches the network.

    Paper:   Levine and Feizi 2020, arXiv:1911.09272.  Differs: the two-sided form too.
    """

    keep: int
    hidden: float | None = None
    norm: ClassVar[str] = "l0"

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise BadConfig(f"ablation must keep at least 1 pixel, not {self.keep}")

    @property
    def scale(self) -> float:
        return 1.0

    def shape(self, inputs: Shape) -> Shape:
        if _pixels(inputs) < self.keep:
            raise BadConfig(f"ablation keeps {self.keep} of {_pixels(inputs)} pixels", fix="keep fewer")
        return _shape(inputs, self.hidden)

    def fill(self, out: Tensor, x: Tensor, generator: torch.Generator) -> None:
        ranks = torch.rand(len(out), _pixels(tuple(x.shape)), generator=generator, dtype=torch.float64, device=x.device)
        seen = torch.zeros_like(ranks, dtype=torch.bool).scatter_(1, ranks.topk(self.keep, dim=1).indices, value=True)
        out.copy_(hide(x, seen.view(-1, *x.shape[1:]), self.hidden))

    def touched(self, pixels: int, changed: int) -> float:
        """Probability that at least one of the changed pixels is seen."""
        if changed > pixels - self.keep:
            return 1.0
        return -math.expm1(sum(math.log1p(-self.keep / (pixels - k)) for k in range(changed)))

    def radii(self, lower: float, upper: float, inputs: Shape) -> Mapping[str, float]:
        """The most pixels that may change: A can lose, and another class win, the probability of being touched."""
        pixels, changed = _pixels(inputs), 0
        if lower <= upper:
            return MappingProxyType({"l0": 0.0})
        while changed < pixels and 2 * self.touched(pixels, changed + 1) < lower - upper - 1e-12:
            changed += 1
        return MappingProxyType({"l0": float(changed)})

    def needed(self, radius: float, inputs: Shape) -> float:
        check_radius(radius)
        changed = math.ceil(radius)
        p = 0.5 + self.touched(_pixels(inputs), changed) + 1e-12
        if p >= 1:
            raise BadConfig(f"{self} cannot certify {changed} changed pixels of {_pixels(inputs)}", fix="keep fewer pixels")
        return p


@enumerations.register("block-ablation")
@dataclass(frozen=True)
class BlockAblation:
    """One block of pixels is seen at a time, at every position, wrapping around the edges: square patches.

    Attributes:
        size: side of the square block, or width of the band of whole columns.
        seen: "block" or "columns".
        hidden: as for `Ablation`.

    Paper:   Levine and Feizi 2020, (De)randomized smoothing, arXiv:2002.10733.  Differs: hard votes.
    """

    size: int
    seen: Literal["block", "columns"] = "block"
    hidden: float | None = None

    def __post_init__(self) -> None:
        if self.size < 1 or self.seen not in ("block", "columns"):
            raise BadConfig("block ablation needs a size of at least 1, and sees a block or columns", where=repr(self))

    def shape(self, inputs: Shape) -> Shape:
        _pixels(inputs)
        return _shape(inputs, self.hidden)

    def total(self, inputs: Shape) -> int:
        _pixels(inputs)
        return inputs[2] if self.seen == "columns" else inputs[1] * inputs[2]

    def copies(self, x: Float[Tensor, " C H W"], first: int, last: int) -> Tensor:
        height, width = x.shape[1:]
        position = torch.arange(first, last, device=x.device)
        columns = self._band(position % width, width)
        if self.seen == "columns":
            return hide(x, columns[:, None, :].expand(-1, height, -1), self.hidden)
        return hide(x, self._band(position // width, height)[:, :, None] & columns[:, None, :], self.hidden)

    def _band(self, start: Tensor, length: int) -> Bool[Tensor, "n length"]:
        return (torch.arange(length, device=start.device) - start[:, None]) % length < self.size

    def touched(self, patch: int, inputs: Shape) -> int:
        """The most positions whose block meets a square patch."""
        across = min(patch + self.size - 1, inputs[2])
        return across if self.seen == "columns" else across * min(patch + self.size - 1, inputs[1])

    def certify(self, module: Function, x: Float[Tensor, "B C H W"], classes: int, batch: int = 256) -> list[ExactCertificate]:
        """Exact certificates."""
        return certify_all(module, self, x, classes, batch)

    def certificate(self, image: int, counts: Counts, inputs: Shape) -> ExactCertificate:
        """A loses and another class wins at most the positions that the patch touches."""
        _, margin = lead(counts)
        patch = 0
        while patch < min(inputs[1:]) and 2 * self.touched(patch + 1, inputs) <= margin:
            patch += 1
        claim = f"any square of that side, exact: all {self.total(inputs)} positions were counted"
        return ExactCertificate(image, winner(counts), float(patch), "patch", patch, tuple(counts.tolist()), claim)
