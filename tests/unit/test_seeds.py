"""Streams of random numbers: no two places of a run share one, and the generator keeps all of what tells them apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from epsball.device import generator, stream_seed
from epsball.errors import BadConfig
from epsball.smoothing.noises.continuous import Gaussian
from epsball.smoothing.sampling.sampler import Stream

CPU = torch.device("cpu")
ESTIMATION = int(Stream.ESTIMATION)
# (image, block) twice: under seed 0, a hash to 63 bits of which the generator kept 32 gave both the same noise
ONCE_EQUAL = [((25, 33), (52, 641)), ((157, 190), (161, 256)), ((90, 69), (188, 789)), ((176, 133), (212, 346))]


@pytest.mark.parametrize(("first", "second"), ONCE_EQUAL)
def test_blocks_that_once_were_equal_are_independent(first, second):
    blocks = []
    for image, block in (first, second):
        out = torch.empty(128, 30)
        Gaussian(1.0).fill(out, torch.zeros(30), generator(CPU, 0, image, ESTIMATION, block))
        blocks.append(out)
    assert not torch.equal(*blocks)
    assert abs(float((blocks[0] * blocks[1]).mean())) < 5 / blocks[0].numel() ** 0.5  # five standard errors


@pytest.mark.slow
def test_a_million_blocks_have_no_seed_twice():
    found = np.fromiter((stream_seed(0, image, ESTIMATION, block) for image in range(1000) for block in range(1000)), np.uint64)
    assert len(np.unique(found)) == 10**6


PLACES = st.lists(st.integers(0, 2**15 - 1), max_size=3).map(tuple)


@given(st.integers(-(2**63), 2**64 - 1), PLACES, PLACES)
def test_places_are_told_apart_whatever_their_number(seed, first, second):
    assert (stream_seed(seed, *first) == stream_seed(seed, *second)) == (first == second)


def test_seeds_are_spread_over_64_bits():
    """Places that differ in one bit: half of the 64 bits differ, each of them about as often as not."""
    one = np.array([stream_seed(7, image, ESTIMATION, 2 * block) for image in range(100) for block in range(20)], np.uint64)
    other = np.array([stream_seed(7, image, ESTIMATION, 2 * block + 1) for image in range(100) for block in range(20)], np.uint64)
    changed = ((one ^ other)[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(changed.mean(0) - 0.5).max() < 5 * 0.5 / len(one) ** 0.5


@pytest.mark.parametrize("place", [(), (0,), (5, 2), (20, ESTIMATION, 781)])
def test_the_cpu_generator_keeps_all_64_bits(place):
    """numpy's MT19937, started from both halves of the number, gives the same words."""
    number = stream_seed(3, *place)
    peer = np.random.RandomState([number & 0xFFFFFFFF, number >> 32]).randint(0, 2**32, 2000, dtype=np.uint32)
    found = torch.empty(2000, dtype=torch.int64).random_(0, 2**24, generator=generator(CPU, 3, *place))
    assert found.tolist() == (peer % 2**24).tolist()


def test_only_the_words_differ_from_a_seeding_of_torch():
    """torch's own layout: what a state holds besides MT19937's 624 words, 8 bytes each, is as after `manual_seed`."""
    number = stream_seed(3, 4)
    own, peer = generator(CPU, 3, 4).get_state(), torch.Generator().manual_seed(number).get_state()
    words = slice(24, 24 + 8 * 624)
    assert own.shape == peer.shape
    own[words] = peer[words]
    assert torch.equal(own, peer)


def test_a_generator_repeats_itself():
    drawn = [torch.randn(301, generator=generator(CPU, 1, 2, 3)) for _ in range(2)]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("seed", [2**64, 2**70, -(2**63) - 1])
def test_a_seed_beyond_64_bits_is_refused(seed):
    with pytest.raises(BadConfig, match=str(seed)):
        generator(CPU, seed, 1)


@pytest.mark.parametrize("place", [(-1,), (2**60,), (2**30, 1, 2**20)])
def test_a_place_without_a_stream_is_refused(place):
    with pytest.raises(BadConfig, match="no stream of random numbers"):
        generator(CPU, 0, *place)
