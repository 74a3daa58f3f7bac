"""The documentation against the package: links, examples that run, and tables that name everything there is.

A block fenced as `python` runs, in its page's order and namespace; one fenced as `py` is for reading.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
import torch

import epsball
from epsball.errors import EpsballError
from epsball.graph.aten.table import TABLE
from epsball.ops.elementwise import relaxations
from epsball.ops.operator import operators
from epsball.record.heading import Heading, Identity
from epsball.record.journal import FORMAT, Journal
from epsball.record.lines import KINDS, AccuracyPart, Rate, StepTally
from epsball.record.page import meanings
from epsball.record.page import page as record_page
from epsball.record.read import typed
from epsball.registry import Registry
from epsball.rounding import ULPS, Rounding
from epsball.training.base import recipes

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [*PAGES, *sorted(ROOT.glob("*.md"))]
FENCE = re.compile(r"^(```+)(\w*)[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _blocks(page: Path, language: str) -> list[str]:
    return [body for _, kind, body in FENCE.findall(page.read_text()) if kind == language]


def _prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    words = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[\s-]+", "-", word) for word in words}


@pytest.mark.parametrize("page", TEXTS, ids=_name)
def test_every_internal_link_resolves(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(target)
    assert not broken


RUNNABLE = [page for page in PAGES if _blocks(page, "python")]


@pytest.fixture
def private_registries(monkeypatch):
    """What a page registers is forgotten after it."""
    for registry in (operators, relaxations, recipes, importlib.import_module("epsball.bounding.base").bounders):
        assert isinstance(registry, Registry)
        len(registry)  # built-in entries are loaded before the copy is taken
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


@pytest.mark.parametrize("page", RUNNABLE, ids=_name)
@pytest.mark.usefixtures("private_registries")
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page_of_the_docs")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
    for number, block in enumerate(_blocks(page, "python"), 1):
        code = compile(block, f"{_name(page)}, block {number}", "exec")
        exec(code, module.__dict__)  # noqa: S102 - our own documentation


def test_the_examples_of_the_front_pages_are_run():
    assert {"index.md", "five-minutes.md", "your-own-module.md", "plugins.md"} <= {page.name for page in RUNNABLE}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_starts_with_an_example(page):
    before_the_first_section = page.read_text().split("\n## ", 1)[0]
    assert FENCE.search(before_the_first_section)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_reference_pages_name_modules_that_exist(page):
    for name in re.findall(r"^::: (\S+)$", _prose(page), re.MULTILINE):
        assert importlib.import_module(name).__doc__


def test_the_site_shows_every_page_once():
    site = tomllib.loads((ROOT / "zensical.toml").read_text())

    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages(part)]

    assert sorted(pages(site["project"]["nav"])) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


def test_every_error_is_in_the_reference_with_its_exit_code():
    for module in pkgutil.walk_packages(epsball.__path__, "epsball."):
        if not module.name.startswith(("epsball.__main__", "epsball.cli")):  # the command line raises what others define
            importlib.import_module(module.name)
    kinds = [kind for kind in EpsballError.__subclasses__() if kind.__module__.startswith("epsball.")]
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d) \|", (DOCS / "reference/errors.md").read_text(), re.MULTILINE))
    assert rows == {kind.__name__: str(kind.exit_code) for kind in kinds}


def test_every_field_of_the_header_is_in_the_reference(tmp_path):
    with Journal(tmp_path / "record.jsonl") as journal:
        Heading("verify", {}, Identity(None, None, None, "float32"), 0, "cpu", "float32").open(journal)
    header = json.loads((tmp_path / "record.jsonl").read_text())
    text = (DOCS / "reference/record.md").read_text()
    section = text.split("## `header`")[1].split("\n## ")[0]
    assert FORMAT in section
    assert set(re.findall(r"^\| `(\w+)`\?? \|", section, re.MULTILINE)) == {
        *header,
        "anyway",
    }  # the last one only after a resumption by other code


def test_the_page_of_the_record_is_the_one_that_its_models_make():
    text = (DOCS / "reference/record.md").read_text()
    assert text == record_page(), "python -m epsball.record.page > docs/reference/record.md"
    for name in KINDS:
        assert f"\n## `{name}`\n" in text
    rows = re.findall(r"^\| `(\w+)`\?? \| (.*) \|(.*)\|$", text, re.MULTILINE)
    assert [name for name, kind, meaning in rows if name != "type" and not (kind.strip() and meaning.strip())] == []
    (example,) = _blocks(DOCS / "reference/record.md", "json")
    (line,) = typed([json.loads(example)], DOCS)
    assert line.kind == "instance"


@pytest.mark.parametrize("model", [*KINDS.values(), Rate, AccuracyPart, StepTally], ids=lambda model: model.__name__)
def test_docstrings_of_lines_name_their_fields_and_no_others(model):
    assert set(meanings(model)) - {"kind"} == set(model.model_fields)


def test_the_page_on_rounding_states_what_is_assumed_and_claimed():
    text = (DOCS / "explanation/rounding.md").read_text()
    assert f"{ULPS} units in the last place of the value, **assumed**" in text
    for module in (torch.float32, None):
        claim = Rounding(torch.float32, module).describe()
        assert f"`{claim}`" in text


def test_version_and_licence_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert project["version"] == version("epsball")
    assert f"\nversion: {project['version']}\n" in citation
    assert f"\nlicense: {project['license']}\n" in citation
    assert project["version"] in (ROOT / "CHANGELOG.md").read_text()
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_notice_has_the_terms_of_every_set_that_is_fetched():
    notice = (ROOT / "NOTICE").read_text()
    for name, terms in (("MNIST", "CC BY-SA 3.0"), ("Fashion-MNIST", "MIT licence"), ("scikit-learn", "BSD-3-Clause")):
        assert terms in notice.split(name, 1)[1]
