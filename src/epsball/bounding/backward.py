"""Linear forms pulled backward through a network: the one walk under elision and CROWN.

A form over a node is rewritten over the node's arguments, affine operators by their transpose and non-linear ones by the line that
keeps the form below (Zhang et al. 2018, Eq. 5-7). A value that is used twice collects the sum of its forms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epsball.graph.operator import Affine, Relaxed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.graph.plan import Prepared
    from epsball.rows import Rows
    from epsball.types import Tensor

Terms = list[tuple[int, "Rows"]]


def pull_back(network: Prepared, start: int, rows: Rows, relaxed: Mapping[int, Relaxed]) -> tuple[Terms, Tensor | None]:
    """Pull forms from one node as far as operators allow.

    Args:
        network: the prepared network.
        start: slot of the node the forms are over.
        rows: the forms.
        relaxed: a pair of linear bounds for each non-linear slot that may be passed; the walk stops at the others.

    Returns:
        The forms over the slots where the walk stopped, and the bias (P, Q) collected on the way (None for 0):
        `<a, z_start> >= sum over terms of <a_t, z_t> + bias`.
    """
    pending: dict[int, Rows] = {start: rows}
    terms: Terms = []
    bias: Tensor | None = None
    for step in reversed(network.steps):
        if step.slot not in pending:
            continue
        form = pending.pop(step.slot)
        if isinstance(step.op, Affine):
            gained = step.op.offset(form)
            pulled = tuple(form.unflat(v) for v in step.op.pull(form.flat()))
        elif step.slot in relaxed:
            pulled, gained = relaxed[step.slot].pull(form)
        else:
            terms.append((step.slot, form))
            continue
        if gained is not None:
            bias = gained if bias is None else bias + gained
        for slot, part in zip(step.args, pulled, strict=True):
            pending[slot] = part.plus(pending.get(slot))
    terms.extend(pending.items())
    return terms, bias
