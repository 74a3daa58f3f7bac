"""What sampling says of a network around an input: an estimate, never a proof.

The smallest margin that was found is one the network really has, so the true least margin is at most that. A local Lipschitz
constant is estimated from the largest gradients of many batches, whose distribution has an end that extreme-value theory fits: the
CLEVER score of Weng et al. 2018 (arXiv:1801.10578). Networks that hide their gradients fool it (Goodfellow 2018, arXiv:1804.07870),
which is why the status of all this is "estimate", a word that no summary counts.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy import stats

from epsball.device import generator as seeded
from epsball.errors import BadConfig
from epsball.forms.interval import Interval
from epsball.problem.sets import InputSet, LpBall, Norm
from epsball.record.lines import EstimateLine
from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epsball.ops.prepared import Prepared
    from epsball.problem.property import Property

_SHARE = 0.1  # of the set's width: the first gradient step
_BATCH = 4096  # forward passes at once


@dataclass(frozen=True, eq=False)
class Estimate:
    """What was found in a batch of sets. Nothing here is proven.

    Attributes:
        least: (R, B) the smallest value of each row of the property that was found: the true minimum is at most this.
        found: (B, K) the range of the outputs that was found: the true one holds it.
        lipschitz: (R, B) estimated local constants of the rows, in the set's norm.
        fit: (R, B) p-value of the Weibull fit (Kolmogorov and Smirnov); NaN where the largest gradient stands in for the fit.
        radius: (B,) the CLEVER score: the least of margin / constant, at most the set's own radius; 0 for a negative margin.
        seconds: wall time.
        status: always "estimate".
    """

    least: Float[Tensor, "R B"]
    found: Interval
    lipschitz: Float[Tensor, "R B"]
    fit: Float[Tensor, "R B"]
    radius: Float[Tensor, " B"]
    seconds: float
    status: Literal["estimate"] = field(default="estimate", init=False)

    def lines(self, index: Sequence[int], label: Sequence[int]) -> list[EstimateLine]:
        """One record line an input, of type and status "estimate"."""
        return [
            EstimateLine(
                status=self.status,
                index=int(index[i]),
                label=int(label[i]),
                least=float(self.least[:, i].min()),
                outputs=[[float(a), float(b)] for a, b in zip(self.found.lower[i], self.found.upper[i], strict=True)],
                lipschitz=float(self.lipschitz[:, i].max()),
                radius=float(self.radius[i]),
                seconds=self.seconds / len(self.radius),
            )
            for i in range(len(self.radius))
        ]


@dataclass(frozen=True)
class Estimator:
    """Samples, gradient steps from the best of them, and the extreme values of the gradients.

    Attributes:
        batches: of gradients; the Weibull distribution is fitted to their maxima.
        samples: of one batch.
        steps: of projected gradient descent from the smallest sample of each row and each end of each output.
        seed: of all samples.

    Sound:   no.   Complete: no.
    Cost:    `batches * samples` forward passes and R backward ones, and `steps` of both for each row and output.
    Raises:  BadConfig.
    Paper:   Weng et al. 2018, arXiv:1801.10578, Algorithm 1.  Differs: the fitted end is never below the largest gradient seen.
    """

    batches: int = 50
    samples: int = 64
    steps: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batches < 1 or self.samples < 1 or self.steps < 0:
            raise BadConfig("an estimate needs batches >= 1, samples >= 1 and steps >= 0")

    def __call__(self, network: Prepared, input_set: InputSet, prop: Property) -> Estimate:
        """The estimates of a batch of sets."""
        start = time.perf_counter()
        norm: Norm = input_set.norm if isinstance(input_set, LpBall) else "linf"
        unit = torch.eye(network.plan.graph.output_shape[0], dtype=network.dtype, device=network.device)
        rows = torch.cat((prop.C, (ends := torch.cat((unit, -unit))[:, None].expand(-1, len(input_set.centre), -1))))
        maxima, best, where = self._sample(network, input_set, rows, len(prop.C), norm)
        best = torch.minimum(best, self._descend(network, input_set, rows, where))
        least, low = best[: len(prop.C)], best[len(prop.C) :]
        count = len(ends) // 2
        constants, fit = _endpoints(maxima)
        nominal = prop.margins(network.forward(input_set.centre).detach())
        least = least if prop.d is None else least + prop.d
        size = _radius(input_set)
        ratio = nominal.clamp(min=0) / constants.clamp(min=torch.finfo(constants.dtype).tiny)
        radius = torch.minimum(ratio.amin(0), size)
        found = Interval(low[:count].T, -low[count:].T)
        return Estimate(torch.minimum(least, nominal), found, constants, fit, radius, time.perf_counter() - start)

    def _sample(
        self, network: Prepared, input_set: InputSet, rows: Tensor, wanted: int, norm: Norm
    ) -> tuple[Float[Tensor, "N R B"], Float[Tensor, "Q B"], Float[Tensor, "Q B *x"]]:
        """The largest gradient of each batch for the first rows; the least value of every row, and where it was."""
        count, x = len(input_set.centre), input_set.centre
        best = (rows * network.forward(x).detach()).sum(-1)
        where = x.expand(len(rows), *x.shape).clone()
        maxima = x.new_zeros(self.batches, wanted, count)
        each = max(1, _BATCH // count)
        for batch in range(self.batches):
            generator = seeded(x.device, self.seed, batch)
            for taken in range(0, self.samples, each):
                many = torch.arange(count, device=x.device).repeat(min(each, self.samples - taken))
                points = input_set.take(many).sample(generator).requires_grad_()
                with torch.enable_grad():
                    values = (rows[:, many] * network.forward(points)).sum(-1)
                    slopes = [torch.autograd.grad(values[r].sum(), points, retain_graph=True)[0] for r in range(wanted)]
                steep = torch.stack([_dual_norm(slope, norm) for slope in slopes]).view(wanted, -1, count).amax(1)
                maxima[batch] = torch.maximum(maxima[batch], steep)
                lowest, place = values.detach().view(len(rows), -1, count).min(1)
                better = lowest < best
                best = torch.where(better, lowest, best)
                there = points.detach().view(-1, count, *x.shape[1:])[place, torch.arange(count, device=x.device)]
                where = torch.where(better.view(*better.shape, *(1,) * (x.dim() - 1)), there, where)
        return maxima, best, where

    def _descend(self, network: Prepared, input_set: InputSet, rows: Tensor, where: Tensor) -> Float[Tensor, "Q B"]:
        """Projected gradient descent on every row at once, its steps falling to 0."""
        count = len(input_set.centre)
        many = input_set.take(torch.arange(count, device=where.device).repeat(len(rows)))
        forms, points = rows.flatten(0, 1), where.flatten(0, 1)
        width = (input_set.hull().width.flatten(1).amax(1)).repeat(len(rows)).view(-1, *(1,) * (where.dim() - 2))
        sphere = isinstance(input_set, LpBall) and input_set.norm == "l2"
        best = (forms * network.forward(points).detach()).sum(-1)
        for step in range(self.steps):
            points = points.detach().requires_grad_()
            with torch.enable_grad():
                values = (forms * network.forward(points)).sum(-1)
                (slope,) = torch.autograd.grad(values.sum(), points)
            best = torch.minimum(best, values.detach())
            length = torch.linalg.vector_norm(slope.flatten(1), dim=1).view_as(width)
            way = slope / length.clamp(min=torch.finfo(slope.dtype).tiny) if sphere else slope.sign()
            rate = _SHARE * (1 - step / self.steps)
            points = many.project(points.detach() - rate * width * way)
        last = (forms * network.forward(points).detach()).sum(-1)
        return torch.minimum(best, last).view(len(rows), count)


def _dual_norm(slope: Tensor, norm: Norm) -> Float[Tensor, " B"]:
    flat = slope.flatten(1)
    return flat.abs().sum(1) if norm == "linf" else torch.linalg.vector_norm(flat, dim=1)


def _radius(input_set: InputSet) -> Float[Tensor, " B"]:
    if isinstance(input_set, LpBall):
        return input_set.centre.new_full((len(input_set.centre),), input_set.eps)
    return input_set.hull().width.flatten(1).amax(1) / 2


def _endpoints(maxima: Float[Tensor, "N R B"]) -> tuple[Float[Tensor, "R B"], Float[Tensor, "R B"]]:
    """The end of the reversed Weibull distribution that fits the maxima of each row and sample, and the fit's p-value."""
    values = maxima.double().cpu().numpy()
    ends, fits = values.max(0), np.full(values.shape[1:], np.nan)
    for place in np.ndindex(*values.shape[1:]):
        found = _weibull(values[(slice(None), *place)])
        if found is not None:
            ends[place], fits[place] = found
    like = maxima
    return like.new_tensor(ends), like.new_tensor(fits)


def _weibull(values: np.ndarray) -> tuple[float, float] | None:
    """The fitted end and its p-value; None where nothing can be fitted, such as on a linear network."""
    largest, spread = float(values.max()), float(np.ptp(values))
    if len(values) < 5 or spread <= 1e-9 * largest:
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        shape, end, scale = stats.weibull_max.fit((values - largest) / spread, 2.0, loc=0.1, scale=0.5)
        fit = float(stats.kstest((values - largest) / spread, "weibull_max", args=(shape, end, scale)).pvalue)
    # an end far beyond everything seen, or below it, is no end of these gradients
    return (largest + max(0.0, end) * spread, fit) if np.isfinite(end) and abs(end) < 10 else None
