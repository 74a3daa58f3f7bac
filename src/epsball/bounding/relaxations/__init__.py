"""One file an activation; importing this package registers them."""

from epsball.bounding.relaxations import relu, s_shaped

__all__ = ["relu", "s_shaped"]
