"""The lines of randomized smoothing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from epsball.record.lines.analyses import ClassGrid
from epsball.record.lines.base import Class, Count, Line, Radius, Share


class CertificateLine(Line):
    """What randomized smoothing certifies of one input.

    Attributes:
        index: in the test set.
        label: its class.
        predicted: the smoothed class; null: it abstained.
        image: the number that seeds its noise.
        radius: certified, in `norm`; 0 if abstained.
        radii: by norm: what follows from the same counts.
        norm: `l2`, `l1`, `l0`, `patch`, ...
        lower: the probability of the class is at least this: p_A; of exact counts, its share.
        upper: the probability of every other class is at most this.
        counts: predictions by class; the last entry counts outputs that were NaN.
        samples: noisy copies that were classified, those of the selection with them.
        selection: copies that chose the class and were not used again.
        ledger: what was spent of the probability of error, by part.
        steps: of exact counts: the radius in whole units, levels of a pixel or pixels.
        claim: of exact counts: what exactly is claimed; no chance is involved.
        seconds: for this input.
    """

    kind: ClassVar[str] = "certificate"

    index: Count
    label: int
    predicted: int | None = None
    image: Count | None = None
    radius: Radius
    radii: dict[str, Radius] = {}
    norm: str = ""
    lower: Share
    upper: Share | None = None
    counts: list[Count] = []
    samples: Count
    selection: Count | None = None
    ledger: dict[str, float | None] = {}
    steps: Count | None = None
    claim: str = ""
    seconds: float | None = None


class SmoothAttackLine(Line):
    """An attack on the smoothed classifier, where its own answer is the label; `adversarial` is null for an abstention.

    Attributes:
        index: in the test set.
        label: its class.
        predicted: the smoothed classifier's class without any perturbation; null: it abstained.
        attacked: whether that is the label; if not, nothing was tried.
        adversarial: its class at the perturbed input; null: it abstains there.
        success: whether that is another class than the label; an abstention is no success.
        distance: l2, from the input to the perturbed one.
        seconds: of the batch, divided by its size.
    """

    kind: ClassVar[str] = "smooth-attack"

    index: Count
    label: int
    predicted: int | None
    attacked: bool
    adversarial: int | None = None
    success: bool = False
    distance: float | None = None
    seconds: float | None = None


class RegionsLine(Line, ClassGrid):
    """The base classifier's classes in a plane through one input, the votes of its noisy copies, and what they certify.

    Attributes:
        network: its name in the figure.
        model: the run folder or checkpoint it came from.
        data: the data set.
        index: in the test set.
        label: its class.
        predicted: by the base classifier, without noise.
        smoothed: the class that is certified; null: the smoothed classifier abstained.
        top: the class whose expectation falls along the axes: the certified one, else the one with most votes.
        towards: the class that each axis leads to; null: a direction drawn by chance.
        noise: its law.
        sigma: its scale, in units of the inputs.
        size: elements of an input.
        samples: copies that voted.
        selection: copies before those, which chose the class.
        alpha: each limit, and the radius, is wrong with at most this probability.
        votes: copies by class; outputs that were NaN are no votes.
        low: by class: the one-sided lower Clopper-Pearson limit of its share.
        high: the upper one.
        p_a: the proven share of the certified class.
        radius: that follows from it; 0: none.
        norm: of the radius.
    """

    kind: ClassVar[str] = "regions"

    network: str
    model: str = ""
    data: str = ""
    index: Count
    label: int
    predicted: int | None = None
    smoothed: Class | None = None
    top: Class
    towards: Annotated[list[Class | None], Field(min_length=2, max_length=2)]
    noise: str = ""
    sigma: Annotated[float, Field(gt=0)]
    size: Annotated[int, Field(ge=1, le=2**53)]
    samples: Annotated[int, Field(ge=1, le=2**53)]
    selection: Count = 0
    alpha: Share
    votes: Annotated[list[Count], Field(min_length=2, max_length=10**6)]
    low: list[Share]
    high: list[Share]
    p_a: Share
    radius: Radius
    norm: str = ""

    @model_validator(mode="after")
    def _votes_fit(self) -> Self:
        if not len(self.votes) == len(self.low) == len(self.high):
            raise ValueError(f"{len(self.votes)} votes, {len(self.low)} lower and {len(self.high)} upper limits")
        if sum(self.votes) > self.samples:
            raise ValueError(f"{sum(self.votes)} votes of {self.samples} copies")
        if self.top >= len(self.votes):
            raise ValueError(f"class {self.top} is none of the {len(self.votes)} that votes were counted for")
        return self
