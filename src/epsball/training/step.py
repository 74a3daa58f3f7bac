"""One step of training: the loss on the parts of a batch, its gradient, the update. Nothing in it is read back from the device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from epsball.device import generator
from epsball.errors import BadConfig
from epsball.examples import Examples
from epsball.training.augment import flip_and_crop
from epsball.training.averaging import write_statistics
from epsball.training.base import Batch, Diverged, Loss, Progress, Recipe
from epsball.training.parallel import average_gradients, check_share, team
from epsball.training.precision import check_precision, forward_arithmetic, step_arithmetic
from epsball.training.replay import CapturedStep, CompiledLoss

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from epsball.ops.network import Network
    from epsball.training.config import TrainConfig
    from epsball.training.memory import Memory
    from epsball.types import Tensor

_AUGMENT = 4  # stream of random numbers; the loop has others


def check_step(net: Network, recipe: Recipe, config: TrainConfig, memory: Memory | None = None) -> None:
    """Raise unless steps can be taken as the configuration says, here.

    Raises:
        BadConfig: the device, the recipe or the number of processes does not allow it.
    """
    device = next(iter(net.params().values())).device
    check_precision(config.precision, device)
    check_share(config.batch // config.accumulate)
    if config.cuda_graph and device.type != "cuda":
        raise BadConfig(f"{device} cannot record CUDA graphs", where="train.cuda_graph", fix="use CUDA, or set cuda_graph = false")
    for name, wanted in (("compile", config.compile != "none"), ("cuda_graph", config.cuda_graph)):
        if wanted and team().size > 1:
            raise BadConfig(f"{name} is for one process", where=f"train.{name}", fix="drop the option, or start one process")
        if wanted and (recipe.knobs(config.run(config.batch)) is None):
            raise BadConfig(
                f"the recipe {type(recipe).__name__} does not say which numbers of its loss change",
                where=f"train.{name}",
                fix="give the recipe a method knobs(at)",
            )
        if wanted and memory is not None:
            raise BadConfig(
                f"the recipe {type(recipe).__name__} remembers examples, which a recorded step cannot",
                where=f"train.{name}",
                fix="leave the option out",
            )


class Stepper:
    """Takes the steps of a run.

    Attributes:
        optimizer: of the network's parameters.
        window: losses since they were last read.
    """

    def __init__(self, net: Network, recipe: Recipe, config: TrainConfig, data: Examples, memory: Memory | None = None) -> None:
        self.net, self.recipe, self.config, self.data, self.memory = net, recipe, config, data, memory
        self.optimizer = config.make_optimizer(net.module)
        self.window = Window()
        self._like = next(iter(net.params().values()))
        self._compiled = None if config.compile == "none" else CompiledLoss(net, recipe, self._loss, config.compile)
        self._captured = CapturedStep(self._update, self.optimizer) if config.cuda_graph else None

    def __call__(self, index: Tensor, at: Progress) -> None:
        """Take one step on the examples of an index."""
        rate = self.config.rate()(at)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)  # a recorded step reads it
            else:
                group["lr"] = rate
        x, y = self._augmented(self.inputs(index), at), self.data.y[index]
        with step_arithmetic(self.config.precision):
            losses = self._update(x, y, at, index) if self._captured is None else self._captured(x, y, at, self.recipe)
        for loss in losses:
            self.window.add(loss)

    def inputs(self, index: Tensor) -> Tensor:
        """Inputs in the network's precision; the numbers of words as they are."""
        x = self.data.inputs(index)
        return x.to(self._like.dtype) if x.is_floating_point() else x

    def _augmented(self, x: Tensor, at: Progress) -> Tensor:
        if not self.config.augment:
            return x
        return flip_and_crop(x, self.config.crop, generator(x.device, self.config.seed, _AUGMENT, at.step))

    def _update(self, x: Tensor, y: Tensor, at: Progress, index: Tensor | None = None) -> list[Loss]:
        """Move the weights by one step."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = [self._add_gradient(part, at) for part in self._parts(x, y, index)]
        average_gradients(self.net.module.parameters())
        torch.nn.utils.clip_grad_norm_(self.net.module.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return losses

    def _parts(self, x: Tensor, y: Tensor, index: Tensor | None) -> Iterator[Batch]:
        """This process's share of each of the parts that a batch is split into."""
        count = self.config.accumulate
        which = (None,) * count if index is None else index.chunk(count)
        for inputs, labels, here in zip(x.chunk(count), y.chunk(count), which, strict=True):
            own = None if here is None else team().share(here)
            yield Batch(self.net.embed(team().share(inputs)), team().share(labels), own, self.memory)

    def _add_gradient(self, batch: Batch, at: Progress) -> Loss:
        """The gradient of one part of a batch, and its running statistics."""
        if self._compiled is None:
            loss = self._loss(batch, at)
            torch.autograd.backward(loss.total / self.config.accumulate)
        else:
            loss, gradients = self._compiled(batch, at)
            for parameter, gradient in gradients:
                share = gradient / self.config.accumulate
                parameter.grad = share if parameter.grad is None else parameter.grad + share
        write_statistics(self.net, loss.buffers)
        if loss.kept:
            if self.memory is None or batch.index is None:
                fix = "give the recipe a method memory(data)"
                raise BadConfig("a loss keeps something, and its recipe remembers nothing", fix=fix)
            self.memory.write(batch.index, loss.kept)
        return replace(loss, total=loss.total.detach(), buffers={}, kept={})

    def _loss(self, batch: Batch, at: Progress) -> Loss:
        """What is minimised."""
        with forward_arithmetic(self.config.precision, self._like.device):
            loss = self.recipe.loss(self.net, batch, at)
        if not self.config.l1:
            return loss
        size = torch.stack([p.abs().sum() for p in self.net.module.parameters() if p.dim() > 1]).sum()
        return replace(loss, total=loss.total + self.config.l1 * size, parts={**loss.parts, "l1": size.detach()})


class Window:
    """Sums of losses on the device since they were last read."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, loss: Loss) -> None:
        """Take the losses of one step, or of one part of it, in."""
        named: Mapping[str, Tensor] = {"": loss.total.detach(), **loss.parts}
        for name, value in named.items():
            # never the tensor itself: a recorded step writes it again
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] = self.counts.get(name, 0) + 1

    def check(self, step: int) -> None:
        """Raise if a loss was not a number.

        Raises:
            Diverged: it was not.
        """
        if "" in self.sums and not bool(self.sums[""].isfinite()):
            raise diverged("the loss is NaN or infinite", step)

    def read(self, step: int) -> dict[str, float]:
        """Means since the last reading, over all processes: the one place where a run waits for the device."""
        values = team().total(torch.stack([value.double() for value in self.sums.values()])) / team().size
        if not bool(values[0].isfinite()):
            raise diverged("the loss is NaN or infinite", step)
        means = {name: value / self.counts[name] for name, value in zip(self.sums, values.tolist(), strict=True)}
        self.sums, self.counts = {}, {}
        return means


def diverged(what: str, step: int) -> Diverged:
    """The error of a run whose numbers are no numbers any more."""
    return Diverged(
        f"training diverged: {what}",
        where=f"step {step}",
        fix="lower the learning rate or lengthen the ramp; the last checkpoint is from before",
    )
