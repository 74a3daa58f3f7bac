"""Where certificates of a run come from: sampled under noise with a stated probability of error, or counted without chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from epsball.errors import BadConfig
from epsball.smoothing.core import Smoothed
from epsball.smoothing.draws import scale_of
from epsball.smoothing.noises.continuous import noises
from epsball.smoothing.noises.exact import count_all, enumerations
from epsball.smoothing.resume import description, fingerprint
from epsball.smoothing.statistics.procedures import procedures
from epsball.values import options

if TYPE_CHECKING:
    from epsball.run.case import Case
    from epsball.smoothing.noises.continuous import Shape
    from epsball.smoothing.noises.exact import Enumeration
    from epsball.smoothing.sampling.sampler import Function
    from epsball.smoothing.statistics.procedures import Procedure
    from epsball.types import Tensor

Values = dict[str, Any]
T = TypeVar("T")
_OF_NOISE = "noise."


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


def certifier(  # noqa: PLR0913 - what a verb's options say
    module: Function,
    case: Case,
    sigma: float,
    noise: str = "gaussian",
    *,
    radius: float | None = None,
    procedure: str | None = None,
    alpha: float | None = None,
    selection: int | None = None,
    batch: int | None = None,
    settings: Sequence[str] = (),
    seed: int = 0,
) -> Certifier:
    """What certifies the inputs of a case.

    Args:
        module: the base classifier.
        case: the network and the images.
        sigma: scale of the noise.
        noise: a law's name, sampled or counted.
        radius: certify at this radius; None: the largest one.
        procedure: how to sample; default: sequential.
        alpha: probability of a wrong certificate, for each image; default: 0.001.
        selection: samples that choose the class; default: 100.
        batch: samples of one forward pass.
        settings: `option=value` of the procedure; `noise.KEY=value`: of the noise.
        seed: of all noise.

    Raises:
        BadConfig: an unknown noise or procedure, an option that it does not have, or one of sampling beside an exact noise.
    """
    own = [text.removeprefix(_OF_NOISE) for text in settings if text.startswith(_OF_NOISE)]
    rest = [text for text in settings if not text.startswith(_OF_NOISE)]
    if noise in enumerations:
        sampled = {"radius": radius, "procedure": procedure, "alpha": alpha, "selection": selection, "set": rest or None}
        for name, value in sampled.items():
            if value is not None:
                raise BadConfig(
                    f"{noise} noise is counted without chance: nothing is sampled",
                    where=f"--{name}",
                    fix="leave it out; --set noise.KEY=VALUE sets an option of the noise",
                )
        return Counting(module, law(enumerations[noise], sigma, own), case.network.classes, batch or Counting.batch)
    chosen = options(procedures[procedure or "sequential"], rest, "procedure")
    smoothed = Smoothed(module, law(noises[noise], sigma, own), case.network.classes, batch=batch, seed=seed, clip=case.data.clip)
    return Sampling(
        smoothed,
        chosen,
        Sampling.alpha if alpha is None else alpha,
        Sampling.selection if selection is None else selection,
        radius,
    )


def law(kind: type[T], sigma: float, settings: Sequence[str] = ()) -> T:
    """The noise of that kind, of this scale."""
    return options(kind, [f"{scale_of(kind)}={sigma!r}", *settings], "noise")
