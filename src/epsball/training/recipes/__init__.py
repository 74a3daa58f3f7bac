"""How to train: one recipe a file; importing this package registers them."""

from epsball.training.recipes import fast_ibp, ibp, standard

__all__ = ["fast_ibp", "ibp", "standard"]
