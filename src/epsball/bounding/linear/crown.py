"""CROWN: linear bounds pulled back to the input (Zhang et al. 2018), for any source of the intermediate bounds.

A row `a` over the output stands for `<a, f(x)>`. With lines `s x + t` below and `S x + T` above each non-linear unit, Theorem 3.2
rewrites it over the arguments, from the last layer to the first,

    a  ->  A^T a            with bias  <a, b>             at an affine operator A x + b,
    a  ->  s a+ + S a-      with bias  <a+, t> + <a-, T>  at a non-linear one,

and what arrives at the input is minimised over the set in closed form. `Known` has the lines; the walk is `linear/walk.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.bounding.base import bounders
from epsball.bounding.budget.cost import FORM, in_parts
from epsball.bounding.linear.intermediate import CHUNK_BYTES, Intermediate, Source, Tightest, named
from epsball.bounding.linear.neurons import RowBounds, walked
from epsball.errors import BadConfig
from epsball.ops.operator import Slope

if TYPE_CHECKING:
    from epsball.bounding.ibp import Intervals
    from epsball.bounding.linear.known import Known
    from epsball.forms.rows import Rows
    from epsball.ops.prepared import Prepared
    from epsball.problem.sets import InputSet
    from epsball.types import Tensor

DENSE = 4  # chunks of memory for the rows of a specification: they are dense, and have no lists to keep


@bounders.register("crown")
@dataclass(frozen=True)
class Crown:
    """Backward linear bounds.

    Attributes:
        slope: the lower line of an unstable ReLU. "adaptive": 1 where u > -l, else 0; "same": the chord's own slope, which makes
            this Fast-Lin and the dual of Wong and Kolter; "zero" and "one".
        intermediate: where the bounds of the hidden neurons come from: an object such as `Given(known)`, or a name. "ibp":
            intervals (CROWN-IBP); "forward": forward linear bounds; "tightest": intervals first, this method for the neurons they
            leave unstable, and the better of the two; "crown": this method alone, as in the literature.
        chunk_bytes: memory for the rows of one chunk of neurons; those of a specification may take four times as much.
        full: bound every neuron as well as the method can. Otherwise a ReLU that is proven stable on the way is left there: it is
            exact whatever its interval. Where that is looked for depends on the first rows of a layer, so that bounds of one set
            may differ in the fourth digit between batches and budgets; with `full` they do not.

    Shapes:  rows (P, Q, K) over the output; result (P, Q).
    Sound:   yes, up to floating point (see docs/explanation/rounding).   Complete: no.
    Cost:    one backward pass of the rows; for "crown" and "tightest" one more for each bounded layer.
    Raises:  BadConfig for an unknown slope or source, and where given bounds are of another network or a smaller set.
    Paper:   Zhang et al. 2018, arXiv:1811.00866, Thm 3.2.  Differs: the source of intermediate bounds is an argument.
    """

    slope: Slope = "adaptive"
    intermediate: Source | Intermediate = "tightest"
    chunk_bytes: int = CHUNK_BYTES
    full: bool = False

    def __post_init__(self) -> None:
        if self.slope not in ("adaptive", "same", "zero", "one"):
            raise BadConfig(f"unknown slope {self.slope!r}", fix="use adaptive, same, zero or one")
        self.source()  # an unknown name fails here

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        """Lower bounds of linear forms of the output over the set."""
        known, output = self.known(network, input_set), network.plan.output
        size, limit = FORM * max(network.sizes.values()), DENSE * self.chunk_bytes
        return in_parts(rows, size, limit, lambda part: known.lower_bound(output, part))

    def known(self, network: Prepared, input_set: InputSet) -> Known:
        """The interval of every slot that is read, and the lines of every non-linear one."""
        return self.source()(network, input_set, self.slope)

    def neurons(self, network: Prepared, input_set: InputSet) -> Intervals:
        """The interval of every slot, by rows of this method itself for all that a non-linear operator reads.

        Where rows are the source of the intermediate bounds, these are they; else they are found after those, and never wider.
        """
        source, known = self.source(), self.known(network, input_set)
        return known.found if isinstance(source, Tightest) else Tightest(True, True, self.chunk_bytes, self.rows_of()).every(known)

    def source(self) -> Intermediate:
        """Where the intermediate bounds come from, as an object."""
        return named(self.intermediate, full=self.full, chunk_bytes=self.chunk_bytes, rows_of=self.rows_of())

    def rows_of(self) -> RowBounds:
        """How the rows of hidden neurons are bounded."""
        return walked


@bounders.register("crown-ibp")
@dataclass(frozen=True)
class CrownIbp(Crown):
    """CROWN with intermediate bounds from intervals (Zhang et al. 2020, arXiv:1906.06316): one backward pass."""

    intermediate: Source | Intermediate = "ibp"
