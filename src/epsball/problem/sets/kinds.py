"""Sets by name: those that one size describes, for the command line, and the classes that take more."""

from __future__ import annotations

from epsball.errors import BadConfig
from epsball.problem.sets.balls import LpBall
from epsball.problem.sets.base import Clip, InputSet, Norm, needs_range, sets
from epsball.problem.sets.box import Box
from epsball.problem.sets.patch import Patch
from epsball.problem.sets.polytope import Polytope
from epsball.problem.sets.product import Product
from epsball.problem.sets.table import Tabular
from epsball.problem.sets.transformed import Transformed
from epsball.problem.sets.transforms import Geometric, Photometric
from epsball.problem.sets.words import WordSubstitution
from epsball.types import Tensor


def _ball(norm: Norm, x: Tensor, size: float, clip: Clip) -> InputSet:
    return LpBall(x, size, norm, clip)


@sets.register("linf")
def linf(x: Tensor, size: float, clip: Clip) -> InputSet:
    """Every feature changes by at most the size (--norm linf --eps 8/255)."""
    return _ball("linf", x, size, clip)


@sets.register("l2")
def l2(x: Tensor, size: float, clip: Clip) -> InputSet:
    """The Euclidean length of the change is at most the size (--norm l2 --eps 0.5)."""
    return _ball("l2", x, size, clip)


@sets.register("l1")
def l1(x: Tensor, size: float, clip: Clip) -> InputSet:
    """The absolute changes of all features add up to at most the size (--norm l1 --eps 2)."""
    return _ball("l1", x, size, clip)


@sets.register("l0")
def l0(x: Tensor, size: float, clip: Clip) -> InputSet:
    """At most so many features change, each to any valid value (--norm l0 --eps 3)."""
    return _ball("l0", x, size, clip)


@sets.register("patch")
def patch(x: Tensor, size: float, clip: Clip) -> InputSet:
    """A square of so many pixels a side, anywhere on the picture, takes any values (--perturbation patch --size 4)."""
    if not float(size).is_integer():
        raise BadConfig(f"a patch has a whole number of pixels a side, not {size}", where="--size", fix="give 1, 2, 3, ...")
    return Patch(x, int(size), needs_range(clip, "a patch"))


@sets.register("rotation")
def rotation(x: Tensor, size: float, clip: Clip) -> InputSet:
    """The picture turns by up to so many degrees either way (--perturbation rotation --size 10 --cells 20)."""
    return Transformed.within(x, Geometric(), angle=size)


@sets.register("translation")
def translation(x: Tensor, size: float, clip: Clip) -> InputSet:
    """The picture moves by up to so many pixels along each axis (--perturbation translation --size 1 --cells 5)."""
    return Transformed.within(x, Geometric(), right=size, down=size)


@sets.register("brightness")
def brightness(x: Tensor, size: float, clip: Clip) -> InputSet:
    """Every feature rises or falls by the same amount, up to the size (--perturbation brightness --size 0.1)."""
    return Transformed.within(x, Photometric(clip), brightness=size)


@sets.register("contrast")
def contrast(x: Tensor, size: float, clip: Clip) -> InputSet:
    """Every feature is multiplied by the same factor, from 1 - size to 1 + size (--perturbation contrast --size 0.2)."""
    return Transformed.within(x, Photometric(clip), contrast=size)


sets.register("box")(Box)
sets.register("polytope")(Polytope)
sets.register("product")(Product)
sets.register("table")(Tabular)
sets.register("words")(WordSubstitution)
