"""Warnings by name: what is no error, but is seldom what was meant."""

from __future__ import annotations

import warnings

from epsball.errors import NearChance

_ENOUGH = 20  # examples below which a share says little


def warn_near_chance(right: int, count: int, classes: int) -> None:
    """Warn where a trained network is hardly better than guessing: its inputs are probably not what it was trained on.

    Pixels in another order do not bring a network down to chance: one that is right on 61 % of CIFAR-10 kept 26 %. So near is
    up to three times the share of guessing, and a quarter of the way from it to 1.

    Args:
        right: examples whose label it answers.
        count: of how many; fewer than 20 are not judged.
        classes: that it tells apart.
    """
    chance = 1 / classes
    if count < _ENOUGH or right > count * min(3 * chance, chance + (1 - chance) / 4):
        return
    warnings.warn(
        f"clean accuracy {100 * right / count:.1f} % on {count} examples, where guessing one of {classes} classes gives "
        f"{100 * chance:.1f} %. Likely reasons: pixels in another order (layout nhwc), a normalisation of the inputs that the "
        "network does not hold (mean, std), classes numbered in another order, or another data set",
        NearChance,
        stacklevel=3,
    )


def warn_trained_to_chance(clean: float, largest: float, count: int) -> None:
    """Warn where a training run ends with what one answer to everything would give.

    Args:
        clean: accuracy on the examples that the run was judged on.
        largest: the share of their most frequent label.
        count: of those examples; fewer than 20 are not judged.
    """
    if count < _ENOUGH or clean > largest + 0.05 * (1 - largest):
        return
    warnings.warn(
        f"training ended at chance: clean accuracy {100 * clean:.1f} % on {count} examples, of which {100 * largest:.1f} % have "
        "the same label. Likely reasons: a learning rate too high, an eps too large or raised too fast, or labels "
        "that do not belong to the inputs",
        NearChance,
        stacklevel=3,
    )
