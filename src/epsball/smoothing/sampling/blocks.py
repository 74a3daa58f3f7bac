"""Images share batches: as soon as one is decided, blocks of the next take its place.

An image asks for samples up to its next look and no further, so what is drawn for it does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import numpy as np

from epsball.smoothing.sampling.sampler import SampleBlock, Sampler, Stream
from epsball.smoothing.statistics.boundary import Counts
from epsball.smoothing.statistics.procedures import BLOCK
from epsball.types import Tensor


class Trial(Protocol):
    """One image on its way to a decision.

    Attributes:
        x: the input (*x).
        image: its number.
        stream: what it samples now.
        target: how many samples of that stream it waits for.
    """

    x: Tensor
    image: int
    stream: Stream
    target: int

    def see(self, counts: Counts) -> bool:
        """Take the counts of the first `target` samples; True when decided, else `stream` and `target` are set anew."""
        ...


T = TypeVar("T", bound=Trial)


class _Place(Generic[T]):
    def __init__(self, trial: T) -> None:
        self.trial = trial
        self._start()

    def _start(self) -> None:
        self.stream, self.asked, self.seen, self.blocks = self.trial.stream, 0, 0, 0
        self.counts: Counts = np.zeros(1, dtype=np.int64)

    def next_block(self, room: int) -> SampleBlock | None:
        size = min(BLOCK, self.trial.target - self.asked)
        if not 0 < size <= room:
            return None
        block = SampleBlock(self.trial.x, self.trial.image, self.stream, self.blocks, size)
        self.asked += size
        self.blocks += 1  # a number is never used twice, even where a target cuts a block short
        return block

    def take(self, size: int, counts: Counts) -> bool:
        self.seen += size
        self.counts = self.counts + counts
        if self.seen < self.trial.target:
            return False
        decided = self.trial.see(self.counts)
        if self.trial.stream != self.stream:
            self._start()
        return decided


def run(sampler: Sampler, trials: Iterable[T]) -> Iterator[T]:
    """Each trial when it is decided. Trials are taken from the iterable only as the device has room for them."""
    waiting, places = iter(trials), list[_Place[T]]()
    while True:
        batch: list[tuple[_Place[T], SampleBlock]] = []
        room = sampler.room
        for place in _with_new(places, waiting):
            while (block := place.next_block(room)) is not None:
                batch.append((place, block))
                room -= block.size
            if room < BLOCK and place.asked < place.trial.target:
                break
        if not batch:
            return
        counts = sampler.count([block for _, block in batch])
        for (place, block), found in zip(batch, counts, strict=True):
            if place.take(block.size, found):
                places.remove(place)
                yield place.trial


def _with_new(places: list[_Place[T]], waiting: Iterator[T]) -> Iterator[_Place[T]]:
    """The places that are taken, then new ones for as long as they are asked for."""
    yield from list(places)
    for trial in waiting:
        place = _Place(trial)
        places.append(place)
        yield place
