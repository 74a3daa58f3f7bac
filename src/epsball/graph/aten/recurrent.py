"""Recurrent layers and cells, unrolled: LSTM, GRU and plain ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from epsball.graph.builder import Arguments, Builder, converts
from epsball.graph.graph import Node

State = list[Node]
Weights = list[Node]
Cell = Callable[[Builder, Node, State, Weights], State]


def _affine(b: Builder, x: Node, weight: Node, bias: Node | None) -> Node:
    """A linear layer of a node that may be constant, as the first hidden state is."""
    if x.varies:
        return b.linear(x, weight, bias)
    return b.fixed(torch.nn.functional.linear, x, weight, *(() if bias is None else (bias,)))


def _gates(b: Builder, x: Node, h: Node, w: Weights, count: int) -> tuple[State, State]:
    """The parts of `W_x x + b_x` and `W_h h + b_h`."""
    biased = len(w) > 2
    sides = _affine(b, x, w[0], w[2] if biased else None), _affine(b, h, w[1], w[3] if biased else None)
    size = w[0].shape[0] // count
    return _parts(b, sides[0], size), _parts(b, sides[1], size)


def _parts(b: Builder, x: Node, size: int) -> State:
    if x.varies:
        return [b.slice(x, 0, i, i + size) for i in range(0, x.shape[0], size)]
    return [b.fixed(torch.narrow, x, -1, i, size) for i in range(0, x.shape[-1], size)]


def _of(b: Builder, op: str, x: Node, y: Node) -> Node:
    return b.binary(op, x, y) if x.varies or y.varies else b.fixed(getattr(torch, op), x, y)


def _lstm(b: Builder, x: Node, state: State, w: Weights) -> State:
    h, c = state
    sums = [_of(b, "add", p, q) for p, q in zip(*_gates(b, x, h, w, 4), strict=True)]
    if not sums[0].varies:
        raise b.refuse("a recurrent step on constants alone", "start at the first input that varies")
    i, f, g, o = (b.unary("tanh" if k == 2 else "sigmoid", s) for k, s in enumerate(sums))
    new = b.binary("add", b.binary("mul", f, c), b.binary("mul", i, g))
    return [b.binary("mul", o, b.unary("tanh", new)), new]


def _gru(b: Builder, x: Node, state: State, w: Weights) -> State:
    """`h' = n + z (h - n)`: each factor once."""
    (h,) = state
    ours, hidden = _gates(b, x, h, w, 3)
    r, z = (b.unary("sigmoid", _of(b, "add", p, q)) for p, q in zip(ours[:2], hidden[:2], strict=True))
    n = b.unary("tanh", b.binary("add", ours[2], b.binary("mul", r, hidden[2])))
    return [b.binary("add", n, b.binary("mul", z, b.binary("sub", h, n)))]


def _plain(op: str) -> Cell:
    def step(b: Builder, x: Node, state: State, w: Weights) -> State:
        ours, hidden = _gates(b, x, state[0], w, 1)
        return [b.unary(op, _of(b, "add", ours[0], hidden[0]))]

    return step


_CELLS: dict[str, Cell] = {"lstm": _lstm, "gru": _gru, "rnn_tanh": _plain("tanh"), "rnn_relu": _plain("relu")}


@converts("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _cell(b: Builder, a: Arguments) -> list[Node] | Node:
    hx = a["hx"]
    state = [_rowless(b, h) for h in (hx if isinstance(hx, list) else [hx])]
    weights = [w for w in (a["w_ih"], a["w_hh"], a.get("b_ih"), a.get("b_hh")) if w is not None]
    new = _CELLS[str(a["__op__"]).removesuffix("_cell")](b, a["input"], state, weights)
    return new if len(new) > 1 else new[0]


def _rowless(b: Builder, h: Node) -> Node:
    return h if h.varies else b.per_sample(h, 1)


@converts("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(b: Builder, a: Arguments) -> list[Any]:
    """All steps of all layers. The last states come as lists, one for each layer and direction."""
    if not a.get("batch_first"):
        raise b.refuse("a recurrent layer with the steps before the batch has no bounds", "batch_first=True")
    hx = a["hx"] if isinstance(a["hx"], list) else [a["hx"]]
    ways = 2 if a["bidirectional"] else 1
    each = 4 if a["has_biases"] else 2
    params: list[Node] = a["params"]
    if len(params) != each * ways * a["num_layers"] or any(h.varies for h in hx):
        raise b.refuse("a recurrent layer with projections or a varying first state has no bounds", "proj_size=0, no hx")
    x: Node = a["input"]
    steps = [b.select(x, 0, t) for t in range(x.shape[0])]
    last: list[State] = []
    for layer in range(int(a["num_layers"])):
        sides = []
        for way in range(ways):
            index = layer * ways + way
            weights = params[index * each : (index + 1) * each]
            state = [b.fixed(torch.reshape, b.fixed(torch.select, h, 0, index), (-1,)) for h in hx]
            done = []
            for step in steps[:: -1 if way else 1]:
                state = _CELLS[str(a["__op__"])](b, step, state, weights)
                done.append(state[0])
            sides.append(done[:: -1 if way else 1])
            last.append(state)
        steps = [_beside(b, list(parts), 0) for parts in zip(*sides, strict=True)]
    rows = [b.reshape(h, (1, *h.shape)) for h in steps]
    return [_beside(b, rows, 0), *([state[k] for state in last] for k in range(len(hx)))]


def _beside(b: Builder, parts: list[Node], axis: int) -> Node:
    if len(parts) == 1:
        return parts[0]
    shape = (*parts[0].shape[:axis], sum(p.shape[axis] for p in parts), *parts[0].shape[axis + 1 :])
    return b.emit("cat", tuple(parts), shape, dim=axis)
