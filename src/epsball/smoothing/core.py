"""The smoothed classifier g(x) = argmax_c P(f(x + noise) = c): predict it, certify it, differentiate it.

Paper:   Cohen, Rosenfeld, Kolter 2019, arXiv:1902.02918.  Differs: sequential sampling by default, and images share batches.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch

from epsball.attacks.untouched import untouched
from epsball.device import check_seed, generator
from epsball.errors import BadConfig, BadData, BadShape, WideNoise
from epsball.graph.settled import initialised, settled
from epsball.smoothing.noises.continuous import Gaussian, Laplace, Noise, Uniform
from epsball.smoothing.results import Certificate, Prediction
from epsball.smoothing.sampling.blocks import run
from epsball.smoothing.sampling.goals import AtRadius, Goal, LargestRadius
from epsball.smoothing.sampling.per_image import Certifying, ImageCount
from epsball.smoothing.sampling.sampler import Function, Sampler, Stream, check_mode
from epsball.smoothing.statistics import binomial
from epsball.smoothing.statistics.procedures import Procedure
from epsball.smoothing.statistics.sequential import Sequential
from epsball.types import Float, Tensor

_WIDE = 3  # times the valid range: the widest noise of the literature is as wide as the range


@dataclass(frozen=True, eq=False)
class Smoothed:
    """A classifier under smoothing noise.

    Attributes:
        module: the base classifier: logits (n, classes) of noisy inputs. Normalisation belongs inside it.
        noise: a `Noise`, or a number: the sigma of Gaussian noise.
        classes: number of classes.
        batch: the most samples of one forward pass; no count depends on it. None: 256 on the CPU, where larger batches leave the
            caches, 2048 elsewhere.
        seed: of all noise. The noise of an image depends on the seed and the image's number alone.
        clip: the valid range of the inputs, or None. Noisy copies are not cut to it.

    Raises:
        BadConfig: sigma is not positive, fewer than 2 classes, a batch below 1.
    """

    module: Function
    noise: Noise | float
    classes: int
    batch: int | None = None
    seed: int = 0
    clip: tuple[float, float] | None = (0.0, 1.0)
    law: Noise = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.classes < 2 or (self.batch is not None and self.batch < 1):
            raise BadConfig(f"a smoothed classifier needs at least 2 classes and a batch of 1, not {self.classes} and {self.batch}")
        check_seed(self.seed)
        object.__setattr__(self, "law", Gaussian(self.noise) if isinstance(self.noise, int | float) else self.noise)
        self._warn_of_width()

    def _warn_of_width(self) -> None:
        if self.clip is None or not isinstance(self.law, Gaussian | Uniform | Laplace):
            return
        width = self.clip[1] - self.clip[0]
        if self.law.scale > _WIDE * width:
            warnings.warn(
                f"noise of scale {self.law.scale:g} on inputs in {self.clip}: they are {width / self.law.scale:.2g} of its "
                "size. Sigma is in units of the inputs: 64/255, not 64",
                WideNoise,
                stacklevel=4,
            )

    def predict(
        self, x: Float[Tensor, "B *x"], n: int = 1000, alpha: float = 0.001, *, images: Sequence[int] | None = None
    ) -> list[Prediction]:
        """PREDICT: the class of the smoothed classifier, or an abstention; wrong with probability at most alpha an image.

        Args:
            x: inputs.
            n: noisy copies of each.
            alpha: probability of error for each image.
            images: the images' numbers, which seed their noise; default 0, 1, ...

        Raises:
            BadConfig: so few copies that no vote could be an answer; the message has the least number.
        """
        self._check(x, images)
        if n > 0 and binomial.abstains(n, 0, alpha):
            least = next(k for k in itertools.count(n + 1) if not binomial.abstains(k, 0, alpha))
            raise BadConfig(
                f"{n} copies can never answer at alpha {alpha:g}: even {n} of {n} votes could be chance",
                where="n",
                fix=f"give n={least} or more, or a larger alpha",
            )
        return [trial.prediction(alpha) for trial in self._counted(x, n, images)]

    def votes(self, x: Float[Tensor, "B *x"], n: int = 1000, *, images: Sequence[int] | None = None) -> Float[Tensor, "B K"]:
        """The hard vote: shares of n noisy copies that are predicted as each class, an estimate of P(f(x + noise) = c)."""
        counts = torch.tensor([trial.counts[:-1].tolist() for trial in self._counted(x, n, images)], dtype=torch.float64)
        return (counts / n).to(x.dtype)

    def probabilities(
        self, x: Float[Tensor, "B *x"], n: int = 64, *, images: Sequence[int] | None = None, draw: int = 0
    ) -> Float[Tensor, "B K"]:
        """The soft expectation: mean softmax over n noisy copies, differentiable in x and in the network.

        It is another function than the hard vote, close to it where the base classifier is confident. Attacks ascend its loss.
        Memory grows with n x B, as any gradient's does.

        Args:
            x: inputs.
            n: noisy copies of each.
            images: the images' numbers, which seed their noise.
            draw: another number gives fresh noise.

        Raises:
            BadConfig: the noise is not additive.
        """
        numbers = self._check(x.detach(), images)
        if self.law.shape(tuple(x.shape[1:])) != tuple(x.shape[1:]):
            raise BadConfig(
                f"{self.law} does not add to the input, so it has no gradient", fix="use additive noise, such as Gaussian"
            )
        with torch.no_grad():
            noise = torch.empty((len(x), n, *x.shape[1:]), dtype=x.dtype, device=x.device)
            for row, number in zip(noise, numbers, strict=True):
                seeded = generator(x.device, self.seed, number, int(Stream.GRADIENT), draw)
                self.law.fill(row, torch.zeros_like(x[0]), seeded)
        noisy = (x[:, None] + noise).flatten(0, 1)
        logits = self.module(noisy)
        return cast("Tensor", logits.softmax(1).view(len(x), n, -1).mean(1))

    def certify(
        self,
        x: Float[Tensor, "B *x"],
        *,
        alpha: float = 0.001,
        procedure: Procedure | None = None,
        selection: int = 100,
        images: Sequence[int] | None = None,
    ) -> list[Certificate]:
        """The largest radius that can be certified for each input; wrong with probability at most alpha an image.

        Args:
            x: inputs.
            alpha: probability of a wrong certificate, for each image.
            procedure: how to sample; `Sequential()` by default, `Fixed(n)` is CERTIFY of Cohen et al.
            selection: samples that choose the class; none of them is used again.
            images: the images' numbers, which seed their noise; default 0, 1, ...
        """
        return self._all(x, self.largest(x, alpha, procedure), selection, images)

    def certify_at(
        self,
        x: Float[Tensor, "B *x"],
        radius: float,
        *,
        alpha: float = 0.001,
        procedure: Procedure | None = None,
        selection: int = 100,
        images: Sequence[int] | None = None,
    ) -> list[Certificate]:
        """Whether each input is certified at one radius (in the noise's own norm): fewer samples than the largest radius takes."""
        return self._all(x, self.at(x, radius, alpha, procedure), selection, images)

    def largest(self, x: Tensor, alpha: float = 0.001, procedure: Procedure | None = None) -> Goal:
        """The goal "largest radius", for `stream`."""
        return LargestRadius((procedure or Sequential()).sequence(alpha), self.law, tuple(x.shape[1:]))

    def at(self, x: Tensor, radius: float, alpha: float = 0.001, procedure: Procedure | None = None) -> Goal:
        """The goal "certify at a radius", for `stream`."""
        inputs = tuple(x.shape[1:])
        threshold = (procedure or Sequential()).at(self.law.needed(radius, inputs), alpha)
        rule = threshold.boundary
        if not rule.possible:
            raise BadConfig(
                f"no outcome certifies a radius of {radius}: even {rule.cap} hits of {rule.cap} do not reach it",
                fix="ask for a smaller radius, raise the cap, or use more noise",
            )
        return AtRadius(threshold, radius, self.law, inputs)

    def stream(
        self, x: Float[Tensor, "B *x"], goal: Goal, *, selection: int = 100, images: Sequence[int] | None = None
    ) -> Iterator[Certificate]:
        """Certificates as they are decided. To resume, give the images that are left, with their numbers.

        Raises:
            BadConfig: the cap is below the selection sample, or a layer is in training mode.
            BadData: NaN, infinity, or an input outside the valid range.
        """
        if not 1 <= selection <= goal.looks[-1]:
            raise BadConfig(
                f"a selection sample of {selection} with a cap of {goal.looks[-1]} samples",
                fix="the selection sample needs at least 1 sample and at most as many as the cap",
            )
        numbers = self._check(x, images)
        trials = (Certifying(x[k], number, selection, goal) for k, number in enumerate(numbers))
        return (trial.certificate() for trial in run(self._sampler(x), trials))

    def _all(self, x: Tensor, goal: Goal, selection: int, images: Sequence[int] | None) -> list[Certificate]:
        numbers = self._check(x, images)
        found = {certificate.image: certificate for certificate in self.stream(x, goal, selection=selection, images=numbers)}
        return [found[number] for number in numbers]

    def _counted(self, x: Tensor, n: int, images: Sequence[int] | None) -> list[ImageCount]:
        if n < 1:
            raise BadConfig(f"a vote needs at least 1 sample, not {n}")
        numbers = self._check(x, images)
        trials = [ImageCount(x[k], number, n) for k, number in enumerate(numbers)]
        for _ in run(self._sampler(x), trials):
            pass
        return trials

    def _sampler(self, x: Tensor) -> Sampler:
        batch = self.batch or (256 if x.device.type == "cpu" else 2048)
        return Sampler(self.module, self.law, self.classes, batch, self.seed, tuple(x.shape[1:]), x.device, x.dtype)

    def _check(self, x: Tensor, images: Sequence[int] | None) -> Sequence[int]:
        check_mode(self.module)
        if not isinstance(x, torch.Tensor):
            raise BadShape(f"inputs must be a tensor, not {type(x).__name__}", fix="give torch.as_tensor(x)")
        if x.dim() < 2 or not x.is_floating_point():
            raise BadShape(f"inputs must be floating-point of shape (B, *x), not {x.dtype} {tuple(x.shape)}", fix="use x[None]")
        if not bool(x.isfinite().all()):
            raise BadData("an input holds NaN or infinity")
        if self.clip is not None and not bool(((x >= self.clip[0]) & (x <= self.clip[1])).all()):
            raise BadData(
                f"an input lies outside the valid range {self.clip}: {float(x.min()):.4g} to {float(x.max()):.4g}",
                fix="sigma is in the units of the inputs: scale them, give their own range, or clip=None",
            )
        initialised(self.module)
        with untouched(self.module):
            settled(self.module, x.new_zeros(1, *self.law.shape(tuple(x.shape[1:]))))  # what a noisy copy looks like
        numbers = range(len(x)) if images is None else list(images)
        if len(numbers) != len(x) or len(set(numbers)) != len(x):
            raise BadConfig(f"{len(numbers)} image numbers for {len(x)} inputs", fix="give each input a number of its own")
        return numbers
