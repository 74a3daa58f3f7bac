"""Synonyms from WordNet's own files (the WNDB format): a line of `data.POS` for each meaning, one of `index.POS` for each word.

The files are those of Debian's package wordnet-base, or of `dict/` in Princeton's archives. Read as text, never fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from epsball.errors import BadConfig, BadFile

PARTS = ("noun", "verb", "adj", "adv")
PLACES = (Path("/usr/share/wordnet"), Path("/usr/local/WordNet-3.0/dict"))
_FETCH = "apt-get install wordnet-base"
_MARKER = re.compile(r"\((a|p|ip)\)$")  # where an adjective may stand

Synonyms = dict[str, tuple[str, ...]]


def synonyms(folder: Path | None = None, *, parts: Sequence[str] = PARTS, senses: int | None = None) -> Synonyms:
    """Each single word of WordNet with the words that share a meaning with it, the most frequent meaning first.

    Args:
        folder: where `data.noun` and its like lie; None looks where Debian and Princeton put them.
        parts: parts of speech, of noun, verb, adj and adv.
        senses: how many of a word's meanings count, from the most frequent one; None counts all. With a number, "b stands for a"
            does not imply "a stands for b".

    Returns:
        Lower-case words without underscores, each with at least one synonym.

    Raises:
        BadFile: WordNet is not on this machine, or a line of it is malformed.
        BadConfig: an unknown part of speech, or less than one sense.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts or (senses is not None and senses < 1):
        raise BadConfig(
            f"no synonyms of parts {list(parts)} and {senses} senses", fix=f"use some of {', '.join(PARTS)}; senses >= 1"
        )
    where = _found(folder)
    gathered: dict[str, dict[str, None]] = {}
    for part in parts:
        groups = _groups(where / f"data.{part}")
        for word, offsets in _meanings(where / f"index.{part}"):
            for offset in offsets[:senses]:
                if offset not in groups:
                    raise BadFile(f"no synonyms at {offset}", where=str(where / f"data.{part}"), fix=f"install it anew: {_FETCH}")
                others = (other for other in groups[offset] if other != word)
                gathered.setdefault(word, {}).update(dict.fromkeys(others))
    return {word: tuple(others) for word, others in gathered.items() if others}


def of_tokens(
    vocabulary: Mapping[str, int], found: Mapping[str, Sequence[str]], *, limit: int | None = None
) -> dict[int, tuple[int, ...]]:
    """Synonyms as token numbers, for a `WordSubstitution`: only pairs whose words are both in the vocabulary.

    Args:
        vocabulary: word to token.
        found: word to its synonyms, in order of preference.
        limit: synonyms of one word, at most.
    """
    pairs = {
        token: tuple(dict.fromkeys(vocabulary[w] for w in found.get(word, ()) if w in vocabulary and vocabulary[w] != token))[
            :limit
        ]
        for word, token in vocabulary.items()
    }
    return {token: others for token, others in pairs.items() if others}


def _found(folder: Path | None) -> Path:
    tried = PLACES if folder is None else (folder,)
    for place in tried:
        if (place / "data.noun").is_file():
            return place
    raise BadFile(
        "WordNet is not on this machine",
        where=", ".join(str(place) for place in tried),
        fix=f"install it: {_FETCH}",
    )


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    """Numbered lines after the licence, whose lines begin with blanks."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile("a file of WordNet cannot be read", where=str(path), fix=f"install it anew: {_FETCH}") from error
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line and not line.startswith("  "))


def _groups(path: Path) -> dict[str, tuple[str, ...]]:
    """Offset to the single words of one meaning: `offset file type count (word id)* ...`, the count in hexadecimal."""
    groups = {}
    for number, line in _lines(path):
        cells = line.partition("|")[0].split()
        try:
            count = int(cells[3], 16)
            words = [cells[4 + 2 * i] for i in range(count)]
        except (IndexError, ValueError) as error:
            raise _malformed(path, number) from error
        plain = (_MARKER.sub("", word).lower() for word in words)
        groups[cells[0]] = tuple(word for word in plain if "_" not in word)
    return groups


def _meanings(path: Path) -> Iterable[tuple[str, list[str]]]:
    """Single words with the offsets of their meanings: `word type count pointers (pointer)* senses tagged (offset)*`."""
    for number, line in _lines(path):
        cells = line.split()
        try:
            count, start = int(cells[2]), 6 + int(cells[3])
            offsets = cells[start : start + count]
        except (IndexError, ValueError) as error:
            raise _malformed(path, number) from error
        if len(offsets) != count:
            raise _malformed(path, number)
        if "_" not in cells[0]:
            yield cells[0].lower(), offsets


def _malformed(path: Path, number: int) -> BadFile:
    return BadFile("this is no line of WordNet's format", where=f"{path}:{number}", fix=f"install it anew: {_FETCH}")
