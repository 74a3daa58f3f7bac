"""What an attack is, what it returns, and the climbing loop under the gradient attacks."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from epsball.attacks.steps import step
from epsball.attacks.untouched import untouched
from epsball.device import generator as seeded
from epsball.errors import BadConfig, BadData, BadShape, SoftmaxOutput, Unsound
from epsball.problem.property import Property
from epsball.problem.sets import InputSet
from epsball.registry import Registry
from epsball.types import Function

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from epsball.attacks.loss import MarginLoss
    from epsball.types import Bool, Float, Int, Tensor

Stop = Literal["never", "success"]
_SUM = 1e-5  # by which the sum of probabilities may miss 1


@dataclass(frozen=True, eq=False)
class Result:
    """The worst input that was found for each sample, the nominal one among them.

    Attributes:
        x: (B, *x), inside the set.
        y: (B, K), the network's output there, evaluated again on the whole batch.
        margin: (B,), the least of `C y + d`: an upper bound of the true least margin over the set.
    """

    x: Tensor
    y: Tensor
    margin: Tensor

    @property
    def success(self) -> Bool[Tensor, " B"]:
        """Where the property is broken. A margin of exactly 0, two outputs that are equal, is no answer either way."""
        return self.margin < 0


class Attack(Protocol):
    """A frozen dataclass whose fields are its options."""

    def __call__(self, function: Function, input_set: InputSet, prop: Property, generator: torch.Generator | None = None) -> Result:
        """Look for inputs of the set that break the property.

        Args:
            function: any module or function from (B, *x) to (B, K); its mode, flags, gradients and buffers stay as they are.
            input_set: one set a sample.
            prop: one property a sample, such as `robust(labels, classes)`.
            generator: source of every random number; None is one with a fixed seed. The global state is never read or moved.
                What is found for a sample does not depend on the others of its batch.

        Raises:
            BadShape: function, set and property do not fit together.
            BadData: the network's output on a nominal input is NaN or infinite.
        """
        ...


attacks: Registry[type[Attack]] = Registry("attack", package="epsball.attacks")


@dataclass(frozen=True, eq=False)
class Task:
    """Function, set and property, checked to fit."""

    function: Function
    input_set: InputSet
    prop: Property

    @property
    def x(self) -> Tensor:
        return self.input_set.centre

    @property
    def everyone(self) -> Int[Tensor, " B"]:
        """The index of every sample."""
        return torch.arange(len(self.x), device=self.x.device)

    def take(self, index: Tensor) -> Task:
        """Some of the samples."""
        return Task(self.function, self.input_set.take(index), self.prop.take(index))

    def slope(
        self, x: Tensor, loss: MarginLoss, row: Int[Tensor, " B"] | None
    ) -> tuple[Float[Tensor, "R B"], Float[Tensor, "B *x"]]:
        """The margins at a point, and the gradient of the loss there; a NaN gradient is 0."""
        with torch.enable_grad():
            point = x.detach().clone().requires_grad_()
            margins = self.prop.margins(self.function(point))
            total = loss(margins, row).sum()
            if not total.requires_grad:
                raise BadConfig("the network's output has no gradient in its input", fix="give a differentiable network")
            (gradient,) = torch.autograd.grad(total, point)
        return margins.detach(), gradient.nan_to_num()


@dataclass(frozen=True, eq=False)
class Climb:
    """One ascent.

    Attributes:
        loss: what to climb.
        steps: the step sizes, as shares of the set's radius.
        stop: "never": look for the least margin; "success": a sample stops, and leaves the batch, once it is broken.
    """

    loss: MarginLoss
    steps: Sequence[float]
    stop: Stop

    def __call__(self, task: Task, start: Tensor, row: Int[Tensor, " B"] | None = None) -> tuple[Tensor, Tensor]:
        """The point of least margin on the way, and that margin (B,): infinity where every value was NaN. Under no_grad."""
        best, least = start.clone(), start.new_full((len(start),), math.inf)
        active, x = torch.arange(len(start), device=start.device), start
        for share in self.steps:
            margins, gradient = task.slope(x, self.loss, row)
            _keep(best, least, active, x, margins)
            if self.stop == "success":
                going = (least[active] >= 0).nonzero()[:, 0]
                if len(going) == 0:
                    return best, least
                if len(going) < len(active):
                    task, active, x, gradient = task.take(going), active[going], x[going], gradient[going]
                    row = None if row is None else row[going]
            x = task.input_set.project(step(task.input_set, x, gradient, share))
        _keep(best, least, active, x, task.prop.margins(task.function(x)))
        return best, least


def _keep(best: Tensor, least: Tensor, active: Tensor, x: Tensor, margins: Tensor) -> None:
    """Record the points that are worse than any before; NaN never is."""
    worst = margins.amin(0)
    better = worst < least[active]
    chosen = active[better]
    best[chosen], least[chosen] = x[better], worst[better]


Run = tuple["Tensor", "Tensor", "Tensor"]  # samples (M,), their points (M, *x), the margins there (M,)


def search(function: Function, input_set: InputSet, prop: Property, runs: Callable[[Task, Tensor], Iterable[Run]]) -> Result:
    """The worst of several runs and of the nominal input, put back into the set, checked, and evaluated again.

    Args:
        function: as of an attack.
        input_set: as of an attack; what is walked in is that set rounded inwards, so that every point found lies in the exact one.
        prop: as of an attack.
        runs: called with the task and the nominal margins (B,), inside `untouched`.

    Raises:
        Unsound: a point lies outside its set: a defect of the set's projection.
    """
    input_set = input_set.inner()
    with untouched(function), torch.no_grad():
        task, y, least = _checked(function, input_set, prop)
        best, lowest = task.x.clone(), least.clone()
        for index, x, margin in runs(task, least):
            better = margin < lowest[index]
            chosen = index[better]
            best[chosen], lowest[chosen] = x[better], margin[better]
        best = input_set.project(best)
        _check_inside(input_set, best)
        there = function(best)
        margin = task.prop.margins(there).amin(0)
        worse = (margin < least) & torch.isfinite(there).all(1)
        return Result(
            torch.where(worse.view(-1, *(1,) * (best.dim() - 1)), best, task.x),
            torch.where(worse[:, None], there, y),
            torch.where(worse, margin, least),
        )


def default_generator(task: Task, generator: torch.Generator | None) -> torch.Generator:
    """The given generator, or one with a fixed seed of its own."""
    return generator if generator is not None else seeded(task.x.device, 0)


def _checked(function: Function, input_set: InputSet, prop: Property) -> tuple[Task, Tensor, Tensor]:
    """The task with its property in the output's precision; the nominal outputs and their least margins."""
    x = input_set.centre
    try:
        y = function(x)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise BadShape(
            f"the network cannot be run on inputs {x.dtype} {tuple(x.shape)} on {x.device}: {str(error).splitlines()[0]}",
            fix="give inputs of the network's own shape, precision and device",
        ) from error
    if not isinstance(y, torch.Tensor) or tuple(prop.C.shape[1:]) != tuple(y.shape):
        got = tuple(y.shape) if isinstance(y, torch.Tensor) else type(y).__name__
        raise BadShape(
            f"an output {got} for a property of {prop.C.shape[1]} samples and {prop.C.shape[2]} classes",
            fix="return logits (B, K) and give one label a sample",
        )
    broken = (~torch.isfinite(y).all(1)).nonzero()[:, 0]
    if len(broken):
        raise BadData(
            "the network's output is NaN or infinite",
            where=f"sample {int(broken[0])} of the batch",
            fix="check the weights and the scale of the inputs",
        )
    _warn_of_softmax(y)
    task = Task(function, input_set, prop.to(y.dtype))
    return task, y, task.prop.margins(y).amin(0)


def _warn_of_softmax(y: Tensor) -> None:
    """Probabilities saturate: where the network is sure, they have no gradient to climb, and a margin of 1 is lost to rounding."""
    if len(y) and y.shape[1] > 1 and bool(((y >= 0).all() & ((y.sum(1) - 1).abs() <= _SUM)).all()):
        warnings.warn(
            "the network's outputs are probabilities, such as of a softmax at its end: where it is sure their gradient vanishes, "
            "and an attack finds less than there is. Leave the softmax out: the order of the logits is the same",
            SoftmaxOutput,
            stacklevel=5,
        )


def _check_inside(input_set: InputSet, x: Tensor) -> None:
    """A point of the set is its own projection, up to rounding."""
    slack = 8 * torch.finfo(x.dtype).eps * (1 + x.abs())
    inside = ((input_set.project(x) - x).abs() <= slack).flatten(1).all(1)
    if not bool(inside.all()):
        index = int((~inside).nonzero()[0, 0])
        raise Unsound("an attack left its set", where=f"sample {index} of the batch", fix="report this as a defect of epsball")
