"""Decision regions around one input, under the noise that smooths them: a line of a record.

After Figure 1 of Cohen, Rosenfeld, Kolter 2019, arXiv:1902.02918; theirs is a sketch, here the plane, the votes and the radius are
those of a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from epsball.analysis.boundaries import named
from epsball.analysis.plane import Plane, classes
from epsball.device import exact_arithmetic, generator
from epsball.errors import BadConfig, BadData
from epsball.proportion import check_alpha, lower_bound, upper_bound
from epsball.record.continued import continued
from epsball.record.folder import is_run
from epsball.record.lines import RegionsLine
from epsball.smoothing.core import Smoothed
from epsball.smoothing.statistics.procedures import Fixed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from epsball.run.case import Case
    from epsball.smoothing.results import Certificate
    from epsball.types import Tensor

REACH = 4.0  # half a side of the window, in sigma
_DRAWS, _COPIES = 16, 64  # noisy copies behind a direction: so many draws of so many


@dataclass(frozen=True, eq=False)
class Regions:
    """What is drawn.

    Attributes:
        case: the network and one input; its eps is not used.
        sigma: scale of the Gaussian noise, in units of the inputs.
        n: noisy copies that vote.
        alpha: each limit of a class's share, and the radius, is wrong with at most this probability.
        selection: copies before those, which choose the class that is certified.
        resolution: cells a side.

    Raises:
        BadConfig: more than one input, or sigma, n or alpha out of range.
    """

    case: Case
    sigma: float
    n: int = 10_000
    alpha: float = 0.001
    selection: int = 100
    resolution: int = 200

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if len(self.case.index) != 1:
            raise BadConfig(f"{len(self.case.index)} inputs", where="--index", fix="name one test example: a picture is around one")

    def line(self) -> RegionsLine:
        """The `regions` line: votes, certificate, and the base classifier's classes in the plane.

        Raises:
            BadConfig: see `Smoothed.certify` and `plane.classes`.
            BadData: the network's probabilities have no finite gradient.
        """
        case = self.case
        index = int(case.index[0])
        x = case.data.test.inputs(case.index).to(case.device)
        module = case.network.module
        smoothed = Smoothed(module, self.sigma, case.network.classes, seed=case.seed, clip=case.data.clip)
        (found,) = smoothed.certify(x, alpha=self.alpha, procedure=Fixed(self.n), selection=self.selection, images=[index])
        top = ranked(found, [0.0] * case.network.classes)[0] if found.label is None else found.label
        plane, rivals = falling(smoothed, x, top, found, image=index)
        half = REACH * self.sigma
        window = (-half, half, -half, half)
        with exact_arithmetic(), torch.no_grad():
            prepared = case.network.prepare()
            cells = classes(prepared, plane, self.resolution, window)
            predicted = int(prepared.forward(x.to(prepared.device, prepared.dtype)).argmax())
        return RegionsLine(
            network=named(case.model),
            model=str(case.model),
            data=case.data.name,
            index=index,
            label=int(case.data.test.y[index]),
            predicted=predicted,
            smoothed=found.label,
            top=top,
            towards=rivals,
            noise=repr(smoothed.law),
            sigma=self.sigma,
            size=x[0].numel(),
            samples=self.n,
            selection=self.selection,
            alpha=self.alpha,
            **self._bars(found),
            window=list(window),
            resolution=self.resolution,
            classes=cells,
        )

    def _bars(self, found: Certificate) -> dict[str, Any]:
        """Votes by class with one-sided limits, so that the certified class's lower one is p_A itself; and what follows from it."""
        votes = list(found.counts[:-1])
        return {
            "votes": votes,
            "low": [lower_bound(count, self.n, self.alpha) for count in votes],
            "high": [upper_bound(count, self.n, self.alpha) for count in votes],
            "p_a": found.lower,
            "radius": found.radius,
            "norm": found.norm,
        }

    def write(self, path: Path) -> RegionsLine:
        """Write a run folder with the one line, and return it.

        Raises:
            BadConfig: the folder holds something already.
        """
        if is_run(path):
            raise BadConfig("this input has its regions already", where=str(path), fix="remove it, or give another --out")
        case = self.case
        config: dict[str, Any] = {
            "model": str(case.model),
            "data": case.data.name,
            "data_digest": case.data.digest,
            "index": int(case.index[0]),
            "sigma": self.sigma,
            "samples": self.n,
            "selection": self.selection,
            "alpha": self.alpha,
            "resolution": self.resolution,
        }
        line = self.line()  # what cannot be drawn fails before a folder is made
        told = f"probability of error at most {self.alpha:g} a limit"
        with continued(path, case.heading("analyse", config, told)) as record:
            record.append(line)
        return line


def ranked(found: Certificate, soft: Sequence[float]) -> list[int]:
    """Classes by their votes, the most first; by the soft expectation where votes are equal."""
    return sorted(range(len(soft)), key=lambda c: (-found.counts[c], -soft[c], c))


def falling(smoothed: Smoothed, x: Tensor, top: int, found: Certificate, *, image: int) -> tuple[Plane, list[int | None]]:
    """The plane through x in which the top class is lost soonest to its two strongest rivals.

    Its directions are those in which the soft expectation of a rival minus that of the top class grows fastest, the second one
    made orthogonal to the first. Where there is no second rival, or no gradient at all, the seed draws a direction instead.

    Args:
        smoothed: under additive noise.
        x: (1, *x).
        top: the class that is left.
        found: whose votes rank the rivals.
        image: the input's number, which seeds its noise.

    Returns:
        The plane, and the class that each axis leads to: None for a direction drawn by chance.

    Raises:
        BadData: the gradient is not finite.
    """
    with torch.no_grad():
        soft = torch.stack([smoothed.probabilities(x, _COPIES, images=[image], draw=d)[0] for d in range(_DRAWS)]).mean(0)
    rivals = [c for c in ranked(found, soft.tolist()) if c != top][:2]
    directions = [(c, _climb(smoothed, x, top, c, image)) for c in rivals]
    usable: list[tuple[int | None, Tensor]] = [(c, way) for c, way in directions if bool(way.any())]
    drawn = torch.randn((2, *x.shape[1:]), generator=generator(torch.device("cpu"), smoothed.seed, image), dtype=torch.float64)
    usable += [(None, way) for way in drawn]
    (first, along), *others = usable
    for second, across in others:
        try:
            return Plane.along(x[0], along, across), [first, second]
        except BadData:
            continue  # both rivals lie in the same direction
    raise BadData("an input with one element spans no plane", fix="choose a data set with more features")


def _climb(smoothed: Smoothed, x: Tensor, top: int, rival: int, image: int) -> Tensor:
    """Gradient of the soft expectation of a rival minus that of the top class, float64."""
    total = torch.zeros(x.shape[1:], dtype=torch.float64)
    for draw in range(_DRAWS):
        point = x.detach().clone().requires_grad_()
        p = smoothed.probabilities(point, _COPIES, images=[image], draw=draw)[0]
        others = torch.cat((p[:top], p[top + 1 :])).sum()  # 1 - p[top], of which nothing cancels where p[top] rounds to 1
        (gradient,) = torch.autograd.grad(p[rival] + others, point)
        total += gradient[0].double().cpu()
    if not bool(total.isfinite().all()):
        raise BadData(
            "the network's probabilities have no finite gradient at this input", fix="choose another input, or train anew"
        )
    return total / _DRAWS
