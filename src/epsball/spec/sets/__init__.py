"""Input sets: what may go in. Each knows its bounding box, the exact minimum of a linear form, a projection and samples."""

from epsball.spec.sets.balls import LpBall
from epsball.spec.sets.base import NORMS, Clip, InputSet, Norm
from epsball.spec.sets.box import Box
from epsball.spec.sets.patch import Patch
from epsball.spec.sets.polytope import Polytope
from epsball.spec.sets.product import Product
from epsball.spec.sets.transformed import Transformed
from epsball.spec.sets.transforms import Geometric, Photometric
from epsball.spec.sets.words import WordSubstitution

__all__ = [
    "NORMS", "Box", "Clip", "Geometric", "InputSet", "LpBall", "Norm", "Patch", "Photometric", "Polytope", "Product", "Transformed",
    "WordSubstitution",
]  # fmt: skip
