"""How to train: one recipe a file; importing this package registers them."""

from epsball.training.recipes import (
    consistency,
    crown_ibp,
    denoise,
    fast_ibp,
    gaussian,
    ibp,
    macer,
    mixture,
    noise,
    pgd,
    smoothadv,
    smoothmix,
    standard,
)

__all__ = [
    "consistency",
    "crown_ibp",
    "denoise",
    "fast_ibp",
    "gaussian",
    "ibp",
    "macer",
    "mixture",
    "noise",
    "pgd",
    "smoothadv",
    "smoothmix",
    "standard",
]
