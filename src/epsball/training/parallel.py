"""Several processes that train one network, each on its share of every batch, to the gradient that one process would have.

What a loss is the mean of is simply averaged. What it is another function of, batch-norm statistics and the means inside the
warm-up regularisers, is taken over the whole batch first, by sums whose gradients are summed as well. Outside `joined` there is
a team of one, and every function here returns what it was given.
"""

from __future__ import annotations

import contextlib
import os
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist

from epsball.errors import BadConfig, EpsballError
from epsball.training.evaluate import Scores

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from epsball.examples import Examples
    from epsball.ops.network import Network
    from epsball.training.evaluate import Evaluation
    from epsball.types import Tensor


@dataclass(frozen=True)
class Team:
    """The processes of a run.

    Attributes:
        rank: of this one, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, whole: Tensor) -> Tensor:
        """This process's rows of a whole batch: equal blocks, in order."""
        return whole.chunk(self.size)[self.rank]

    def some(self, flag: bool) -> bool:
        """Whether any process says so: all must ask, and all get the same answer."""
        if self.size == 1:
            return flag
        told = torch.tensor(int(flag))
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return bool(told)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, without gradient."""
        if self.size > 1:
            values = values.detach().clone()
            dist.all_reduce(values)
        return values


_ALONE = Team()
_team: ContextVar[Team | None] = ContextVar("team", default=None)


def team() -> Team:
    """The processes that this one trains with."""
    return _team.get() or _ALONE


def processes() -> int:
    """How many processes `torchrun` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """Join the processes that `torchrun` started, if it did: gloo for the CPU, nccl for CUDA.

    Args:
        device: of the networks; with CUDA each process of a machine must have its own.
    """
    if processes() == 1:
        yield team()
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(minutes=30))
    token = _team.set(Team(dist.get_rank(), dist.get_world_size()))
    try:
        yield team()
    finally:
        _team.reset(token)
        dist.destroy_process_group()


class Abandoned(EpsballError):
    """The process that leads could not begin; it says why."""


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """What the first process does alone while the others wait in `await_leader`: if it fails, they are told."""
    try:
        yield
    except BaseException:
        team().some(True)
        raise
    team().some(False)


def await_leader() -> None:
    """Wait until the first process has done what it does alone.

    Raises:
        Abandoned: it failed.
    """
    if team().some(False):
        raise Abandoned("the first process of this run could not begin", where="rank 0", fix="mend what it reports")


def own_device(device: torch.device) -> torch.device:
    """The device of this process: of several GPUs the one with the process's number on its machine."""
    if device.type != "cuda" or processes() == 1:
        return device
    mine = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(mine)
    return mine


def check_share(batch: int) -> None:
    """Raise unless a batch can be dealt out evenly.

    Raises:
        BadConfig: it cannot.
    """
    if batch % team().size:
        raise BadConfig(
            f"{batch} examples cannot be shared out evenly among {team().size} processes",
            where="train.batch, train.accumulate",
            fix=f"make batch / accumulate a multiple of {team().size}",
        )


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return team().total(values) * factor

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # not the context variable: the engine may run this in a thread of its own
        summed = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed * ctx.factor, None


def whole_sum(values: Tensor) -> Tensor:
    """The sum over all processes. Its gradient is summed too, so that averaged parameter gradients are those of the mean loss."""
    return values if team().size == 1 else cast("Tensor", cast("Any", _Sum).apply(values, 1.0))


def whole_mean(values: Tensor) -> Tensor:
    """The mean over all processes, differentiable: that of the whole batch where each holds a mean over its share."""
    return values if team().size == 1 else cast("Tensor", cast("Any", _Sum).apply(values, 1 / team().size))


def each(values: Tensor) -> Tensor:
    """What every process holds, stacked along a new first axis; differentiable."""
    if team().size == 1:
        return values[None]
    mine = torch.arange(team().size, device=values.device) == team().rank
    return whole_sum(torch.where(mine.view(-1, *(1,) * values.dim()), values, torch.zeros_like(values)))


def noise(like: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) for this process's share: those that one process would draw for the whole batch."""
    size = team().size
    return team().share(torch.rand(len(like) * size, *like.shape[1:], dtype=like.dtype, device=like.device))


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over the processes."""
    size = team().size
    if size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    means = torch.split(flat / size, [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def align(tensors: Iterable[Tensor]) -> None:
    """Replace every tensor by the first process's."""
    if team().size > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)


def judged(evaluate: Evaluation, net: Network, data: Examples) -> Scores:
    """Scores of an evaluation, each process judging a part of the examples; all get the same."""
    size, rank = team().size, team().rank
    if size == 1:
        return evaluate(net, data)
    mine = data.take(slice(rank, None, size))
    found = evaluate(net, mine if len(mine) else data.take(slice(0, 1)))  # every process says which scores there are
    known = found.known()
    counts = torch.tensor([score * len(mine) for score in known.values()], dtype=torch.float64)
    return found._replace(**dict(zip(known, (team().total(counts) / len(data)).tolist(), strict=True)))
