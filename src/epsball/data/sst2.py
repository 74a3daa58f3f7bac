"""SST-2 (Socher et al. 2013): sentences of film reviews, negative (0) or positive (1), as numbered words.

The words are those of the files, split at spaces (the set comes tokenised and in lower case). Number 0 is the padding, 1 stands for
every word outside the vocabulary: the 9,998 words that occur most often in the training sentences, ties in alphabetical order.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from epsball.data.base import Dataset, Say, digest, sources
from epsball.data.origins import CannotFetch
from epsball.errors import BadFile
from epsball.examples import Examples
from epsball.types import Tensor

PADDING, UNKNOWN = "<pad>", "<unk>"
VOCABULARY = 10_000
LENGTH = 32  # words of a sentence that are read: 92 % of the dev sentences are no longer
_LARGEST = 2**28  # bytes of one file, unpacked
_HOW = (
    "put train.tsv and dev.tsv of GLUE's SST-2.zip (https://dl.fbaipublicfiles.com/glue/data/SST-2.zip), or the same compressed "
    "by gzip, into a folder D/sst2 and set EPSBALL_DATA=D"
)
Sentences = list[tuple[str, int]]


@dataclass(frozen=True)
class Sst2:
    """67,349 training phrases and sentences; the 872 labelled dev sentences are the test set here."""

    size: str = "7.4 MB"
    terms: str = "research use, no formal licence; R. Socher et al. 2013, from reviews collected by B. Pang and L. Lee"
    places: tuple[str, ...] = ("sst2", "SST-2")

    def holds(self, folder: Path) -> bool:
        return any(_locate(folder, part) for part in ("train", "dev"))

    def load(self, folder: Path | None) -> Dataset:
        """Sentences as int64 (N, 32), labels as int64 (N,); `words` names the numbers."""
        if folder is None:
            raise BadFile("sst2 needs a folder", fix=_HOW)
        train, dev = (_read(folder, part) for part in ("train", "dev"))
        words = vocabulary([text for text, _ in train])
        parts = _examples(train, words), _examples(dev, words)
        return Dataset(
            name="sst2",
            train=parts[0],
            test=parts[1],
            classes=2,
            terms=self.terms,
            mean=(),
            std=(),
            clip=None,
            digest=digest(*parts),
            words=words,
        )

    def fetch(self, folder: Path, say: Say) -> None:
        """The makers publish no pinned file: it must be put there."""
        raise CannotFetch("sst2 cannot be fetched by this command", fix=_HOW)


def vocabulary(sentences: Sequence[str], size: int = VOCABULARY) -> tuple[str, ...]:
    """The words by number: padding, unknown, then the most frequent ones."""
    counts = Counter(word for text in sentences for word in text.split())
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return (PADDING, UNKNOWN, *[w for w in ordered if w not in {PADDING, UNKNOWN}][: size - 2])


def numbered(sentences: Sequence[str], words: Sequence[str], length: int = LENGTH) -> Tensor:
    """Sentences as numbers (N, length), cut at that length or padded with 0."""
    number = {word: i for i, word in enumerate(words)}
    made = torch.zeros(len(sentences), length, dtype=torch.int64)
    for row, text in enumerate(sentences):
        found = [number.get(word, 1) for word in text.lower().split()[:length]]
        made[row, : len(found)] = torch.tensor(found, dtype=torch.int64)
    return made


def _examples(sentences: Sentences, words: Sequence[str]) -> Examples:
    return Examples(numbered([text for text, _ in sentences], words), torch.tensor([label for _, label in sentences]))


def _locate(folder: Path, part: str) -> Path | None:
    return next((p for p in (folder / f"{part}.tsv.gz", folder / f"{part}.tsv") if p.is_file()), None)


def _read(folder: Path, part: str) -> Sentences:
    path = _locate(folder, part)
    if path is None:
        raise BadFile(f"the {part} sentences of sst2 are missing", where=str(folder), fix=_HOW)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            lines = file.read(_LARGEST).decode("utf-8").splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadFile(f"the sentences cannot be read: {error}", where=str(path), fix=_HOW) from error
    if not lines or lines[0].split("\t") != ["sentence", "label"]:
        raise BadFile("not a file of SST-2: its first line is not 'sentence<TAB>label'", where=str(path), fix=_HOW)
    found = []
    for number, line in enumerate(lines[1:], 2):
        text, tab, label = line.rpartition("\t")
        if not tab or label not in {"0", "1"} or not text.strip():
            raise BadFile("not a sentence and a label of 0 or 1", where=f"{path}:{number}", fix=_HOW)
        found.append((text, int(label)))
    if not found:
        raise BadFile("the file holds no sentences", where=str(path), fix=_HOW)
    return found


sources.register("sst2")(Sst2())
