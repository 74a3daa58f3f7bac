"""A problem: a prepared network, a set of inputs, a property of the outputs; and what may be spent on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from epsball.errors import BadConfig, BadShape
from epsball.ops.prepared import Prepared
from epsball.problem.property import Property
from epsball.problem.sets import InputSet
from epsball.types import Function, Tensor


@dataclass(frozen=True)
class Budget:
    """What a verifier may spend.

    Attributes:
        seconds: wall time for the whole problem.
        bytes: memory for the rows of linear forms that are in flight at once.
    """

    seconds: float = math.inf
    bytes: int = 2 * 2**30

    def __post_init__(self) -> None:
        if not self.seconds > 0 or self.bytes <= 0:
            raise BadConfig("a budget must be positive", fix="give seconds > 0 and bytes > 0")


@dataclass(frozen=True, eq=False)
class Problem:
    """Does every point of the set satisfy the property? One question for each sample.

    Attributes:
        network: what is bounded.
        input_set: one set a sample.
        prop: one property a sample.
        function: the user's own module: attacks climb it, and a witness counts if it breaks this one. None is the prepared network.

    Raises:
        BadShape: the set, the property and the network do not fit together.
    """

    network: Prepared
    input_set: InputSet
    prop: Property
    function: Function | None = None

    def __post_init__(self) -> None:
        if self.network.rounding is None:
            raise BadConfig('a network prepared with covers="nothing" proves nothing', fix="use prepare() as it is")
        graph, x = self.network.plan.graph, self.input_set.centre
        check_input(x, graph.input_shape)
        if self.prop.C.shape[1:] != (len(x), *graph.output_shape):
            raise BadShape(
                f"a property of shape {tuple(self.prop.C.shape)} for {len(x)} samples and {graph.output_shape[0]} classes",
                fix="C is (R, B, K)",
            )

    def __len__(self) -> int:
        return len(self.input_set.centre)

    def take(self, index: Tensor) -> Problem:
        """The problems of some samples."""
        return replace(self, input_set=self.input_set.take(index), prop=self.prop.take(index))


def check_input(x: Tensor, shape: tuple[int, ...]) -> None:
    """Raise unless a batch has the network's input shape.

    Raises:
        BadShape: it does not.
    """
    if tuple(x.shape[1:]) != tuple(shape):
        raise BadShape(
            f"inputs of shape {tuple(x.shape[1:])} for a network that takes {tuple(shape)}",
            fix="give a batch (B, *x) with the network's own input shape",
        )
