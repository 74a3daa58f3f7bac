"""What a loss is made of on one batch: logits, statistics, bounds, adversarial inputs, each computed when it is first asked for.

A recipe combines them as its paper does: a weighted sum, a product, a power, a mixture of margins.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from torch.nn.functional import cross_entropy

from epsball.attacks.climb import climb
from epsball.ops.prepared import prepare
from epsball.training.interval_pass import Bounded, training_box
from epsball.training.linear import linear_worst_logits
from epsball.training.parallel import noise
from epsball.training.statistics import CleanPass, clean_pass

if TYPE_CHECKING:
    from epsball.attacks.pgd import PGD
    from epsball.forms.interval import Interval
    from epsball.ops.network import Network
    from epsball.ops.prepared import Prepared
    from epsball.problem.sets.base import Clip
    from epsball.problem.threat import Threat
    from epsball.training.base import Batch, Policy
    from epsball.types import Params, Tensor


class Quantities:
    """Of one batch, at one radius.

    Args:
        net: the network.
        batch: its inputs (B, *x) and labels (B,).
        eps: linf radius of the boxes, a number or the tensor that stands for it.
        clip: valid range of the inputs.
        policy: whose statistics batch norm uses.
        against: other perturbations than a ball: `eps` is a share of them.
    """

    def __init__(
        self,
        net: Network,
        batch: Batch,
        eps: float | Tensor = 0.0,
        clip: Clip = None,
        policy: Policy = "clean",
        against: Threat | None = None,
    ) -> None:
        self.against = against
        self.net, self.batch, self.eps, self.clip, self.policy = net, batch, eps, clip, policy
        self._clean: CleanPass | None = None

    @cached_property
    def params(self) -> Params:
        """Every parameter and buffer."""
        return self.net.params()

    @property
    def logits(self) -> Tensor:
        """(B, K) of the clean inputs, with the statistics of the batch. Ask for them before the bounds, if both are needed."""
        found = self._pass(logits=True).logits
        if found is None:
            raise ValueError("the pass was asked for logits")
        return found

    @cached_property
    def natural(self) -> Tensor:
        """The mean cross-entropy of the clean inputs."""
        return cross_entropy(self.logits, self.batch.y)

    @property
    def running(self) -> Params:
        """New values of the running statistics: `Loss.buffers`."""
        return self._pass(logits=False).running

    @cached_property
    def statistics(self) -> Params:
        """The batch's own statistics, under the names of the running ones."""
        return self._pass(logits=False).statistics

    @cached_property
    def network(self) -> Prepared:
        """The network as it is in this step; gradients flow to its parameters."""
        return prepare(self.net.plan, self.params | self.statistics)

    @cached_property
    def bounded(self) -> Bounded:
        """Interval bounds over the boxes."""
        return Bounded.over(self.network, self.box)

    @cached_property
    def box(self) -> Interval:
        """The boxes that are bounded and attacked."""
        x = self.batch.x
        return training_box(x, self.eps, self.clip) if self.against is None else self.against.scaled_box(x, self.eps)

    @cached_property
    def worst(self) -> Tensor:
        """(B, K) worst-case logits by intervals: minus the lower bound of `z_y - z_k`."""
        return self.bounded.worst_logits(self.batch.y)

    @cached_property
    def linear(self) -> Tensor:
        """(B, K) worst-case logits by CROWN-IBP."""
        return linear_worst_logits(self.bounded, self.batch.y)

    def attacked(self, attack: PGD, seen: Params | None = None) -> Tensor:
        """The inputs (B, *x) of least margin that an attack finds in the boxes, without gradient.

        Args:
            attack: its steps, loss and start.
            seen: parameters and statistics of the network that it attacks; None: those of this step.
        """
        values = self.params | self.statistics if seen is None else seen
        fixed = prepare(self.net.plan, {name: value.detach() for name, value in values.items()})
        return climb(fixed.forward, self.batch.x, self.batch.y, self.box, attack, noise)

    def _pass(self, *, logits: bool) -> CleanPass:
        """The clean pass, with logits if they are asked for before anything else."""
        if self._clean is None or (logits and self._clean.logits is None):
            detach = self.policy == "detached"
            self._clean = clean_pass(self.net.plan, self.params, self.batch.x, logits=logits, detach=detach)
        return self._clean
