"""How to train: one recipe a file; importing this package registers them."""

from epsball.training.recipes import crown_ibp, fast_ibp, ibp, mixture, pgd, standard

__all__ = ["crown_ibp", "fast_ibp", "ibp", "mixture", "pgd", "standard"]
