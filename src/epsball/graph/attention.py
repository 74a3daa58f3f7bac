"""nn.MultiheadAttention with the batch first throughout, as it is captured: torch's own moves and merges the batch axis."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from epsball.errors import UnsupportedOp


@contextlib.contextmanager
def plain_attention(module: nn.Module) -> Iterator[None]:
    """Every MultiheadAttention inside computes the same function in per-sample steps; undone on leaving."""
    found = [m for m in module.modules() if type(m) is nn.MultiheadAttention and "forward" not in vars(m)]
    for m in found:
        vars(m)["forward"] = partial(_forward, m)
    try:
        yield
    finally:
        for m in found:
            del vars(m)["forward"]


def _forward(  # noqa: PLR0913, PLR0917 - the signature of nn.MultiheadAttention
    m: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    if not m.batch_first or m.bias_k is not None or m.add_zero_attn or key_padding_mask is not None or query.dim() != 3:
        raise UnsupportedOp(
            "no bounds for this form of nn.MultiheadAttention",
            where=str(m),
            fix="use batch_first=True without add_bias_kv, add_zero_attn and key_padding_mask",
        )
    whole, bias, width = m.in_proj_weight, m.in_proj_bias, m.embed_dim
    thirds = [slice(i * width, (i + 1) * width) for i in range(3)]
    weights = [m.q_proj_weight, m.k_proj_weight, m.v_proj_weight] if whole is None else [whole[t] for t in thirds]
    biases = [None, None, None] if bias is None else [bias[t] for t in thirds]
    parts = [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
    q, k, v = (p.reshape(*p.shape[:2], m.num_heads, m.head_dim).transpose(1, 2) for p in parts)
    mask = None if attn_mask is None else _additive(attn_mask, q)
    if need_weights:
        scores = (q @ k.transpose(-1, -2)) * m.head_dim**-0.5
        share = torch.softmax(scores if mask is None else scores + mask, -1)
        mixed = share @ v
        given = share.mean(1) if average_attn_weights else share
    else:
        mixed, given = scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal and mask is None), None
    out = mixed.transpose(1, 2).flatten(2)
    return linear(out, m.out_proj.weight, m.out_proj.bias), given


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """A mask to add: in nn.MultiheadAttention True means left out. Minus infinity becomes -1e30."""
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=like.dtype, device=mask.device).masked_fill(mask, -1e30)
    return mask.clamp(min=-1e30)
