"""Random starts that belong to a sample: they do not depend on who else is in its batch.

A sample's seed is made of one number that the attack's generator draws and of the sample's own nominal input. So slices, shards,
chunks and other orders of a data set start each sample where the whole set does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from epsball.device import generator as seeded

if TYPE_CHECKING:
    from epsball.problem.sets import InputSet
    from epsball.types import Float, Tensor

_ODD = 0x9E3779B97F4A7C15 - 2**64  # as a signed number of 64 bits; products wrap
_WORDS = {8: torch.int64, 4: torch.int32, 2: torch.int16}


def base_seed(generator: torch.Generator) -> int:
    """One number for a whole attack."""
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


def fingerprints(x: Float[Tensor, "B *x"]) -> list[int]:
    """A number of 64 bits for each sample: a sum of its elements' bits, each times a number that depends on its place."""
    bits = x.detach().flatten(1).contiguous()
    bits = bits.view(_WORDS[bits.element_size()]).to(torch.int64)
    place = torch.arange(1, bits.shape[1] + 1, device=x.device) * _ODD
    place = (place ^ (place >> 29)) * _ODD | 1
    found: list[int] = ((bits ^ (bits << 17)) * place).sum(1).tolist()
    return found


class Starts:
    """Points of the sets, drawn run by run.

    Args:
        input_set: one set a sample.
        base: of the whole attack.
    """

    def __init__(self, input_set: InputSet, base: int) -> None:
        self.input_set, self.base = input_set, base
        self.seeds = fingerprints(input_set.centre)

    def draw(self, index: Tensor, run: int) -> Float[Tensor, "N *x"]:
        """A random point of the sets of some samples; another one in each run."""
        device = self.input_set.centre.device
        streams = [seeded(device, (self.base ^ self.seeds[i]) % 2**63, run) for i in index.tolist()]
        return torch.cat(
            [self.input_set.take(one).sample(stream) for one, stream in zip(torch.split(index, 1), streams, strict=True)]
        )
