"""Run records in, one HTML file out: no network, no other file, no code from the records."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from epsball.errors import BadConfig, BadFile, MissingExtra
from epsball.files import write_bytes
from epsball.reporting.claims import claims
from epsball.reporting.commands import filled
from epsball.reporting.csv import duration, n_of, number, percent, whole
from epsball.reporting.export import check_folder, write_exhibits
from epsball.reporting.numbers import Numbers
from epsball.reporting.runs import read_runs
from epsball.reporting.section import ordered, sections
from epsball.reporting.tables import headlines, notices

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jinja2 import Environment
    from markupsafe import Markup

    from epsball.reporting.numbers import Exhibit
    from epsball.reporting.runs import Story
    from epsball.reporting.section import Section


@dataclass(frozen=True)
class Part:
    """A section as it stands on the page: its id, what it is, and its own template rendered with its content."""

    id: str
    section: Section
    body: Markup


@dataclass(frozen=True)
class Missing:
    """What the runs do not hold, and one command that would add it."""

    command: str
    sections: tuple[Section, ...]

    @property
    def sentences(self) -> list[str]:
        """What each of the sections says of it, once."""
        return list(dict.fromkeys(section.missing for section in self.sections))


@dataclass(frozen=True)
class Page:
    """A report as text, and the figures and tables on it in their order."""

    text: str
    exhibits: tuple[Exhibit, ...]


def write_report(runs: Sequence[Path], out: Path, export: Path | None = None) -> Path:
    """Write the report of some runs as one self-contained HTML file.

    Args:
        runs: run folders (or record files) of any verbs: the page tells what they hold, and names the command for what they lack.
        out: the file; it is written whole and then renamed over an older one.
        export: a new or empty folder for every figure as SVG and PDF and every table as CSV and LaTeX; None for none.

    Returns:
        The file's path.

    Raises:
        BadConfig: no run is given, `out` is a folder, or `export` holds files or is none.
        BadFile: a record is missing, foreign or malformed, or the page cannot be written.
        DiskFull: the disk is full.
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    if out.is_dir():
        raise BadConfig("the report's place is a folder", where=str(out), fix="give a file: -o report.html")
    if export is not None:
        check_folder(export)
    page = render(read_runs(runs))
    try:
        write_bytes(out, page.text.encode("utf-8", "replace"))
    except OSError as error:
        raise BadFile(
            f"the report could not be written: {error.strerror}", where=str(out), fix="name a file in a folder that can be written"
        ) from error
    if export is not None:
        write_exhibits(page.exhibits, export)
    return out


def render(story: Story) -> Page:
    """The page: the sections that have something to show, by their places, then what the runs do not hold.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    numbers = Numbers()
    environment = _environment(numbers)
    parts, missing = _parts(story, environment)
    told, script = headlines(story), _asset("script.js")
    text = environment.get_template("report.html.jinja").render(
        story=story,
        title=told[0].run.title if told else story.title,
        notices=notices(story),
        claims=claims(story),
        parts=parts,
        missing=missing,
        style=_asset("style.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return Page(text, tuple(numbers.exhibits))


def _parts(story: Story, environment: Environment) -> tuple[list[Part], list[Missing]]:
    """The sections that the runs fill, and what they do not hold, by the command that would add it."""
    from markupsafe import Markup

    parts: list[Part] = []
    missing: dict[str, tuple[Section, ...]] = {}
    for name, section in ordered():
        content = section.content(story)
        if content:
            body = environment.get_template(f"section/{name}").render({**content, "id": name})
            parts.append(Part(name, section, Markup(body)))  # noqa: S704 - rendered by a template that escapes what it is given
        else:
            command = filled(section.command, story)
            missing[command] = (*missing.get(command, ()), section)
    return parts, [Missing(command, kinds) for command, kinds in missing.items()]


def _environment(numbers: Numbers) -> Environment:
    try:
        from jinja2 import ChoiceLoader, Environment, FunctionLoader, PackageLoader, PrefixLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtra("a report needs jinja2", fix="pip install 'epsball[report]'") from error
    own = PrefixLoader({"section": FunctionLoader(lambda name: sections[name]().source())})
    environment = Environment(
        loader=ChoiceLoader([own, PackageLoader("epsball.reporting")]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals["numbers"] = numbers
    environment.filters.update(percent=percent, number=number, whole=whole, duration=duration, n_of=n_of)
    return environment


def _asset(name: str) -> str:
    return files("epsball.reporting").joinpath("templates", name).read_text("utf-8")
