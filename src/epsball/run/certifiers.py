"""Where certificates of a run come from: sampled under noise with a stated probability of error, or counted without chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from epsball.smoothing.noises.exact import count_all
from epsball.smoothing.resume import description, fingerprint

if TYPE_CHECKING:
    from epsball.smoothing.core import Smoothed
    from epsball.smoothing.noises.continuous import Shape
    from epsball.smoothing.noises.exact import Enumeration
    from epsball.smoothing.sampling.sampler import Function
    from epsball.smoothing.statistics.procedures import Procedure
    from epsball.types import Tensor

Values = dict[str, Any]


class Certifier(Protocol):
    """A frozen dataclass: everything that a certificate depends on but the image. It is what a machine of a cluster is sent."""

    @property
    def arithmetic(self) -> str:
        """What a certificate claims, for the header of the record."""
        ...

    def described(self) -> Values:
        """What certificates depend on: a record is only continued with the same."""
        ...

    def headline(self) -> Values:
        """What stands in the summary."""
        ...

    def takes(self, inputs: Shape) -> Shape:
        """The shape in which the network is given an input of that shape."""
        ...

    def stream(self, x: Tensor, images: list[int]) -> Iterator[Values]:
        """Certificates of the inputs with these numbers as plain values, as they are decided.

        What cannot be certified raises at the call, before the first is asked for.
        """
        ...


@dataclass(frozen=True, eq=False)
class Sampling:
    """Randomized smoothing.

    Attributes:
        smoothed: the network under its noise.
        procedure: how to sample.
        alpha: probability of a wrong certificate, for each image.
        selection: samples that choose the class.
        radius: certify at this radius; None: the largest one.
    """

    smoothed: Smoothed
    procedure: Procedure
    alpha: float = 0.001
    selection: int = 100
    radius: float | None = None

    @property
    def arithmetic(self) -> str:
        return f"probability of error at most {self.alpha:g} an image"

    def described(self) -> Values:
        return description(self.smoothed, self.procedure, self.alpha, self.selection, self.radius)

    def headline(self) -> Values:
        return {"noise": repr(self.smoothed.law), "radius": self.radius, "alpha": self.alpha}

    def takes(self, inputs: Shape) -> Shape:
        return self.smoothed.law.shape(inputs)

    def stream(self, x: Tensor, images: list[int]) -> Iterator[Values]:
        smoothed = self.smoothed
        if self.radius is None:
            goal = smoothed.largest(x, self.alpha, self.procedure)
        else:
            goal = smoothed.at(x, self.radius, self.alpha, self.procedure)
        found = smoothed.stream(x, goal, selection=self.selection, images=images)
        return (certificate.line() for certificate in found)


@dataclass(frozen=True, eq=False)
class Counting:
    """Smoothing without chance: every value of a finite noise is tried.

    Attributes:
        module: the base classifier.
        kinds: the noise.
        classes: number of classes.
        batch: the most copies of one forward pass.
    """

    module: Function
    kinds: Enumeration
    classes: int
    batch: int = 256

    @property
    def arithmetic(self) -> str:
        return "exact counts: no chance is involved"

    def described(self) -> Values:
        return {"model": fingerprint(self.module), "noise": repr(self.kinds), "classes": self.classes}

    def headline(self) -> Values:
        return {"noise": repr(self.kinds), "radius": None, "alpha": 0.0}

    def takes(self, inputs: Shape) -> Shape:
        return self.kinds.shape(inputs)

    def stream(self, x: Tensor, images: list[int]) -> Iterator[Values]:
        inputs = tuple(x.shape[1:])
        self.kinds.copies(x[0], 0, 1)  # raises for inputs off the grid before a generator would
        return (
            self.kinds.certificate(image, count_all(self.module, self.kinds, one[None], self.classes, self.batch)[0], inputs).line()
            for image, one in zip(images, x, strict=True)
        )
