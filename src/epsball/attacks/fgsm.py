"""The fast gradient sign method (Goodfellow et al. 2015): one step of a whole radius from the nominal input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.attacks.base import Climb, Result, attacks, search
from epsball.attacks.loss import losses

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from epsball.attacks.base import Run, Task
    from epsball.problem.property import Property
    from epsball.problem.sets import InputSet
    from epsball.types import Function, Tensor


@attacks.register("fgsm")
@dataclass(frozen=True)
class FGSM:
    """One step: to a corner of a box, to the sphere of an l2 ball.

    Attributes:
        loss: a key of `losses`.

    Cost:    one gradient and two forward passes.
    Raises:  BadConfig for an unknown loss; what every attack raises.
    Paper:   Goodfellow et al. 2015, arXiv:1412.6572.  Differs: any set; a step that leaves a margin larger is not returned.
    """

    loss: str = "cross-entropy"

    def __post_init__(self) -> None:
        losses[self.loss]  # an unknown name fails here, not in the first batch

    def __call__(self, function: Function, input_set: InputSet, prop: Property, generator: torch.Generator | None = None) -> Result:
        """The worst of the nominal input and of the one step."""
        del generator  # nothing here is random
        climb = Climb(losses[self.loss], (1.0,), "never")

        def runs(task: Task, _: Tensor) -> Iterator[Run]:
            yield (task.everyone, *climb(task, task.x))

        return search(function, input_set, prop, runs)
