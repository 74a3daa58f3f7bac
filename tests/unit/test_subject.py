"""What a header tells a reader of its case: the architecture, the threat, and which examples were chosen."""

from __future__ import annotations

import json

import pytest

from epsball.cli.app import run as epsball
from epsball.record.journal import read
from epsball.record.read import typed
from epsball.record.slices import sliced


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (range(200), "the first 200"),
        (range(100, 300), "numbers 100 to 299"),
        (range(3, 100, 10), "every 10th from 3 on, to 93"),
        (range(0, 100, 22), "every 22nd from 0 on, to 88"),
        (range(0, 100, 12), "every 12th from 0 on, to 96"),
        ([7], "number 7"),
        ([1, 5, 9, 100], "4 by their numbers, 1 to 100"),
        ([3, 2, 1], "3 by their numbers, 1 to 3"),
        ([], "none"),
    ],
)
def test_an_index_is_told_in_words(index, text):
    assert sliced(list(index)) == text


def test_a_header_names_architecture_threat_and_slice(tmp_path):
    model, out = str(tmp_path / "m"), tmp_path / "v"
    made = ["train", "standard", "--data", "digits", "--model", "mlp", "--epochs", "1", "--quiet"]
    assert epsball([*made, "-o", model]) == 0
    asked = ["verify", model, "--data", "digits", "--eps", "8/255", "--index", "::40", "--method", "ibp", "--quiet"]
    assert epsball([*asked, "-o", str(out)]) == 0
    path = out / "record.jsonl"
    header = typed(read(path)[:1], path)[0]
    assert header.subject["architecture"] == "mlp"
    assert header.subject["parameters"] > 1000
    assert header.subject["threat"] == "|x' - x|_inf <= 0.0313725, x' in [0, 1]"
    assert header.subject["clip"] == [0.0, 1.0]
    assert header.subject["chosen"] == {"count": 9, "of": 359, "how": "every 40th from 0 on, to 320"}
    head, *rest = path.read_text().splitlines(keepends=True)
    older = {key: value for key, value in json.loads(head).items() if key != "subject"}  # as an earlier version wrote it
    path.write_text("".join([json.dumps(older) + "\n", *rest]))
    assert epsball([*asked, "-o", str(out), "--resume"]) == 0
