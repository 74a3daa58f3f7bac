"""The reader of WordNet's files, on a small one made here and on the real one."""

from __future__ import annotations

import gzip

import pytest
import torch

from epsball.data.wordnet import of_tokens, synonyms
from epsball.errors import BadConfig, BadFile
from epsball.problem.sets import WordSubstitution

LICENCE = "  1 This text stands before the first entry.\n"
DATA = {
    "noun": "00000010 03 n 02 film 0 Movie 1 001 @ 00000020 n 0000 | a moving picture; one | bar\n"
            "00000020 03 n 03 film 1 motion_picture 0 coating 0 000 | a thin layer\n",
    "verb": "00000030 03 v 01 film 0 000 01 + 08 00 | make a film\n",
    "adj": "00000040 00 a 0b good 0 nice(p) 0 w3 0 w4 0 w5 0 w6 0 w7 0 w8 0 w9 0 wa 0 wb(ip) 0 000 | hexadecimal count\n",
    "adv": "",
}  # fmt: skip
INDEX = {
    "noun": "coating n 1 1 @ 1 0 00000020\nfilm n 2 1 @ 2 1 00000010 00000020\nmotion_picture n 1 0 1 0 00000020\n"
            "movie n 1 1 @ 1 1 00000010\n",
    "verb": "film v 1 0 1 0 00000030\n",
    "adj": "good a 1 2 ! & 1 1 00000040\nnice a 1 0 1 1 00000040\n",
    "adv": "",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for part, text in DATA.items():
        (tmp_path / f"data.{part}").write_text(LICENCE + text)
        (tmp_path / f"index.{part}").write_text(LICENCE + INDEX[part])
    return tmp_path


def test_words_of_one_meaning_are_synonyms(folder):
    found = synonyms(folder)
    assert found["film"] == ("movie", "coating")
    assert found["movie"] == ("film",)
    assert found["nice"] == ("good", "w3", "w4", "w5", "w6", "w7", "w8", "w9", "wa", "wb")
    assert not any("_" in word for word in [*found, *sum(found.values(), ())])


def test_senses_and_parts_are_choices(folder):
    assert synonyms(folder, senses=1)["film"] == ("movie",)
    assert set(synonyms(folder, parts=("adj",))) == {"good", "nice"}
    assert synonyms(folder, parts=("verb",)) == {}


def test_tokens_are_those_of_the_vocabulary(folder):
    vocabulary = {"film": 3, "movie": 5, "coating": 1, "unheard": 0}
    assert of_tokens(vocabulary, synonyms(folder)) == {3: (5, 1), 5: (3,), 1: (3,)}
    assert of_tokens(vocabulary, synonyms(folder), limit=1)[3] == (5,)


def test_a_missing_wordnet_names_the_command(tmp_path):
    with pytest.raises(BadFile, match="apt-get install wordnet-base"):
        synonyms(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.noun", "00000010 03 n zz film 0\n"),
        ("data.noun", "00000010 03 n 09 film 0\n"),
        ("index.noun", "film n two\n"),
        ("index.noun", "film n 2 0 2 1 00000010\n"),
    ],
)
def test_a_malformed_line_is_named(folder, name, text):
    (folder / name).write_text(LICENCE + text)
    with pytest.raises(BadFile, match=f"{name}:2"):
        synonyms(folder)


def test_an_offset_that_leads_nowhere_is_named(folder):
    (folder / "index.noun").write_text("film n 1 0 1 1 00000099\n")
    with pytest.raises(BadFile, match="00000099"):
        synonyms(folder)


@pytest.mark.parametrize("options", [{"parts": ("pronoun",)}, {"parts": ()}, {"senses": 0}])
def test_unknown_choices_are_refused(folder, options):
    with pytest.raises(BadConfig, match="parts"):
        synonyms(folder, **options)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.wordnet
def test_the_real_wordnet_covers_the_words_of_film_reviews(shared):
    """At least 5,000 words of SST-2 have a synonym that is itself a word of SST-2."""
    found = synonyms()
    assert len(found) > 40_000
    assert "movie" in found["film"]
    assert "beautifully" in found["attractively"]
    with gzip.open(shared / "data" / "sst2" / "train.tsv.gz", "rt") as file:
        lines = file.read().split("\n")[1:]
    words = sorted({word for line in lines for word in line.partition("\t")[0].split()})
    pairs = of_tokens({word: i for i, word in enumerate(words)}, found)
    assert len(pairs) >= 5_000
    tokens = torch.tensor([[words.index(w) for w in ("a", "gorgeous", "witty", "movie")]])
    spread = WordSubstitution(torch.randn(len(words), 3), tokens, pairs, budget=2)
    ways = [len(pairs.get(int(token), ())) for token in tokens[0]]
    assert ways[-1] >= 3  # movie: film, picture, flick, ...
    two = (sum(ways) ** 2 - sum(way**2 for way in ways)) // 2  # two words replaced
    assert float(spread.count()[0]) == 1 + sum(ways) + two
