"""Products of matrices, softmax and attention."""

from __future__ import annotations

import math

import torch

from epsball.graph.builder import Arguments, Builder, broadcast, converts
from epsball.graph.graph import Node


def matmul(b: Builder, left: Node, right: Node) -> Node:
    """A matrix product of per-sample matrices, either of which may be constant."""
    if not right.varies and len(right.shape) == 2:
        return b.linear(left, b.fixed(torch.transpose, right, 0, 1))
    rank = max(len(n.shape) for n in (left, right) if n.varies)
    if min(len(n.shape) for n in (left, right)) < 2:
        raise b.refuse("a product of a matrix and a vector has no bounds", "use matrices: add an axis with unsqueeze")
    left, right = (n if n.varies else b.per_sample(n, rank) for n in (left, right))
    rank = max(len(left.shape), len(right.shape))
    left, right = (n if len(n.shape) == rank or not n.varies else _wider(b, n, rank) for n in (left, right))
    stack = broadcast(left.shape[:-2], right.shape[:-2])
    left, right = (b.expand(n, (*stack, *n.shape[-2:])) if n.varies else n for n in (left, right))
    return b.emit("matmul", (left, right), (*stack, left.shape[-2], right.shape[-1]))


def _wider(b: Builder, node: Node, rank: int) -> Node:
    if rank > len(node.shape) and len(node.shape) > 2:
        raise b.refuse("stacks of matrices of different ranks have no bounds", "give both operands the same number of axes")
    return b.reshape(node, (*(1,) * (rank - len(node.shape)), *node.shape))


@converts("matmul", "mm", "bmm")
def _matmul(b: Builder, a: Arguments) -> Node:
    left, right = a["self"], a["other"] if "other" in a else a["mat2"]
    if left.varies and len(left.shape) == 1 and len(right.shape) == 1:
        return b.reshape(b.linear(left, b.fixed(torch.unsqueeze, right, 0)), ())
    return matmul(b, left, right)


@converts("addmm", "baddbmm")
def _addmm(b: Builder, a: Arguments) -> Node:
    if a.get("beta", 1) != 1 or a.get("alpha", 1) != 1:
        raise b.refuse(f"{a['__op__']} with alpha or beta has no bounds", "multiply outside")
    left, right = (a["mat1"], a["mat2"]) if "mat1" in a else (a["batch1"], a["batch2"])
    return b.binary("add", matmul(b, left, right), a["self"])


@converts("bilinear")
def _bilinear(b: Builder, a: Arguments) -> Node:
    """`x_1 A_k x_2 + b_k`."""
    x, y, weight = a["input1"], a["input2"], a["weight"]
    count, first, second = weight.shape
    turned = b.linear(x, b.fixed(torch.reshape, b.fixed(torch.transpose, weight, 1, 2), (count * second, first)))
    product = matmul(b, b.reshape(turned, (count, second)), b.reshape(y, (second, 1)))
    flat = b.reshape(product, (count,))
    return flat if a.get("bias") is None else b.binary("add", flat, a["bias"])


