"""Attack a smoothed classifier: ascent through the soft expectation, with noise drawn anew at each step (expectation over noise).

Paper:   Athalye et al. 2018, arXiv:1707.07397 (expectation over transformations); Salman et al. 2019, arXiv:1906.04584.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from epsball.attacks.climb import ascend
from epsball.errors import BadConfig
from epsball.problem.labels import as_labels
from epsball.problem.sets import LpBall
from epsball.proportion import check_alpha
from epsball.smoothing.core import Smoothed
from epsball.smoothing.log import ABSTAINED
from epsball.types import Float, Int, Tensor


@dataclass(frozen=True, eq=False)
class SmoothResult:
    """What the attack found.

    Attributes:
        x: (B, *x) the perturbed inputs; where nothing was found, the last ones tried.
        radius: (B,) l2 distance from the nominal inputs.
        success: (B,) True where PREDICT, on fresh noise, returns another class than the label, without abstaining.
        predicted: (B,) what PREDICT returns there; `ABSTAINED` for an abstention.
    """

    x: Tensor
    radius: Tensor
    success: Tensor
    predicted: Tensor


@dataclass(frozen=True)
class SmoothPGD:
    """Projected gradient ascent of -log P_soft(label) in an l2 ball, then PREDICT on fresh noise.

    A success is a statement about the hard vote, wrong with probability at most `alpha`; the soft expectation only leads the way.

    Attributes:
        steps: gradient steps.
        samples: noisy copies a step; noise is fresh in each.
        step_size: the first step as a share of eps; steps shrink linearly.
        votes: noisy copies for the final PREDICT.
        alpha: its probability of error.
    """

    steps: int = 20
    samples: int = 32
    step_size: float = 0.5
    votes: int = 1000
    alpha: float = 0.001

    def __post_init__(self) -> None:
        if self.steps < 1 or self.samples < 1 or self.votes < 1 or not self.step_size > 0:
            raise BadConfig(
                "an attack needs steps, samples, votes and a step size above 0",
                where=repr(self),
                fix="leave out what is 0: see its defaults",
            )
        check_alpha(self.alpha)

    def __call__(
        self, smoothed: Smoothed, x: Float[Tensor, "B *x"], y: Int[Tensor, " B"], eps: float, *, images: Sequence[int] | None = None
    ) -> SmoothResult:
        """Perturbed inputs within eps of x.

        Args:
            smoothed: whom to attack.
            x: inputs, in its valid range.
            y: labels.
            eps: l2 radius.
            images: the images' numbers, which seed their noise.

        Raises:
            BadConfig: eps is negative or not finite, or the noise is not additive.
            BadShape, BadData: labels that are not one integer a sample, or out of range.
        """
        numbers = list(range(len(x))) if images is None else list(images)
        y = as_labels(y, smoothed.classes, count=len(x)).to(x.device)
        ball = LpBall(x, eps, "l2", smoothed.clip)
        tiny = torch.finfo(x.dtype).tiny

        def objective(point: Tensor, step: int) -> Tensor:
            chosen = smoothed.probabilities(point, self.samples, images=numbers, draw=step).gather(1, y[:, None])
            return -chosen.clamp(min=tiny).log().sum()

        def move(point: Tensor, gradient: Tensor, step: int) -> Tensor:
            length = torch.linalg.vector_norm(gradient.flatten(1), dim=1).clamp(min=tiny)
            size = eps * self.step_size * (1 - step / self.steps)
            return ball.project(point + size * gradient / length.view(-1, *(1,) * (x.dim() - 1)))

        moved = ascend(objective, x, self.steps, move)
        labels = [p.label for p in smoothed.predict(moved, self.votes, self.alpha, images=numbers)]
        predicted = torch.tensor([ABSTAINED if label is None else label for label in labels], dtype=torch.long, device=x.device)
        radius = torch.linalg.vector_norm((moved - x).flatten(1), dim=1)
        return SmoothResult(moved, radius, (predicted != y) & (predicted != ABSTAINED), predicted)


def nearest(
    attack: SmoothPGD,
    smoothed: Smoothed,
    x: Float[Tensor, "B *x"],
    y: Int[Tensor, " B"],
    radii: Sequence[float],
) -> Float[Tensor, " B"]:
    """The smallest distance at which the attack succeeds when it is run at increasing radii; infinity where it never does."""
    best = torch.full((len(x),), float("inf"), dtype=x.dtype, device=x.device)
    left = torch.arange(len(x), device=x.device)
    for eps in sorted(radii):
        found = attack(smoothed, x[left], y[left], eps, images=left.tolist())
        best[left[found.success]] = found.radius[found.success]
        left = left[~found.success]
        if len(left) == 0:
            break
    return best
