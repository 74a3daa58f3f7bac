"""Cuts from the exact hull of three ReLUs at a time, on top of the triangle relaxation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from epsball.device import tolerance
from epsball.errors import BadConfig
from epsball.forms.rows import Rows
from epsball.ops.operator import Nonlinear, Operator
from epsball.verification.programs.octahedron import directions, vertices
from epsball.verification.programs.program import Array, Forms, Program
from epsball.verification.programs.solvers import Session, Solver, open_session
from epsball.verification.programs.triangle import Optimum, Relaxation, TriangleLp

if TYPE_CHECKING:
    from epsball.bounding.linear.known import Known
    from epsball.ops.prepared import Prepared
    from epsball.problem.sets import InputSet
    from epsball.verification.programs.encode import Encoding, Units

_VIOLATED = 1e-6  # a cut is worth adding if the optimum is this far beyond it, in units of the group's own size
_SLACK = 1e-8  # what every cut gives away to rounding of the vertices, in the same units
_PATIENCE = 2  # rounds without gain that are borne: an optimum may move along a face first
Triple = tuple[int, int, int, int]  # slot, and three places in its list of units


@dataclass(frozen=True, eq=False)
class Group:
    """The hull of three units.

    Attributes:
        columns: (6,) of z and y.
        scale: (6,) sizes of the variables.
        points: (V, 6) vertices, in units of the scale.
        session: finds the facet direction that a point violates most.
    """

    columns: np.ndarray
    scale: Array
    points: Array
    session: Session

    @classmethod
    def hull(cls, units: Units, places: tuple[int, ...], ends: tuple[Array, Array], solver: Solver) -> Group | None:
        """The group of three units whose octahedron has these ends (13,); None where it is too thin to matter."""
        corner = vertices(*ends)
        if len(corner) < 4:
            return None
        image = units.step.op.value(torch.from_numpy(corner)).numpy()
        points = np.concatenate((corner, image), 1)
        scale = np.maximum(np.abs(points).max(0), 1e-12)
        points = points / scale
        start = units.y if units.z is None else units.z
        columns = np.array([start + p for p in places] + [units.y + p for p in places])
        # directions a and heights b with a p <= b at every vertex; the greatest a p* - b is asked for
        ends_of = np.array([1.0] * 6 + [10.0])
        rows = sparse.csr_matrix(np.concatenate((points, -np.ones((len(points), 1))), 1))
        program = Program.over(-ends_of, ends_of).with_rows(rows, np.full(len(points), -math.inf), np.zeros(len(points)))
        return cls(columns, scale, points, open_session(program, solver))

    def cut(self, v: Array, seconds: float) -> tuple[Array, float, float] | None:
        """Coefficients (6,) and height of the most violated cut, and by how much; None if the point is in the hull.

        The height is computed here, from all vertices: whatever the solver says, the cut holds on the hull.
        """
        at = v[self.columns] / self.scale
        found = self.session.minimise(np.concatenate((-at, [1.0])), seconds)
        if found.v is None:
            return None
        a = found.v[:6]
        height = float((self.points @ a).max()) + _SLACK
        violation = float(a @ at) - height
        if violation < _VIOLATED:
            return None
        return a / self.scale, height, violation


@dataclass(eq=False)
class Grouped(Relaxation):
    """A relaxation with its groups so far; their cuts hold for every objective.

    Attributes:
        groups: by slot and places; None for one that is too thin.
    """

    groups: dict[Triple, Group | None] = field(default_factory=dict)


@dataclass(frozen=True)
class MultiNeuron(TriangleLp):
    """The triangle relaxation with the hulls of groups of three ReLUs, by cutting planes.

    After each program, in every layer: the units whose upper lines hold the optimum up; groups of three among them whose inputs
    depend on each other most; the exact hull of each group over the octahedron of its inputs, bounded by CROWN; and the facet that
    the optimum violates most as a new row.

    Attributes:
        units: so many units of each layer are looked at after each program.
        rounds: programs with cuts, after the first one without, for each form.
        gain: rounds end when two in a row lift the bound by less than this share of its size.

    Shapes:  rows (P, Q, K) over the output; result (P, Q).
    Sound:   yes, as the linear program: a cut holds at every vertex of its hull, with its rounding given away.   Complete: no.
    Cost:    up to `rounds` more programs a row, each warm-started with highspy.
    Paper:   Singh et al., NeurIPS 2019 (k-ReLU); Mueller et al. 2022, arXiv:2103.03638 (PRIMA).  Differs: the hull is exact, and
        only its violated facets are computed.
    """

    units: int = 24
    rounds: int = 6
    gain: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.units < 3 or self.rounds < 1:
            raise BadConfig("groups of three need units >= 3 and rounds >= 1", where=repr(self))

    def open(self, network: Prepared, input_set: InputSet, until: float = math.inf) -> Grouped:
        return Grouped(self._encoding(network, input_set, until), self.solver, until)

    def least(self, relaxation: Relaxation, forms: Forms, row: int) -> Optimum:
        """The least value of one form, cut by cut. The best bound of all rounds counts: each is proven."""
        best = relaxation.least(forms, row)
        if not isinstance(relaxation, Grouped):
            return best
        last, stalled, points = best, 0, []
        for _ in range(self.rounds):
            if last.v is None or last.outcome != "optimal" or stalled == _PATIENCE or not self._add_cuts(relaxation, last):
                break
            points.append(last.v)
            before, last = last, relaxation.least(forms, row)
            stalled = 0 if last.bound > before.bound + self.gain * abs(before.bound) else stalled + 1
            if last.outcome != "optimal":
                return replace(last, bound=max(last.bound, best.bound), earlier=tuple(points))
            best = max(best, last, key=lambda found: found.bound)
        return replace(best, earlier=tuple(points))

    def _add_cuts(self, relaxation: Grouped, at: Optimum) -> bool:
        if at.v is None:
            return False
        for slot, units in relaxation.encoding.units.items():
            if _kinked(units.step.op) and units.above is not None and len(units.index) >= 3:
                self._choose(relaxation, slot, units, at)
        cuts = [(g, c) for g in relaxation.groups.values() if g is not None and (c := g.cut(at.v, math.inf)) is not None]
        if not cuts:
            return False
        count = relaxation.encoding.program.count
        places = np.repeat(np.arange(len(cuts)), 6)
        columns = np.concatenate([g.columns for g, _ in cuts])
        values = np.concatenate([c[0] for _, c in cuts])
        rows = sparse.csr_matrix((values, (places, columns)), (len(cuts), count))
        relaxation.session.add(rows, np.full(len(cuts), -math.inf), np.array([c[1] for _, c in cuts]))
        return True

    def _choose(self, relaxation: Grouped, slot: int, units: Units, at: Optimum) -> None:
        """New groups among the units that matter most to this optimum."""
        if at.v is None or units.above is None:
            return
        z, y = units.values(at.v)
        graph = units.step.op.value(torch.from_numpy(z.copy())).numpy()
        weight = (y - graph) * np.abs(at.multipliers[units.above : units.above + len(z)])
        chosen = np.argsort(-weight)[: self.units]
        seeds = int((weight[chosen] > 1e-9 * float(weight.max())).sum())
        if seeds == 0:
            return
        chosen = chosen[: max(3, seeds)]
        triples = [tuple(sorted(int(chosen[i]) for i in t)) for t in _dependent(relaxation.encoding, units, chosen, seeds)]
        fresh = [t for t in triples if (slot, *t) not in relaxation.groups]
        if not fresh:
            return
        low, high = bounds_of(relaxation.encoding.known, units, np.array(fresh), directions())
        for i, places in enumerate(fresh):
            key = (slot, places[0], places[1], places[2])
            relaxation.groups[key] = Group.hull(units, places, (low[i], high[i]), relaxation.solver)


def _dependent(encoding: Encoding, units: Units, chosen: np.ndarray, seeds: int) -> list[tuple[int, int, int]]:
    """For each of the first units the two that depend on it, and on each other, most: pairs much narrower than their boxes."""
    count = len(chosen)
    pairs = np.array(list(combinations(range(count), 2)))
    signs = np.array([[1.0, 1.0], [1.0, -1.0]])
    low, high = bounds_of(encoding.known, units, chosen[pairs], signs)
    start = units.y if units.z is None else units.z
    width = (encoding.program.upper - encoding.program.lower)[start + chosen]
    box = width[pairs].sum(1)
    narrow = (1 - (high - low).clip(min=0).min(1) / np.maximum(box, 1e-300)).clip(min=0)
    table = np.zeros((count, count))
    table[pairs[:, 0], pairs[:, 1]] = table[pairs[:, 1], pairs[:, 0]] = narrow
    found = set()
    for i in range(seeds):
        total = table[i][:, None] + table[i][None, :] + table
        total[i, :] = total[:, i] = -1
        np.fill_diagonal(total, -1)
        j, k = np.unravel_index(int(total.argmax()), total.shape)
        a, b, c = sorted((i, int(j), int(k)))
        found.add((a, b, c))
    return sorted(found)


def bounds_of(known: Known, units: Units, places: np.ndarray, combination: Array) -> tuple[Array, Array]:
    """Ends (G, D) of D combinations (D, k) of the inputs of k units each, for G lists (G, k) of units, by CROWN."""
    slot = units.step.args[0]
    like = known.found[slot].lower
    index = units.index.cpu().numpy()[places]
    forms = torch.zeros(len(places) * len(combination), like[0].numel(), dtype=like.dtype, device=like.device)
    at = torch.from_numpy(np.repeat(index, len(combination), axis=0)).to(like.device)
    forms.scatter_(1, at, torch.from_numpy(np.tile(combination, (len(places), 1))).to(like.device, like.dtype))
    rows = Rows(forms.view(1, -1, *like.shape[1:]), at.new_zeros(len(forms))).mirrored()
    ends = known.lower_bound(slot, rows).double().cpu().numpy()
    room = tolerance(like.dtype) * (1 + np.abs(ends))
    low, high = ends[0] - room[0], -(ends[1] - room[1])
    shape = (len(places), len(combination))
    low, high = low.reshape(shape), high.reshape(shape)
    # never wider than the boxes
    box = [
        known.found[slot].lower.flatten().double().cpu().numpy()[index],
        known.found[slot].upper.flatten().double().cpu().numpy()[index],
    ]
    positive, negative = combination.clip(min=0), combination.clip(max=0)
    low = np.maximum(low, box[0] @ positive.T + box[1] @ negative.T)
    return low, np.minimum(high, box[1] @ positive.T + box[0] @ negative.T)


def _kinked(op: Operator) -> bool:
    """Whether the hull of a group is known: two linear pieces that meet at 0."""
    return isinstance(op, Nonlinear) and op.leak is not None
