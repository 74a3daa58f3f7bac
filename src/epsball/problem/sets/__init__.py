"""Input sets: what may go in. Each knows its bounding box, the exact minimum of a linear form, a projection and samples."""

from epsball.problem.sets.balls import LpBall
from epsball.problem.sets.base import NORMS, Clip, InputSet, Norm
from epsball.problem.sets.box import Box
from epsball.problem.sets.patch import Patch
from epsball.problem.sets.polytope import Polytope
from epsball.problem.sets.product import Product
from epsball.problem.sets.table import Tabular
from epsball.problem.sets.transformed import Transformed
from epsball.problem.sets.transforms import Geometric, Photometric
from epsball.problem.sets.words import WordSubstitution

__all__ = [
    "NORMS", "Box", "Clip", "Geometric", "InputSet", "LpBall", "Norm", "Patch", "Photometric", "Polytope", "Product", "Tabular",
    "Transformed", "WordSubstitution",
]  # fmt: skip
