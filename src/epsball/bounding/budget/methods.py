"""What each bound method of the package takes."""

from __future__ import annotations

from dataclasses import replace

from epsball.bounding.affine.forward import COLUMN, Forward
from epsball.bounding.affine.zonotope import Zonotope
from epsball.bounding.budget.cost import FORM, Facts, Need, Work, limited, need, shares, work
from epsball.bounding.ibp import Ibp
from epsball.bounding.intersection import Intersection
from epsball.bounding.linear.alpha import ROWS, TAPE, AlphaCrown
from epsball.bounding.linear.crown import DENSE, Crown
from epsball.bounding.linear.dual import WongKolter
from epsball.bounding.linear.intermediate import FromForward, Tightest
from epsball.bounding.linear.neurons import PAIR
from epsball.ops.elementwise import Elementwise

__all__ = ["columns", "limited", "need", "work"]

_COPIES = 8  # tensors of the widest node that are alive at once in two forward passes
_LISTS = 60  # numbers kept for one neuron of the widest layer while its bounds are found
_IBP = 2.5  # forward passes that intervals take


@need.register
def _(method: Ibp, facts: Facts, rows: int) -> Need:
    return Need.cut(_COPIES * facts.widest, FORM * facts.network.tail_width, rows)


@work.register
def _(method: Ibp, facts: Facts, rows: int) -> Work:
    return Work(rows, _IBP)


@limited.register
def _(method: Ibp, limit: int) -> Ibp:
    return replace(method, chunk_bytes=min(method.chunk_bytes, limit // FORM))


@need.register
def _crown(method: Crown, facts: Facts, rows: int) -> Need:
    """Intervals, lines, and the rows in flight."""
    sample, source = 2 * facts.total + 4 * facts.bent + FORM * facts.widest, method.source()
    if isinstance(source, FromForward):
        return Need.cut(sample + columns(facts, fresh=False), FORM * facts.widest, rows)
    if not isinstance(source, Tightest):
        return Need.cut(sample, FORM * facts.widest, rows)
    chunk = 3 * method.chunk_bytes / facts.network.dtype.itemsize
    return Need.cut(sample + _LISTS * facts.widest, PAIR * facts.widest, rows, min(chunk, PAIR * facts.widest * facts.bent))


@work.register
def _(method: Crown, facts: Facts, rows: int) -> Work:
    """A pair of rows for each neuron that is bounded, and the specification."""
    last, source = rows * facts.back(facts.network.plan.output), method.source()
    if isinstance(source, FromForward):
        return Work(rows, last + 2 * facts.inputs)
    if not isinstance(source, Tightest):
        return Work(rows, last + _IBP)
    sizes = facts.network.sizes
    counts = {s: sizes[s] for s in facts.unstable} if source.full or source.alone else facts.unstable
    pairs = sum(2 * n * facts.back(slot) for slot, n in counts.items() if n)
    return Work(rows + 2 * sum(counts.values()), last + pairs + _IBP)


@limited.register
def _(method: Crown, limit: int) -> Crown:
    return replace(method, chunk_bytes=max(1, min(method.chunk_bytes, limit // DENSE)))


@need.register
def _alpha(method: AlphaCrown, facts: Facts, rows: int) -> Need:
    """CROWN's, the lines to choose from, and the tape of each row."""
    crown = _crown(method, facts, rows)
    return Need.cut(crown.sample + 8 * facts.bent, crown.row + TAPE * shares(facts.network), rows, crown.flight)


@work.register
def _(method: AlphaCrown, facts: Facts, rows: int) -> Work:
    """CROWN's, and three passes of the rows for each step."""
    crown, factor = work.dispatch(Crown)(method, facts, rows), 3 * method.steps
    if method.optimise == "output":
        return Work(crown.rows, crown.passes + factor * rows * facts.back(facts.network.plan.output))
    return Work(crown.rows, crown.passes * (1 + factor))


@limited.register
def _(method: AlphaCrown, limit: int) -> AlphaCrown:
    return replace(method, chunk_bytes=max(1, min(method.chunk_bytes, limit // ROWS)))


@need.register
def _(method: WongKolter, facts: Facts, rows: int) -> Need:
    return _alpha(method.walk, facts, rows)


@work.register
def _(method: WongKolter, facts: Facts, rows: int) -> Work:
    return work(method.walk, facts, rows)


@limited.register
def _(method: WongKolter, limit: int) -> WongKolter:
    return replace(method, chunk_bytes=limited(method.walk, limit).chunk_bytes)


@need.register
def _(method: Forward, facts: Facts, rows: int) -> Need:
    """A column for each input element."""
    own = FORM * rows * (facts.network.tail_width + facts.inputs)
    return Need(2 * facts.total, columns(facts, fresh=False) + own)


@work.register
def _(method: Forward, facts: Facts, rows: int) -> Work:
    return column_work(facts, fresh=False)


@need.register
def _(method: Zonotope, facts: Facts, rows: int) -> Need:
    """A column for each input element and each unit that intervals leave unstable."""
    symbols = facts.inputs + sum(facts.unstable.values())
    own = FORM * rows * (facts.network.tail_width + symbols)
    return Need(2 * facts.total, columns(facts, fresh=True) + own)


@work.register
def _(method: Zonotope, facts: Facts, rows: int) -> Work:
    return column_work(facts, fresh=True)


@limited.register
def _(method: Zonotope, limit: int) -> Zonotope:
    """It stops before a step that would take more."""
    return replace(method, most=limit if method.most is None else min(method.most, limit))


@need.register
def _(method: Intersection, facts: Facts, rows: int) -> Need | None:
    """The most that any of the methods takes."""
    needs = [known for m in method.methods if (known := need(m, facts, rows)) is not None]
    return Need(*(max(n) for n in zip(*needs, strict=True))) if needs else None


@work.register
def _(method: Intersection, facts: Facts, rows: int) -> Work:
    works = [work(m, facts, rows) for m in method.methods]
    return Work(sum(w.rows for w in works), sum(w.passes for w in works))


@limited.register
def _(method: Intersection, limit: int) -> Intersection:
    return replace(method, methods=tuple(limited(m, limit) for m in method.methods))


def columns(facts: Facts, *, fresh: bool) -> float:
    """Elements of the affine forms of one sample, where they are largest; unstable units are counted by intervals."""
    symbols, largest, sizes = 0.0, 0.0, facts.network.sizes
    for step in facts.network.before_frontier:
        if fresh and isinstance(step.op, Elementwise):
            symbols += facts.unstable.get(step.args[0], 0.0)
        width = max(sizes[step.slot], *(sizes[slot] for slot in step.args))
        largest = max(largest, COLUMN * (facts.inputs + symbols) * width)
    return largest


def column_work(facts: Facts, *, fresh: bool) -> Work:
    """Arithmetic of affine forms: each column is carried through the whole network."""
    count = facts.inputs + (sum(facts.unstable.values()) if fresh else 0.0)
    return Work(count, 2 * count)
