"""Transformers over words, in two halves: `embed` looks words up, `body` is what bounds are computed of.

A set of inputs begins at the embedded sentence (B, L, D): a ball around each vector, or the vectors of synonyms. Words themselves
have no neighbourhood. So the module takes either words (B, L) or vectors (B, L, D), and its graph starts at the vectors.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from epsball.errors import BadConfig, BadShape
from epsball.models.base import Shape, models

Norm = Literal["centred", "full", "none"]
_NORMS = ("centred", "full", "none")


class Centred(nn.Module):
    """Layer norm without its division by the deviation: `w (x - mean) + b`, which is affine.

    Shi et al. 2020 (arXiv:2002.06622), Sec. 4.1: the division costs most of the tightness of a bound and little accuracy.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) * self.weight + self.bias


def _norm(kind: Norm, width: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    return Centred(width) if kind == "centred" else nn.LayerNorm(width)


class TransformerBlock(nn.Module):
    """`h + attention(norm(h))`, then `h + mlp(norm(h))`."""

    def __init__(self, width: int, heads: int, hidden: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = _norm(norm, width), _norm(norm, width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, D) to the same shape."""
        x = self.norm_1(h)
        h = h + self.drop(self.attention(x, x, x, need_weights=False)[0])
        out: Tensor = h + self.drop(self.mlp(self.norm_2(h)))
        return out


class Body(nn.Module):
    """Embedded sentences (B, L, D) to logits (B, K): places are added, and the mean over them is classified."""

    def __init__(self, shape: Shape, classes: int, blocks: list[TransformerBlock], norm: Norm) -> None:
        super().__init__()
        self.place = nn.Parameter(0.02 * torch.randn(shape))
        self.blocks = nn.Sequential(*blocks)
        self.norm, self.head = _norm(norm, shape[1]), nn.Linear(shape[1], classes)

    def forward(self, h: Tensor) -> Tensor:
        """Logits (B, K)."""
        logits: Tensor = self.head(self.norm(self.blocks(h + self.place)).mean(1))
        return logits


class TextTransformer(nn.Module):
    """`body(embed(words))`.

    Attributes:
        embed: words (B, L) to vectors (B, L, D).
        body: vectors to logits (B, K).
        token_shape: (L,), of one sentence.
        embedded_shape: (L, D), where the graph and every set of inputs begin.
    """

    def __init__(self, embed: nn.Embedding, body: Body, length: int, dropout: float) -> None:
        super().__init__()
        self.embedding, self.body, self.drop = embed, body, nn.Dropout(dropout)
        self.token_shape: Shape = (length,)
        self.embedded_shape: Shape = (length, embed.embedding_dim)

    def embed(self, words: Tensor) -> Tensor:
        """The vectors of words (B, L): whole numbers, of any type."""
        vectors: Tensor = self.embedding(words.long())
        dropped: Tensor = self.drop(vectors)
        return dropped

    def forward(self, x: Tensor) -> Tensor:
        """Logits of words (B, L) or of vectors (B, L, D)."""
        logits: Tensor = self.body(self.embed(x) if x.dim() == 2 else x)
        return logits


@models.register("transformer-small")
def transformer_small(  # noqa: PLR0913 - one keyword an option
    input_shape: Shape,
    classes: int,
    *,
    vocabulary: int = 10_000,
    width: int = 32,
    heads: int = 4,
    depth: int = 1,
    hidden: int = 64,
    norm: str = "centred",
    dropout: float = 0.2,
) -> nn.Module:
    """A transformer for sentences of words, with its norms before attention and MLP.

    Args:
        input_shape: (L,), words of a sentence.
        classes: how many.
        vocabulary: how many different words; as many as the data set's.
        width: D, of a word's vector.
        heads: of attention; they divide the width.
        depth: blocks.
        hidden: width of the MLP of a block.
        norm: "centred": layer norm without division, the easiest to bound; "full": layer norm; "none".
        dropout: in training, of vectors and of what each block adds.

    Raises:
        BadShape: inputs that are not sentences of words.
        BadConfig: heads that do not divide the width, an unknown norm, a dropout outside [0, 1).
    """
    if len(input_shape) != 1:
        raise BadShape(f"inputs of shape {input_shape} are no sentences of words", fix="use a text data set, such as sst2")
    if width % heads or norm not in _NORMS or not 0 <= dropout < 1:
        raise BadConfig(
            f"width {width}, heads {heads}, norm {norm!r}, dropout {dropout}",
            fix=f"heads divide the width; norm is one of {', '.join(_NORMS)}; dropout is in [0, 1)",
        )
    kind: Norm = "centred" if norm == "centred" else "full" if norm == "full" else "none"
    embed = nn.Embedding(vocabulary, width)
    blocks = [TransformerBlock(width, heads, hidden, kind, dropout) for _ in range(depth)]
    return TextTransformer(embed, Body((input_shape[0], width), classes, blocks, kind), input_shape[0], dropout)
