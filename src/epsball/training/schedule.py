"""What changes during a run, as pure functions of progress: perturbation radius, weights of a loss, learning rate.

Lengths are given in epochs and rounded to steps once, so a schedule is a function of the step and never of the clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from epsball.errors import BadConfig
from epsball.training.base import Progress

Shape = Literal["linear", "smooth"]
_SMOOTH_SHARE, _SMOOTH_POWER = 0.25, 4


@dataclass(frozen=True)
class Ramp:
    """`start` during the warm-up, then on to `end` over the ramp, and `end` for the rest.

    "smooth" grows with the fourth power over the first quarter of the ramp and linearly after it, with a continuous slope (the
    schedule of Gowal et al.'s released code): with s0 and s1 the first and last step of the ramp, m = s0 + floor((s1 - s0) / 4),
    t = (m - s0)^3 and a = 1 / (4 (s1 - m) t + (m - s0) t), the share is a (s - s0)^4 up to m.

    Attributes:
        end: the final value.
        start: the first value.
        warmup: epochs at the first value.
        ramp: epochs from the first value to the final one; 0 for a jump.
        shape: "linear" or "smooth".
        paced: whether it is a schedule of "eps" or of "kappa", for a curriculum that follows a target.

    Raises:
        BadConfig: a length is negative, or a value is not finite.
    """

    end: float
    start: float = 0.0
    warmup: float = 0.0
    ramp: float = 0.0
    shape: Shape = "linear"
    paced: Literal["eps", "kappa"] = "eps"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise BadConfig(f"a schedule from {self.start} to {self.end}", fix="give finite values")
        for name in ("warmup", "ramp"):
            length = getattr(self, name)
            if not (math.isfinite(length) and length >= 0):
                raise BadConfig(f"{name} must be a number of epochs of at least 0, not {length}", fix="give 0 or more epochs")
        if self.shape not in ("linear", "smooth"):
            raise BadConfig(f"unknown shape of a ramp: {self.shape!r}", fix="use linear or smooth")

    def __call__(self, at: Progress) -> float:
        """The value in force at a step."""
        return self.start + (self.end - self.start) * self.share(at)

    def span(self, per_epoch: int) -> tuple[int, int]:
        """First and last step of the ramp."""
        return round(self.warmup * per_epoch), round((self.warmup + self.ramp) * per_epoch)

    def share(self, at: Progress) -> float:
        """How far the ramp has come, 0 to 1."""
        if at.share is not None and at.paced in (self.paced, "both"):
            return at.share
        first, last = self.span(at.per_epoch)
        if at.step >= last:
            return 1.0
        if at.step <= first:
            return 0.0
        gone, length = at.step - first, last - first
        middle = math.floor(_SMOOTH_SHARE * length)
        if self.shape == "linear" or middle == 0:  # a smooth ramp of less than 4 steps has no curved part
            return gone / length
        t = float(middle ** (_SMOOTH_POWER - 1))
        a = 1.0 / ((length - middle) * _SMOOTH_POWER * t + middle * t)
        if gone < middle:
            return float(a * gone**_SMOOTH_POWER)
        reached = a * middle**_SMOOTH_POWER
        return float(reached + (1.0 - reached) * (gone - middle) / (length - middle))

    def check(self, run: Progress) -> None:
        """Raise unless the schedule ends within the run.

        Raises:
            BadConfig: it is longer.
        """
        last = self.span(run.per_epoch)[1]
        if last > run.steps:
            raise BadConfig(
                f"warm-up and ramp take {self.warmup + self.ramp:g} epochs, and the run has {run.steps / run.per_epoch:g}",
                where="recipe.warmup, recipe.ramp",
                fix="train for more epochs, or shorten the ramp",
            )


@dataclass(frozen=True)
class Decay:
    """A learning rate that is multiplied by a factor at each milestone.

    Attributes:
        first: before any milestone.
        factor: at each milestone.
        milestones: in epochs, rising.

    Raises:
        BadConfig: a rate or factor that is not positive, or milestones that do not rise.
    """

    first: float
    factor: float = 0.2
    milestones: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.first) and self.first > 0):
            raise BadConfig(f"a learning rate must be positive, not {self.first}", where="train.lr", fix="give a rate such as 5e-4")
        if not 0 < self.factor <= 1:
            raise BadConfig(
                f"the decay of the learning rate must lie in (0, 1], not {self.factor}",
                where="train.decay",
                fix="give a factor such as 0.2",
            )
        if any(m < 0 for m in self.milestones) or list(self.milestones) != sorted(set(self.milestones)):
            raise BadConfig(
                f"milestones must be at least 0 and rise, not {list(self.milestones)}",
                where="train.milestones",
                fix="give epochs, such as [50, 60]",
            )

    def __call__(self, at: Progress) -> float:
        """The rate of the step that comes next."""
        passed = sum(at.step >= round(m * at.per_epoch) for m in self.milestones)
        return self.first * self.factor**passed

    def check(self, run: Progress) -> None:
        """Raise unless every milestone lies within the run.

        Raises:
            BadConfig: one comes after the end.
        """
        late = [m for m in self.milestones if m * run.per_epoch >= run.steps]
        if late:
            raise BadConfig(
                f"the milestone {late[0]:g} comes after the run's end, {run.steps / run.per_epoch:g} epochs",
                where="train.milestones",
                fix="train for more epochs, or drop the milestone",
            )


def check_weight(value: float, name: str) -> None:
    """Raise unless a weight lies in [0, 1].

    Raises:
        BadConfig: it does not.
    """
    if not 0 <= value <= 1:
        raise BadConfig(f"{name} must lie in [0, 1], not {value}", where=name, fix="give a weight between 0 and 1")


def milestones(epochs: int) -> tuple[float, float]:
    """Where the learning rate of a named recipe falls: after three quarters of the epochs and after nine tenths."""
    return 0.75 * epochs, 0.9 * epochs
