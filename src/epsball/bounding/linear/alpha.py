"""alpha-CROWN: CROWN with its lower lines chosen by gradient ascent on the bound (Xu et al. 2021).

Between two sound lower lines every mixture is sound, so each unstable unit of each row has a share in [0, 1] of its steep line (a
ReLU: its slope), and any share gives a proof. Only units that are not linear over the box have one; where they are few they are
gathered, and all others go through one multiplication. Products have a share between the two planes of McCormick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from epsball.bounding.base import bounders
from epsball.bounding.budget.cost import FORM, in_parts, shares
from epsball.bounding.linear.crown import Crown
from epsball.bounding.linear.neurons import RowBounds
from epsball.bounding.linear.walk import pull_back
from epsball.errors import BadConfig
from epsball.forms.rows import Rows
from epsball.ops.operator import Choosable, Nonlinear, Relaxed, Slope
from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from epsball.bounding.linear.known import Known
    from epsball.bounding.linear.settled import Settled
    from epsball.ops.prepared import Prepared
    from epsball.problem.sets import InputSet

Optimised = Literal["output", "all"]
_BETAS = (0.9, 0.999)
TAPE = 20  # numbers kept for each row and unit: its share, what Adam knows of it, and what the gradient reads
ROWS = 32  # chunks of memory for the tape of a specification's rows
_TINY = 1e-16  # the second moment starts here: no division by 0, and no slow arithmetic on subnormal numbers


@bounders.register("alpha-crown")
@dataclass(frozen=True)
class AlphaCrown(Crown):
    """CROWN with optimised lower lines, one share for each row, sample and unstable unit.

    Attributes:
        steps: evaluations of the bound after the one by CROWN; each but the last is followed by a step of Adam.
        lr: its step size, in shares; multiplied by `decay` at each step.
        decay: see lr.
        optimise: "output": the rows that were asked for. "all": the bounds of the hidden neurons as well, each for itself.

    Shapes:  rows (P, Q, K) over the output; result (P, Q).
    Sound:   yes, up to floating point, at every step.   Complete: no.
    Cost:    that of CROWN, and for each step about three times the backward pass of the rows.
    Raises:  BadConfig.
    Paper:   Xu et al. 2021, arXiv:2011.13824, Sec. 3.  Differs: a share between two sound lines, not a slope; hidden neurons are
        optimised one layer after the other and not for the final bound.
    """

    steps: int = 20
    lr: float = 0.1
    decay: float = 0.98
    optimise: Optimised = "output"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 0 or not self.lr > 0 or not 0 < self.decay <= 1:
            raise BadConfig("alpha-CROWN needs steps >= 0, lr > 0 and decay in (0, 1]")
        if self.optimise not in ("output", "all"):
            raise BadConfig(f"unknown choice {self.optimise!r} of what to optimise", fix="use output or all")

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        """Lower bounds of linear forms of the output over the set."""
        known, output = self.known(network, input_set), network.plan.output
        return in_parts(rows, tape(network), self.rows_limit, lambda part: self.improve(known, output, part)[0])

    @property
    def rows_limit(self) -> int:
        """Bytes for the rows of a specification with their tape."""
        return ROWS * self.chunk_bytes

    def rows_of(self) -> RowBounds:
        return super().rows_of() if self.optimise == "output" else self._improved

    def _improved(self, known: Known, slot: int, rows: Rows, leave: Settled | None) -> tuple[Tensor, int]:
        return self.improve(known, slot, rows.mirrored())

    def improve(self, known: Known, slot: int, rows: Rows) -> tuple[Float[Tensor, "P Q"], int]:
        """Lower bounds of forms over one node, and the memory of one row in elements. Never below CROWN's.

        Differentiable in the parameters at the shares that were found: how they were found is not differentiated.
        """
        seen: list[tuple[int, Rows]] = []
        watched = {s: _Watched(s, lines, seen) for s, lines in known.relaxed.items()}
        pulled = pull_back(known.network, slot, rows, watched, known.losses)
        start = known.minimum(pulled)
        choices = _choices(known, seen, self.slope)
        size = sum(form.values[0, 0].numel() for _, form in seen) + pulled.widest
        if self.steps == 0 or not choices:
            return start, size
        best, shares = self._ascend(known, slot, rows, {s: c.detach() for s, c in choices.items()}, start.detach())
        if not start.requires_grad:
            return best, size
        return bound_at(known, slot, rows, choices, shares), size

    def choices(self, known: Known, slot: int, rows: Rows) -> dict[int, Choosable]:
        """The lines to choose from on the way from one node to the input, by slot."""
        seen: list[tuple[int, Rows]] = []
        pull_back(known.network, slot, rows, {s: _Watched(s, lines, seen) for s, lines in known.relaxed.items()})
        return _choices(known, seen, self.slope)

    @torch.enable_grad()
    def _ascend(
        self, known: Known, slot: int, rows: Rows, choices: dict[int, Choosable], best: Tensor
    ) -> tuple[Tensor, Float[Tensor, "P Q m"]]:
        """Adam with projection to [0, 1]; the best bound of each row, and its shares."""
        shares = torch.cat([c.start.expand(*best.shape, -1) for c in choices.values()], -1).contiguous()
        kept = shares
        first, second = torch.zeros_like(shares), torch.full_like(shares, _TINY)
        for step in range(1, self.steps + 1):
            leaf = shares.detach().requires_grad_()
            bound = bound_at(known, slot, rows, choices, leaf)
            last = step == self.steps
            (slope,) = (None,) if last else torch.autograd.grad(bound.sum(), leaf)
            with torch.no_grad():
                better = (bound > best)[..., None]
                best, kept = torch.maximum(best, bound), torch.where(better, shares, kept)
                if slope is not None:
                    first.lerp_(slope, 1 - _BETAS[0])
                    second.mul_(_BETAS[1]).addcmul_(slope, slope, value=1 - _BETAS[1])
                    scale = second.div(1 - _BETAS[1] ** step).sqrt_()
                    rate = self.lr * self.decay ** (step - 1) / (1 - _BETAS[0] ** step)
                    shares = torch.addcdiv(shares, first, scale, value=rate).clamp_(0, 1)
        return best.detach(), kept


@bounders.register("alpha-crown-all")
@dataclass(frozen=True)
class AlphaCrownAll(AlphaCrown):
    """alpha-CROWN that optimises the bounds of the hidden neurons as well: the tightest and slowest of these methods."""

    optimise: Optimised = "all"


def tape(network: Prepared) -> int:
    """Elements of one row of one sample while its shares are optimised."""
    return TAPE * shares(network) + FORM * max(network.sizes.values())


def bound_at(known: Known, slot: int, rows: Rows, choices: dict[int, Choosable], shares: Tensor) -> Tensor:
    """Lower bounds of forms over one node at given shares (P, Q, sum of m): sound whatever they are in [0, 1]."""
    parts = torch.split(shares, [c.start.shape[-1] for c in choices.values()], -1)
    chosen = {s: c.at(part) for (s, c), part in zip(choices.items(), parts, strict=True)}
    return known.lower_bound(slot, rows, chosen)


def _choices(known: Known, seen: list[tuple[int, Rows]], start: Slope) -> dict[int, Choosable]:
    """The bounds to choose from, at each slot where there are any, laid out as the rows are that arrive there."""
    steps = {step.slot: step for step in known.network.nonlinear}
    found = {}
    for slot, form in seen:
        op, pre = steps[slot].op, [known.found[arg] for arg in steps[slot].args]
        choice = op.choice(form, start, *pre) if isinstance(op, Nonlinear) else None
        if choice is not None:
            found[slot] = choice
    return found


@dataclass(frozen=True, eq=False)
class _Watched(Relaxed):
    """Lines that note which forms arrive."""

    slot: int
    lines: Relaxed
    seen: list[tuple[int, Rows]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "on_windows", self.lines.on_windows)

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        self.seen.append((self.slot, rows))
        return self.lines.pull(rows)
