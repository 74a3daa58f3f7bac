"""One file a family of activations; importing this package registers them."""

from epsball.bounding.relaxations import exponential, gated, hard, powers, relu, s_shaped, waves

__all__ = ["exponential", "gated", "hard", "powers", "relu", "s_shaped", "waves"]