@converts("einsum")
def _einsum(b: Builder, a: Arguments) -> Node:
    """Two operands, as permuted and reshaped matrices."""
    equation, operands = a["equation"].replace(" ", ""), a["tensors"]
    terms, _, out = equation.partition("->")
    labels = terms.split(",")
    plain = out and "." not in equation and all(len(set(t)) == len(t) for t in labels)
    batch = {t[0] for t, node in zip(labels, operands, strict=True) if node.varies}
    if not plain or len(operands) != 2 or batch != {out[0]}:
        raise b.refuse(f"einsum {equation!r} has no bounds", "einsum of two operands with the batch first, or matmul")
    left, right = ([c for c in t if c not in batch] for t in labels)
    rest = out[1:]
    both = [c for c in left if c in right and c in rest]
    inner = [c for c in left if c in right and c not in rest]
    rows, columns = ([c for c in t if c not in both and c not in inner] for t in (left, right))
    if any(c not in rest for c in (*rows, *columns)):
        raise b.refuse(f"einsum {equation!r} sums over an axis of one operand alone", "sum it first")
    size = {c: n for t, node in zip((left, right), operands, strict=True) for c, n in zip(t, node.shape[-len(t) :], strict=True)}

    def arranged(node: Node, has: list[str], order: tuple[list[str], list[str]]) -> Node:
        wanted = (*both, *order[0], *order[1])
        dims = tuple(has.index(c) for c in wanted)
        shape = (*(size[c] for c in both), *(math.prod(size[c] for c in part) for part in order))
        if node.varies:
            return b.reshape(b.permute(node, dims), shape)
        return b.fixed(torch.reshape, b.fixed(torch.permute, b.per_sample(node, len(has)), dims), shape)

    product = matmul(b, arranged(operands[0], left, (rows, inner)), arranged(operands[1], right, (inner, columns)))
    have = (*both, *rows, *columns)
    whole = b.reshape(product, tuple(size[c] for c in have))
    return b.permute(whole, tuple(have.index(c) for c in rest))


@converts("softmax", "_softmax")
def _softmax(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    return b.unary("softmax", x, dim=b.axis(a["dim"], len(x.shape)))


@converts("log_softmax", "_log_softmax")
def _log_softmax(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    axis = b.axis(a["dim"], len(x.shape))
    return b.binary("sub", x, b.expand(_logsumexp(b, x, axis), x.shape))


@converts("logsumexp")
def _converted_logsumexp(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    dims = a["dim"] if isinstance(a["dim"], (list, tuple)) else [a["dim"]]
    if len(dims) != 1:
        raise b.refuse("logsumexp over several axes has no bounds", "flatten them first")
    return b.reshape(_logsumexp(b, x, b.axis(dims[0], len(x.shape))), b.result)


def _logsumexp(b: Builder, x: Node, axis: int) -> Node:
    return b.emit("logsumexp", (x,), tuple(1 if i == axis else n for i, n in enumerate(x.shape)), dim=axis)


@converts("scaled_dot_product_attention")
def _attention(b: Builder, a: Arguments) -> Node:
    """`softmax(Q K^T scale + mask) V`."""
    query, key, value = a["query"], a["key"], a["value"]
    mask, scale = a.get("attn_mask"), a.get("scale")
    if a.get("enable_gqa"):
        raise b.refuse("attention with grouped queries has no bounds", "repeat the keys and values")
    query = b.binary("mul", query, 1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    order = list(range(len(key.shape)))
    order[-2:] = order[-1], order[-2]
    turned = b.permute(key, tuple(order)) if key.varies else b.fixed(torch.transpose, key, -1, -2)
    weights = matmul(b, query, turned)
    if a.get("is_causal"):
        mask = b.held(torch.ones(weights.shape[-2:], dtype=torch.bool).tril())
    if mask is not None:
        kept, penalty = (b.fixed(how, mask, b.operand(1.0)) for how in (_kept, _penalty))
        weights = b.emit("scale_shift", (weights, kept, penalty), weights.shape)
    return matmul(b, b.unary("softmax", weights, dim=len(weights.shape) - 1), value)


def _kept(mask: torch.Tensor, one: torch.Tensor) -> torch.Tensor:
    """1 where a score counts. A mask of booleans says so; a mask to add leaves out what it lowers by 1e8 or more."""
    mask = mask.to(one.device)
    return (mask if mask.dtype == torch.bool else mask > -1e8).to(one.dtype)


def _penalty(mask: torch.Tensor, one: torch.Tensor) -> torch.Tensor:
    """What is added to the scores: -1e30 stands for minus infinity."""
    kept = _kept(mask, one)
    added = torch.zeros_like(kept) if mask.dtype == torch.bool else mask.to(one)
    return torch.where(kept > 0, added, -1e30)
