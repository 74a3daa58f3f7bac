"""Two lines around an elementwise function, and how a form is pulled through them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from epsball.forms.rows import Rows, cache_blocks, inner
from epsball.ops.operator import Relaxed
from epsball.types import Tensor


class Lines(NamedTuple):
    """`lower_slope * x + lower_bias <= f(x) <= upper_slope * x + upper_bias` on a box; all (B, *n), a bias None for 0."""

    lower_slope: Tensor
    lower_bias: Tensor | None
    upper_slope: Tensor
    upper_bias: Tensor | None


@dataclass(frozen=True, eq=False)
class BetweenLines(Relaxed):
    """`a f(x) >= a+ (lower line) + a- (upper line)`: CROWN's step through an activation."""

    lines: Lines
    on_windows = True

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        values, lines = rows.values, self.lines
        steep, flat = rows.at(lines.upper_slope), rows.at(lines.lower_slope)
        upper, lower = (None if bias is None else rows.at(bias) for bias in (lines.upper_bias, lines.lower_bias))
        blocks = cache_blocks(values)
        if len(blocks) == 1:
            pulled, bias = _below(values, Lines(flat, lower, steep, upper))
            return (rows.like(pulled).cleaned(),), bias
        pulled, biases = torch.empty_like(values), list[Tensor]()
        for s in blocks:
            part = Lines(flat[s], None if lower is None else lower[s], steep[s], None if upper is None else upper[s])
            _, bias = _below(values[:, s], part, out=pulled[:, s])
            biases += [] if bias is None else [bias]
        return (rows.like(pulled).cleaned(),), torch.cat(biases, 1) if biases else None


def _below(values: Tensor, lines: Lines, out: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """`a+ (lower line) + a- (upper line)`: slopes (P, Q, *n) and bias (P, Q), given the lines of each row."""
    positive, negative = values.clamp(min=0), values.clamp(max=0)
    pulled = torch.mul(positive, lines.lower_slope, out=out).addcmul_(negative, lines.upper_slope)
    above = None if lines.upper_bias is None else inner(negative, lines.upper_bias)
    below = None if lines.lower_bias is None else inner(positive, lines.lower_bias)
    return pulled, below if above is None else above if below is None else above + below
