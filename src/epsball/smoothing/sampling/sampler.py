"""Counting noisy predictions, in blocks: the same counts whatever the batch size and the order of the images.

The noise of at most 128 samples comes from one generator, at the place (image, stream, block) in the run of a seed; no two places
share a stream (`epsball.device.stream_seed`). So the noise of an image depends on nothing but its number. (The last bit of a logit
can still depend on the batch: libraries choose other kernels for other sizes. That moves a count only where two
logits are equal to seven digits.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from epsball.device import generator
from epsball.errors import BadConfig, BadShape
from epsball.smoothing.noises.continuous import Noise
from epsball.smoothing.statistics.boundary import Counts
from epsball.smoothing.statistics.procedures import BLOCK
from epsball.types import Tensor

Function = nn.Module | Callable[[Tensor], Tensor]
_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class Stream(IntEnum):
    """What samples are for: no two purposes ever share noise."""

    SELECTION = 0
    ESTIMATION = 1
    PREDICTION = 2
    GRADIENT = 3


class SampleBlock(NamedTuple):
    """At most 128 samples of one image."""

    x: Tensor
    image: int
    stream: Stream
    number: int
    size: int


def blocks_of(x: Tensor, image: int, stream: Stream, first: int, last: int) -> Iterator[SampleBlock]:
    """The blocks that hold samples first..last of a stream; `first` starts a block."""
    for start in range(first, last, BLOCK):
        yield SampleBlock(x, image, stream, start // BLOCK, min(BLOCK, last - start))


@dataclass(frozen=True, eq=False)
class Sampler:
    """A base classifier under noise.

    Attributes:
        module: takes (n, *noise.shape(x)) and gives logits (n, classes).
        noise: what is added.
        classes: number of classes.
        batch: the most samples of one forward pass.
        seed: of all noise.
        inputs: shape of one input.
        device: where.
        dtype: of inputs and noise.
    """

    module: Function
    noise: Noise
    classes: int
    batch: int
    seed: int
    inputs: tuple[int, ...]
    device: torch.device
    dtype: torch.dtype
    _buffer: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = (max(self.batch, BLOCK), *self.noise.shape(self.inputs))
        object.__setattr__(self, "_buffer", torch.empty(shape, dtype=self.dtype, device=self.device))

    @property
    def room(self) -> int:
        """Samples that one call of `count` takes."""
        return len(self._buffer)

    @torch.no_grad()
    def count(self, blocks: Sequence[SampleBlock]) -> Counts:
        """Predictions by class for each block: (len(blocks), classes + 1). The last column counts outputs that are NaN: no class.

        Raises:
            BadShape: the logits do not have the stated number of classes.
        """
        sizes = [block.size for block in blocks]
        total = 0
        for block in blocks:
            seeded = generator(self.device, self.seed, block.image, int(block.stream), block.number)
            self.noise.fill(self._buffer[total : total + block.size], block.x, seeded)
            total += block.size
        slot = torch.repeat_interleave(torch.tensor(sizes, dtype=torch.long)).mul_(self.classes + 1).to(self.device)
        predicted = torch.cat([self._predict(part) for part in torch.split(self._buffer[:total], self.batch)])
        counts = torch.bincount(slot + predicted, minlength=len(blocks) * (self.classes + 1))
        return np.asarray(counts.view(len(blocks), self.classes + 1).cpu().numpy(), dtype=np.int64)

    def _predict(self, noisy: Tensor) -> Tensor:
        logits = self.module(noisy)
        if logits.shape != (len(noisy), self.classes):
            raise BadShape(
                f"the base classifier gave outputs of shape {tuple(logits.shape)} for {len(noisy)} inputs",
                fix=f"it must give ({len(noisy)}, {self.classes}): set classes to the number of logits",
            )
        return torch.where(logits.sum(1).isnan(), self.classes, logits.argmax(1))


def check_mode(module: Function) -> None:
    """A layer that mixes the batch, or draws noise of its own, makes counts depend on what else is in the batch.

    Raises:
        BadConfig: batch norm or dropout is in training mode.
    """
    if not isinstance(module, nn.Module):
        return
    for name, layer in module.named_modules():
        mixes = isinstance(layer, _BATCH_NORM) and (layer.training or not layer.track_running_stats)
        if mixes or (isinstance(layer, _DROPOUT) and layer.training):
            raise BadConfig(
                f"{type(layer).__name__} is in training mode: its output depends on the rest of the batch or on chance",
                where=name or "the network itself",
                fix="call network.eval() before smoothing it, and give batch norm running statistics",
            )
