"""Test sentences with the synonyms of their words: what `--perturbation words` bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from epsball.data import wordnet
from epsball.errors import BadConfig
from epsball.problem.sets.words import WordSubstitution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epsball.data.base import Dataset
    from epsball.ops.network import Network
    from epsball.types import Int, Tensor

SENSES = 2  # meanings of a word that count, from its most frequent one
SYNONYMS = 8  # of one word, at most
KIND = "words"


@dataclass(frozen=True, eq=False)
class Words:
    """Sentences of a data set in front of one network.

    Attributes:
        embedding: (V, D), the network's own vectors.
        tokens: (N, L), the sentences.
        synonyms: word to the words that may stand in its place, by number.
    """

    embedding: Tensor
    tokens: Int[Tensor, "N L"]
    synonyms: dict[int, tuple[int, ...]]

    @classmethod
    def of(cls, network: Network, data: Dataset) -> Words:
        """The sentences of a data set's test part, with WordNet's synonyms.

        Raises:
            BadConfig: the data or the network are not of words.
            BadFile: WordNet is not on this machine.
        """
        embedding = getattr(network.module, "embedding", None)
        if not data.words or embedding is None:
            raise BadConfig(
                f"words of {data.name!r} cannot be replaced: it is not a text set, or the network does not embed words",
                where="--perturbation words",
                fix="use a text data set and model, such as sst2 and transformer-small",
            )
        number = {word: i for i, word in enumerate(data.words) if i > 1}  # neither padding nor unknown words
        found = wordnet.of_tokens(number, wordnet.synonyms(senses=SENSES), limit=SYNONYMS)
        return cls(cast("Any", embedding).weight.detach(), data.test.x, found)

    def around(self, x: Tensor, index: Sequence[int], budget: float) -> WordSubstitution:
        """The sets of some test sentences, in x's precision.

        Raises:
            BadConfig: the budget is not a whole number.
        """
        if not float(budget).is_integer():
            raise BadConfig(f"{budget} words cannot be replaced", where="--size", fix="give a whole number of words")
        made = WordSubstitution(self.embedding, self.tokens[list(index)], self.synonyms, int(budget))
        return made.to(x.dtype, x.device)
