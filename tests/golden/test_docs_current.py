"""Pages that list what there is, against what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

import epsball
from epsball.bounding.base import bounders
from epsball.cli.app import app
from epsball.cli.show import _registries
from epsball.ops.operator import operators
from epsball.problem.sets.base import sets
from epsball.training.base import recipes
from epsball.verification.rungs import named_steps

ROOT = Path(__file__).resolve().parents[2]
CLI = (ROOT / "docs/reference/cli.md").read_text()


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def verbs(group: typer.Typer, name: str) -> set[str]:
    own = {f"{name} {command.name}" for command in group.registered_commands}
    return own.union(*(verbs(inner.typer_instance, f"{name} {inner.name}") for inner in group.registered_groups))


def test_the_reference_has_every_verb():
    told = re.findall(r"^\| `(epsball [a-z]+(?: [a-z]+)?)", CLI, re.MULTILINE)
    assert set(told) == verbs(app, "epsball")
    assert len(told) == len(set(told))


def test_the_reference_has_every_kind_and_every_step():
    row = re.search(r"^\| `epsball list KIND` \|(.*)\|$", CLI, re.MULTILINE)[1]
    assert set(re.findall(r"`([^`]+)`", row)) == {*_registries(), "settings"}
    table = [line.split("|")[1] for line in section(CLI, "Methods of `epsball verify`").splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([^`]+)`", " ".join(table))) == {"auto", *named_steps()}


def test_the_reference_has_every_public_name():
    told = re.findall(r"`epsball\.(\w+)", (ROOT / "docs/reference/python.md").read_text())
    assert set(told) - {"problem"} == set(dir(epsball)) - {"__version__"}


def test_which_method_when_has_every_recipe():
    text = section((ROOT / "docs/explanation/which-method-when.md").read_text(), "Which recipe")
    told = [name for line in text.splitlines() if line.startswith("| `") for name in re.findall(r"`([\w-]+)`", line.split("|")[1])]
    assert sorted(told) == sorted(recipes)


def test_which_method_when_has_every_program_and_names_none_as_missing():
    text = (ROOT / "docs/explanation/which-method-when.md").read_text()
    own = set(named_steps()) - set(bounders)
    assert own <= set(re.findall(r"`([\w-]+)`", text))
    missing = section(text, "What is not here yet").split(":")[0].lower()
    assert not [word for word in ("semidefinite", "linear program", "groups") if word in missing]


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "docs/index.md"])
def test_the_number_of_operators(page):
    counts = re.findall(r"(\d+) operators|More operators: (\d+) in all", (ROOT / page).read_text())
    assert {int(number) for pair in counts for number in pair if number} == {len(operators)}


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_front_pages_name_every_set(page):
    (row,) = re.findall(r"^\| sets \|(.*)\|$", (ROOT / page).read_text(), re.MULTILINE)
    words = {"box": "radius for each feature", "polytope": "polytopes", "product": "products", "patch": "patches"}
    assert [name for name in sets if words.get(name, name) not in row] == []
