"""Every section of a report: its template beside it, its place, on the page where runs fill it and only there; and plugins."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest

import sample_records as sample
from epsball.errors import BadConfig
from epsball.record.lines import KINDS, DoneLine, HeaderLine, ResumeLine, SummaryLine
from epsball.reporting.commands import filled
from epsball.reporting.html import render
from epsball.reporting.runs import read_runs
from epsball.reporting.section import Section, ordered, sections
from html_page import Page

EVERY = dict(ordered())
NAMES = list(EVERY)
ALL = [*sample.RUNS, *sample.LOGS]


@pytest.fixture(scope="module")
def stories(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {name: read_runs([sample.made(folder, name)]) for name in ALL}


@pytest.fixture(scope="module")
def fills(stories):
    """For every section the sample runs that fill it."""
    return {name: {run for run, story in stories.items() if part.content(story)} for name, part in EVERY.items()}


def _shown(page: Page) -> list[str]:
    return [a["id"] for a in page.of("section") if a["id"] != "missing"]


def _page(folder: Path, runs, change=list) -> Page:
    return Page(render(read_runs([sample.made(folder, name, change) for name in runs])).text)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Page:
    return _page(tmp_path_factory.mktemp("whole"), ALL)


def test_places_and_words_are_each_sections_own():
    for words in ("place", "title", "short", "missing"):
        every = [getattr(section, words) for section in EVERY.values()]
        assert len(set(every)) == len(every), words
        assert all(every), words
    assert NAMES[-1] == "reproduce"


@pytest.mark.parametrize("name", NAMES)
def test_a_section_is_two_files_of_its_name(name):
    module = f"epsball.reporting.sections.{name.replace('-', '_')}"
    assert type(EVERY[name]).__module__ == module
    folder = files("epsball.reporting.sections")
    assert EVERY[name].source() == folder.joinpath(f"{name.replace('-', '_')}.html.jinja").read_text("utf-8")
    assert type(EVERY[name]).__doc__


def test_every_template_belongs_to_a_section():
    folder = Path(str(files("epsball.reporting.sections")))
    assert {path.name.split(".")[0].replace("_", "-") for path in folder.glob("*.jinja")} == set(NAMES)


@pytest.mark.slow
def test_sample_runs_hold_every_kind_of_line_and_fill_every_section(fills, whole):
    lines = [line["type"] for make in sample.RUNS.values() for line in make()]
    assert {*lines, ResumeLine.kind} == set(KINDS)
    assert [name for name, runs in fills.items() if not runs] == []
    assert _shown(whole) == NAMES
    assert "missing" not in whole.ids
    assert len(whole.ids) == len(set(whole.ids))


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted({*KINDS} - {line.kind for line in (HeaderLine, SummaryLine, DoneLine, ResumeLine)}))
def test_every_kind_of_line_has_a_section(tmp_path, kind):
    """A record of this kind of line alone fills some section: no line is dropped without a word."""
    lines = next(found for make in sample.RUNS.values() if (found := [line for line in make() if line["type"] == kind]))
    story = read_runs([sample.write(tmp_path / "run", sample.header("verify"), *lines)])
    assert [name for name, section in EVERY.items() if name != "reproduce" and section.content(story)]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "reproduce"])
def test_a_section_is_absent_without_the_runs_that_fill_it(tmp_path, fills, name):
    left = [run for run in sample.RUNS if run not in fills[name]][-1:]  # one of them will do: a page takes a while
    page = _page(tmp_path, left)
    assert name not in page.ids
    assert f"#{name}" not in [a["href"] for a in page.of("a")]
    said = page.texts["missing"]
    section = EVERY[name]
    assert section.title in said
    assert section.missing in said
    runs = read_runs([tmp_path / run for run in left])
    assert filled(section.command, runs) in said


@pytest.mark.parametrize("name", [name for name in NAMES if name != "reproduce"])
def test_the_command_that_fills_a_section_is_one_of_the_command_line(name):
    import typer.main

    from epsball.cli.app import app

    words = EVERY[name].command.split()
    assert words[0] == "epsball"
    command = typer.main.get_command(app)
    rest = words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest[0]]
        rest = rest[1:]
    assert not getattr(command, "commands", {}), words
    options = {option for parameter in command.params for option in parameter.opts}
    assert [word for word in rest if word.startswith("--") and word not in options] == []


@pytest.mark.slow
def test_text_of_a_record_stays_text_in_every_section(tmp_path, whole):
    page = _page(tmp_path, ALL, sample.poison)
    assert _shown(page) == NAMES
    for tag in ("script", "title", "meta", "link", "section", "img", "nav", "h2"):
        assert len(page.of(tag)) == len(whole.of(tag)), tag
    assert [a for a in page.of("style") if a != {"type": "text/css"}] == [{}]  # the page's own; drawings have theirs
    assert not [a for _, a in page.elements if any(key.startswith("on") for key in a)]
    assert len(page.ids) == len(set(page.ids))
    assert sample.EVIL in page.texts["main"]


OWN = '{% import "macros.html.jinja" as m %}<p id="{{ id }}-told">{{ told }}</p>'


@dataclass(frozen=True)
class SeedsSection(Section):
    """The seeds of all runs."""

    title: str = "Seeds & such"
    short: str = "Seeds"
    place: int = 150
    missing: str = "No seed."
    command: str = "epsball demo --seed 1 {model} {'left': 'alone'}"

    def content(self, story):
        seeds = [str(run.header.seed) for run in story.runs if run.header.seed is not None]
        return {"told": f"<{', '.join(seeds)}>"} if seeds else {}

    def source(self) -> str:
        return OWN


@pytest.fixture
def private(monkeypatch):
    monkeypatch.setattr(sections, "_entries", dict(sections._entries))


@pytest.mark.usefixtures("private")
def test_a_plugin_adds_a_section_with_its_template_as_text(tmp_path):
    sections.register("seeds")(SeedsSection)
    page = _page(tmp_path, ["attack"])
    assert _shown(page) == ["inequality", "seeds", "accuracy", "reproduce"]
    assert page.texts["seeds-told"] == "<7>"
    head = sample.header("attack") | {"seed": None}
    bare = Page(render(read_runs([sample.write(tmp_path / "bare", head)])).text)
    assert "No seed. This command makes one:" in bare.texts["missing"]
    assert "epsball demo --seed 1 MODEL {'left': 'alone'}" in bare.texts["missing"]


@pytest.mark.usefixtures("private")
def test_a_plugin_adds_a_section_with_its_template_beside_it(tmp_path, monkeypatch):
    package = tmp_path / "report_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "seeds.py").write_text(
        "from test_sections import SeedsSection\nfrom epsball.reporting.section import Section, sections\n"
        "@sections.register('seeds')\nclass Own(SeedsSection):\n    source = Section.source\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "test_sections", sys.modules[__name__])
    __import__("report_plugin.seeds")
    with pytest.raises(BadConfig, match="no template") as caught:
        _page(tmp_path / "a", ["attack"])
    assert "seeds.html.jinja" in caught.value.fix
    (package / "seeds.html.jinja").write_text(OWN)
    assert _page(tmp_path / "b", ["attack"]).texts["seeds-told"] == "<7>"


@pytest.mark.usefixtures("private")
@pytest.mark.parametrize("name", ["main", "missing", "contents", "a b", 'x"y', "Seeds", ""])
def test_an_id_that_no_page_can_hold_is_refused(name):
    sections.register(name)(SeedsSection)
    with pytest.raises(BadConfig, match="cannot be called"):
        ordered()
