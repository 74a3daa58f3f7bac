"""One copy of each input under any noise: what it is, and what it depends on."""

from __future__ import annotations

import pytest
import torch

from epsball.errors import BadConfig
from epsball.smoothing.draws import copies, named
from epsball.smoothing.noises.ablation import Ablation, BlockAblation
from epsball.smoothing.noises.continuous import Uniform, noises
from epsball.smoothing.noises.exact import enumerations

SCALES = {"ablation": 5, "block-ablation": 3, "splitting": 0.5, "integer-gaussian": 0.25}
X = (torch.arange(2 * 36).view(2, 1, 6, 6) * 7 % 256) / 255


@pytest.mark.parametrize("name", [*noises, *enumerations])
def test_a_copy_follows_from_its_own_seed(name):
    law = named(name, SCALES.get(name, 0.5), 0.25)
    both = copies(law, X, torch.tensor([3, 4]))
    assert both.shape == X.shape
    assert torch.equal(copies(law, X.flip(0), torch.tensor([4, 3])), both.flip(0))
    assert not torch.equal(copies(law, X, torch.tensor([5, 6])), both)


def test_ablations_hide_with_the_value_given():
    seeds = torch.arange(200)
    x = torch.full((200, 1, 6, 6), 0.75)
    few = copies(named("ablation", 5, 0.25), x, seeds)
    assert bool(((few == 0.75).flatten(1).sum(1) == 5).all())
    block = copies(named("block-ablation", 3, 0.25), x, seeds) == 0.75
    assert bool((block.flatten(1).sum(1) == 9).all())
    assert bool((block.float().mean(0) > 0).all())  # every position occurs


def test_uniform_noise_has_its_width():
    x = torch.zeros(500, 1, 4, 4)
    noise = copies(named("uniform", 0.5, 0.0), x, torch.arange(500))
    assert 0.49 < float(noise.abs().max()) <= 0.5
    assert abs(float(noise.var()) - 1 / 12) < 0.005


def test_names():
    assert named("ablation", 5, 0.25) == Ablation(5, 0.25)
    assert named("block-ablation", 3, 0.0) == BlockAblation(3, hidden=0.0)
    assert named("uniform", 0.5, 0.25) == Uniform(0.5)
    with pytest.raises(BadConfig, match="changes the shape"):
        copies(Ablation(5), X, torch.tensor([1, 2]))
