"""Rows: a batch of linear forms over one node of a network, the one thing that every linear method moves.

A linear form over a node of value `z` is a tensor `a` of the node's own shape, and stands for `<a, z>`. Every method here
bounds forms from below; an upper bound of `<a, z>` is minus the lower bound of `<-a, z>`.

Two layouts share one class, and differ in what the second axis means (a third, `Windows`, holds patches of feature maps):

- shared:  `values (R, B, *n)`, `sample` is None. Each sample has its own R forms: a specification.
- ragged:  `values (2, M, *n)`, `sample (M,)`. Row pair m belongs to sample `sample[m]`: the pair (lower, minus upper) of one
  neuron. Each sample brings its own list of neurons, so batching never makes a sample slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch

from epsball.types import Bool, Float, Int, Shaped, Tensor

_CACHE = 2**20  # bytes of rows that are updated at once


@dataclass(frozen=True, eq=False)
class Rows:
    """Linear forms over one node: see the module's text for the two layouts.

    Attributes:
        values: (P, Q, *n).
        sample: None, or (Q,) the sample that each row of the second axis belongs to.
    """

    values: Tensor
    sample: Tensor | None = None

    @classmethod
    def neurons(cls, chosen: Bool[Tensor, "B *n"], dtype: torch.dtype) -> Rows:
        """The ragged pair (z_i, -z_i) for every chosen neuron of every sample."""
        where = node_flat(chosen, 1).nonzero()
        return cls.pairs(where[:, 0], where[:, 1], chosen.shape[1:], dtype)

    @classmethod
    def units(cls, sample: Int[Tensor, " M"], neuron: Int[Tensor, " M"], shape: torch.Size, dtype: torch.dtype) -> Rows:
        """The ragged form z_i alone (P = 1) for listed (sample, flat neuron) pairs."""
        unit = torch.zeros(len(sample), shape.numel(), dtype=dtype, device=sample.device)
        return cls(unit.scatter_(1, neuron[:, None], 1.0).view(1, -1, *shape), sample)

    @classmethod
    def pairs(cls, sample: Int[Tensor, " M"], neuron: Int[Tensor, " M"], shape: torch.Size, dtype: torch.dtype) -> Rows:
        """The ragged pair (z_i, -z_i) for listed (sample, flat neuron) pairs."""
        return cls.units(sample, neuron, shape, dtype).mirrored()

    @property
    def device(self) -> torch.device:
        return self.values.device

    def like(self, values: Tensor) -> Rows:
        """The same rows over another node."""
        return Rows(values, self.sample)

    def mirrored(self) -> Rows:
        """The pair (a, -a) of single forms."""
        return self.like(torch.cat((self.values, -self.values)))

    def take(self, keep: Int[Tensor, " N"]) -> Rows:
        """Some of the rows along the second axis."""
        return Rows(self.values.index_select(1, keep), None if self.sample is None else self.sample[keep])

    def plus(self, other: Rows | None) -> Rows:
        """The sum of two forms over the same node: where a value is used twice, its rows add up."""
        return self if other is None else self.like(self.values + other.dense().values)

    def dense(self) -> Rows:
        """The same forms, over the whole node."""
        return self

    def cleaned(self) -> Rows:
        """The same forms, marked as holding nothing outside the node."""
        return self

    def at(self, tensor: Shaped[Tensor, "B *n"]) -> Shaped[Tensor, "Q *n"]:
        """A tensor of one value a sample, gathered for each row."""
        if self.sample is None:
            return tensor
        if len(tensor) == 1:
            return tensor.expand(len(self.sample), *(-1,) * (tensor.dim() - 1))
        return tensor.index_select(0, self.sample)

    def flat(self) -> Float[Tensor, "N *n"]:
        """All rows along one axis, for operators that know only a batch."""
        return self.values.flatten(0, 1)

    def unflat(self, values: Float[Tensor, "N *m"]) -> Rows:
        """The inverse of `flat`, over another node."""
        return self.like(values.view(*self.values.shape[:2], *values.shape[1:]))

    def dot(self, tensor: Float[Tensor, "B *n"]) -> Float[Tensor, "P Q"]:
        """`<a, t>` for a tensor with one value a sample."""
        return inner(self.values, self.at(tensor))

    def minimum(self, centre: Float[Tensor, "B *n"], radius: Float[Tensor, "B *n"]) -> Float[Tensor, "P Q"]:
        """The least value of each form over the box centre +- radius: `<a, c> - <|a|, r>`."""
        centre, radius = self.at(centre), self.at(radius)
        if self.values.requires_grad and not (centre.requires_grad or radius.requires_grad):
            return cast("Tensor", cast("Any", _Least).apply(self.values, centre, radius))
        least = (self.values * centre).addcmul_(self.values.abs(), radius, value=-1)
        return node_sum(least)


def inner(values: Float[Tensor, "P Q *n"], tensor: Float[Tensor, "Q *n"]) -> Float[Tensor, "P Q"]:
    """Inner products over the node's axes."""
    return node_sum(values * tensor)


def node_sum(values: Shaped[Tensor, "P Q *n"]) -> Shaped[Tensor, "P Q"]:
    """The sum over a node's axes, of which a node with one number a sample has none: torch's sum over no axes is over all."""
    axes = tuple(range(2, values.dim()))
    return values.sum(axes) if axes else values


def node_flat(values: Shaped[Tensor, "*lead_and_n"], leading: int) -> Shaped[Tensor, "*lead m"]:
    """A node's axes, all those after the leading ones, as one axis; one number a sample is an axis of length 1."""
    return values.flatten(leading) if values.dim() > leading else values.unsqueeze(-1)


def cache_blocks(values: Float[Tensor, "P Q *n"]) -> list[slice]:
    """Parts of the second axis whose temporaries stay in a core's cache; one part on a GPU, and where gradients are recorded."""
    size = values.numel() * values.element_size()
    if size <= _CACHE or values.device.type != "cpu" or torch.is_grad_enabled():
        return [slice(None)]
    step = max(1, _CACHE * values.shape[1] // size)
    return [slice(start, start + step) for start in range(0, values.shape[1], step)]


class _Least(torch.autograd.Function):
    """`<a, c> - <|a|, r>`; its gradient in a is the point where it is attained."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
        point = torch.addcmul(centre, values.sign(), radius, value=-1)
        ctx.save_for_backward(point)
        return node_sum(values * point)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (point,) = ctx.saved_tensors
        return grads[0].view(*grads[0].shape, *(1,) * (point.dim() - 2)) * point, None, None
