"""Interval bounds inside a training step: the box, the worst-case logits, and what an activation's bounds look like.

No label is checked and nothing is read back here: that would stop the device in every step. The loop checks the data once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from epsball.bounding.ibp import Intervals, concretise, intervals
from epsball.bounding.linear.losses import Losses
from epsball.bounding.linear.walk import pull_back
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows, node_flat
from epsball.ops.operator import Affine

if TYPE_CHECKING:
    from epsball.ops.prepared import Layer, Prepared
    from epsball.types import Tensor

_RELU = ("relu", "leaky_relu")


def training_box(x: Tensor, eps: float | Tensor, clip: tuple[float, float] | None) -> Interval:
    """`x +- eps`, cut to the valid range. Not rounded outwards: a loss is not a certificate."""
    lower, upper = x - eps, x + eps
    return Interval(lower, upper) if clip is None else Interval(lower.clamp(min=clip[0]), upper.clamp(max=clip[1]))


@dataclass(frozen=True, eq=False)
class Bounded:
    """A prepared network with the intervals of one batch: computed once for the loss and every regulariser.

    Attributes:
        network: the network as it is in this step.
        found: the interval of every slot up to the frontier.
    """

    network: Prepared
    found: Intervals

    @classmethod
    def over(cls, network: Prepared, box: Interval) -> Bounded:
        """Propagate a box."""
        return cls(network, intervals(network, box))

    def worst_logits(self, y: Tensor) -> Tensor:
        """Minus the lower bound of `z_y - z_k` for every class k, (B, K); 0 for the label itself.

        The cross-entropy of these is the robust loss: an upper bound of the loss over the box. The difference is pulled through
        the trailing affine operators first (elision). With no more classes than samples the forms are made once for each pair of
        classes, and not for each sample.
        """
        classes = self.network.plan.graph.output_shape[0]
        unit = torch.eye(classes, dtype=self.network.dtype, device=y.device)
        per_class = classes <= len(y)
        labels = unit if per_class else unit[y]
        pulled = pull_back(self.network, self.network.plan.output, Rows(labels[None] - unit[:, None]), {})
        if not per_class:
            return -concretise(pulled, Losses(self.network, self.found)).T
        worst = None if pulled.bias is None else -pulled.bias.T[y]
        for slot, rows in pulled.terms:
            least = _least_of_label(rows.values, self.found[slot], y)
            worst = -least if worst is None else worst - least
        if worst is None:
            raise ValueError("the output does not depend on the input")
        return worst

    def robust_loss(self, y: Tensor) -> Tensor:
        """The mean cross-entropy of the worst-case logits."""
        return cross_entropy(self.worst_logits(y), y)

    @property
    def relus(self) -> list[tuple[Layer, Interval]]:
        """Every ReLU that the output depends on, with the interval of its argument."""
        return [(step, self.found[step.args[0]]) for step in self.network.before_frontier if step.node.op in _RELU]

    @property
    def input(self) -> Interval:
        """The box as the first mixing operator sees it: clipped and normalised."""
        slot = 0
        for step in self.network.before_frontier:
            if step.args != (slot,) or not (isinstance(step.op, Affine) and step.op.diagonal):
                break
            slot = step.slot
        return self.found[slot]


def _least_of_label(values: Tensor, interval: Interval, y: Tensor) -> Tensor:
    """Least value (B, K) of the forms (K, label, *n) of each sample's own label."""
    classes = values.shape[0]
    forms = node_flat(values.transpose(0, 1), 2).flatten(0, 1)  # (label * K, n)
    centre, radius = (node_flat(t, 1) for t in interval.centre_radius())
    every = centre @ forms.T - radius @ forms.abs().T
    return every.view(len(y), classes, classes)[torch.arange(len(y), device=y.device), y]
