"""Word substitution: each word of a sentence may be replaced by one of its synonyms, in the space of the embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig, BadData, BadShape
from epsball.forms.interval import Interval
from epsball.problem.sets.base import check_inputs

if TYPE_CHECKING:
    from epsball.forms.rows import Rows
    from epsball.types import Bool, Float, Int, Tensor

Synonyms = Mapping[int, Sequence[int]]


@dataclass(frozen=True, eq=False)
class WordSubstitution:
    """Sentences in which at most `budget` words are replaced by one of their synonyms.

    The set lies where the network begins: at the embedded sentence (B, L, D), before anything that mixes words.

    Args:
        embedding: (V, D), a vector for each token.
        tokens: (B, L) the sentences; give padding no synonyms and it stays.
        synonyms: token to the tokens that may stand in its place; tokens without an entry stay as they are.
        budget: the number of words that may be replaced, or None for all of them.

    Attributes:
        candidates: (B, L, S) tokens that may stand at each place, the word itself first; shorter lists are filled with it.
        x: (B, L, D) the nominal sentences.
        options: (B, L, S, D) the candidates' vectors.

    Raises:
        BadShape: embedding, tokens do not have these shapes.
        BadData: a token or synonym outside the vocabulary, NaN in the embedding.
        BadConfig: a negative budget.
    """

    embedding: Tensor
    tokens: Tensor
    synonyms: Synonyms
    budget: int | None = None
    candidates: Tensor = field(init=False, repr=False)
    x: Tensor = field(init=False, repr=False)
    options: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.tokens.dim() != 2 or self.tokens.is_floating_point() or self.embedding.dim() != 2:
            raise BadShape(
                f"an embedding {tuple(self.embedding.shape)} and tokens {self.tokens.dtype} {tuple(self.tokens.shape)}",
                fix="give an embedding (V, D) and integer tokens (B, L)",
            )
        if self.budget is not None and self.budget < 0:
            raise BadConfig(f"a budget of {self.budget} words", fix="give 0 or more, or None for all words")
        check_inputs(self.embedding, None)
        lists = [[_candidates(int(word), self.synonyms) for word in sentence] for sentence in self.tokens]
        self._fill(_padded(lists, self.tokens), self.embedding)

    def _fill(self, candidates: Int[Tensor, "B L S"], embedding: Float[Tensor, "V D"]) -> None:
        if candidates.numel() and not bool(((candidates >= 0) & (candidates < len(embedding))).all()):
            raise BadData(
                f"a word lies outside the vocabulary of {len(embedding)}", fix="map unknown words to a token of their own"
            )
        options = embedding[candidates.to(embedding.device)]
        for name, value in (("candidates", candidates), ("x", options[:, :, 0]), ("options", options)):
            object.__setattr__(self, name, value)

    def _like(self, tokens: Tensor, candidates: Tensor, embedding: Tensor, budget: int | None) -> WordSubstitution:
        made = object.__new__(WordSubstitution)
        for name, value in (("embedding", embedding), ("tokens", tokens), ("synonyms", self.synonyms), ("budget", budget)):
            object.__setattr__(made, name, value)
        made._fill(candidates, embedding)
        return made

    @property
    def centre(self) -> Tensor:
        return self.x

    @property
    def is_box(self) -> bool:
        return False

    @property
    def _count(self) -> int:
        length = self.tokens.shape[1]
        return length if self.budget is None else min(self.budget, length)

    def hull(self) -> Interval:
        if self._count == 0:
            return Interval(self.x, self.x)
        return Interval(self.options.amin(2), self.options.amax(2))

    def minimise(self, rows: Rows) -> Float[Tensor, "P Q"]:
        """The best synonym of each word, then the words that gain most: both exact, since words do not share anything else."""
        rows = rows.dense()
        moves = rows.at(self.options - self.x[:, :, None])
        gains = torch.einsum("pqld,qlsd->pqls", rows.values, moves).amin(3)
        return rows.dot(self.x) + gains.topk(self._count, 2, largest=False).values.sum(2)

    def nearest_words(self, x: Float[Tensor, "B L D"]) -> Int[Tensor, "B L"]:
        """The sentence of the set that is nearest to a point, as tokens."""
        chosen = self._choose(x)
        return self.candidates.to(chosen.device).gather(2, chosen[:, :, None])[:, :, 0]

    def _choose(self, x: Tensor) -> Int[Tensor, "B L"]:
        distance = (x[:, :, None] - self.options).double().square().sum(3)
        least, index = distance.min(2)
        saved, words = (distance[:, :, 0] - least).topk(self._count, 1)
        moved = torch.where(saved > 0, index.gather(1, words), 0)
        return torch.zeros_like(index).scatter(1, words, moved)

    def _at(self, chosen: Int[Tensor, "B L"]) -> Tensor:
        index = chosen[:, :, None, None].expand(-1, -1, 1, self.options.shape[3])
        return self.options.gather(2, index)[:, :, 0]

    def project(self, x: Tensor) -> Tensor:
        return self._at(self._choose(x))

    def sample(self, generator: torch.Generator) -> Tensor:
        """A random number of words, up to the budget, each replaced by a random candidate."""
        batch, length, count = self.options.shape[:3]
        device = self.x.device
        chosen = torch.randint(count, (batch, length), generator=generator, device=device)
        order = torch.rand(batch, length, generator=generator, dtype=torch.float32, device=device)
        place = order.argsort(1).argsort(1)
        words = torch.randint(self._count + 1, (batch, 1), generator=generator, device=device)
        return self._at(torch.where(place < words, chosen, 0))

    def split(self, axis: int) -> tuple[WordSubstitution, WordSubstitution]:
        """Halves of the candidates of the word that a feature belongs to, by that feature's value; the word itself stays in both.

        So that the budget still counts from the nominal sentence: their union is the set, and they share the nominal word.
        """
        word, feature = divmod(axis, self.options.shape[3])
        values = self.options[:, word, :, feature]
        order = values.argsort(1)
        half = (order.shape[1] + 1) // 2
        parts = []
        for index in (order[:, :half], order[:, half:]):
            keep = torch.zeros_like(values, dtype=torch.bool).scatter(1, index, torch.ones_like(index, dtype=torch.bool))
            kept = self.candidates.clone()
            kept[:, word] = torch.where(keep.to(kept.device), kept[:, word], kept[:, word, :1])
            parts.append(self._like(self.tokens, kept, self.embedding, self.budget))
        return parts[0], parts[1]

    def inner(self) -> WordSubstitution:
        return self

    def holds(self, x: Tensor) -> Tensor:
        """Whether it is one of its sentences, to the last bit."""
        return (self.project(x) == x).flatten(1).all(1)

    def take(self, index: Tensor) -> WordSubstitution:
        at = index.to(self.tokens.device)
        return self._like(self.tokens[at], self.candidates[at], self.embedding, self.budget)

    def to(self, dtype: torch.dtype, device: torch.device) -> WordSubstitution:
        return self._like(self.tokens, self.candidates, self.embedding.to(device, dtype), self.budget)

    def count(self) -> Float[Tensor, " B"]:
        """How many different sentences each set holds, at most: as floats, for they are many."""
        ways = self._differ().sum(2).double()  # replacements of each word
        total = torch.ones(len(ways), self._count + 1, dtype=torch.float64)
        total[:, 1:] = 0
        for word in range(ways.shape[1]):
            total[:, 1:] = total[:, 1:] + total[:, :-1] * ways[:, word, None].to(total.device)
        return total.sum(1)

    def _differ(self) -> Bool[Tensor, "B L S"]:
        """Candidates that are not the word itself."""
        return self.candidates != self.candidates[:, :, :1]


def _candidates(word: int, synonyms: Synonyms) -> list[int]:
    return [word, *dict.fromkeys(s for s in synonyms.get(word, ()) if s != word)]


def _padded(lists: list[list[list[int]]], tokens: Tensor) -> Int[Tensor, "B L S"]:
    """Lists of candidates as one tensor, filled up with the word itself."""
    widest = max((len(words) for sentence in lists for words in sentence), default=1)
    filled = [[words + words[:1] * (widest - len(words)) for words in sentence] for sentence in lists]
    return torch.tensor(filled, dtype=torch.long, device=tokens.device).view(*tokens.shape, widest)


def enumerate_sentences(chosen: WordSubstitution, limit: int = 100_000) -> Int[Tensor, "N L"]:
    """Every sentence of one set (B = 1), as tokens: for exhaustive checks.

    Raises:
        BadConfig: more than one set, or more sentences than the limit.
    """
    if len(chosen.tokens) != 1 or float(chosen.count()[0]) > limit:
        raise BadConfig(f"more than {limit} sentences, or more than one set", fix="take one set, with a smaller budget")
    budget = math.inf if chosen.budget is None else chosen.budget
    found: list[tuple[list[int], int]] = [([], 0)]
    for words in chosen.candidates[0].tolist():
        grown = []
        for start, spent in found:
            grown.append(([*start, words[0]], spent))
            if spent < budget:
                grown += [([*start, word], spent + 1) for word in dict.fromkeys(words) if word != words[0]]
        found = grown
    return torch.tensor([sentence for sentence, _ in found], dtype=torch.long)
