"""Run records in, one HTML file out: no network, no other file, no code from the records."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from epsball.errors import BadConfig, BadFile, MissingExtra
from epsball.files import write_bytes
from epsball.record.lines import STATUSES, HeaderLine, LayerLine, WitnessLine
from epsball.reporting import figures, tables
from epsball.reporting.csv import Cell, Sheet, duration, number, percent, whole
from epsball.reporting.layers_over_time import relu_figure, tightness_figures
from epsball.reporting.pictures import picture
from epsball.reporting.planes import plane_figure
from epsball.reporting.radii import radii_panel
from epsball.reporting.regions import region_figures
from epsball.reporting.results import results
from epsball.reporting.runs import read_runs
from epsball.reporting.smoothing import noise_tables, smoothing_page
from epsball.reporting.training_curves import training_figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from jinja2 import Environment

    from epsball.reporting.pictures import Picture
    from epsball.reporting.runs import Run, Story

_MOST_PICTURES = 24


@dataclass(frozen=True)
class Section:
    """A part of the page: its id (also its template's name), heading, short name in the contents, and what would fill it."""

    id: str
    title: str
    short: str
    missing: str
    command: str


_ATTACK = "epsball attack {model} --data {data} --eps {eps}"
_VERIFY = "epsball verify {model} --data {data} --eps {eps}"
_BOUNDS = "epsball bounds {model} --data {data} --index 0 --eps {eps}"
_CERTIFY = "epsball certify {model} --data {data} --sigma 0.25"
_NOISE = "epsball analyse noise --data {data} --index 0:3"
_TRAIN = "epsball train fast-ibp --data {data}"
_RADIUS = "epsball analyse radius {model} --data {data} --index :20 --method crown,ibp"
_PLANE = "epsball analyse plane {model}"
SECTIONS = (
    Section("inequality", "Verified ≤ true ≤ attacked", "Inequality", "No verification in these runs.", _VERIFY),
    Section("accuracy", "Accuracy by method", "Accuracy", "No accuracy was measured in these runs.", _ATTACK),
    Section("funnel", "The funnel of the ladder", "Funnel", "No verification in these runs.", _VERIFY),
    Section("margins", "Margins", "Margins", "No margins in these runs.", _VERIFY),
    Section("instances", "Every input", "Inputs", "No single inputs in these runs.", _VERIFY),
    Section("gallery", "Adversarial examples", "Gallery", "No adversarial example in these runs.", _ATTACK),
    Section("training", "Training", "Training", "No training in these runs.", _TRAIN),
    Section("planes", "Decision boundaries", "Boundaries", "No plane through inputs in these runs.", _PLANE),
    Section("layers", "Tightness by layer", "Layers", "No bounds of layers in these runs.", _BOUNDS),
    Section("radii", "Certified radii", "Radii", "No certified radii in these runs.", _RADIUS),
    Section("smoothing", "Randomized smoothing", "Smoothing", "No smoothing in these runs.", _CERTIFY),
    Section("noise", "What the noise leaves", "Noise", "No noisy pictures in these runs.", _NOISE),
    Section("reproduce", "Run it again", "Reproduce", "", ""),
)


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write the report of some runs as one self-contained HTML file.

    Args:
        runs: run folders (or record files) of any verbs: the page tells what they hold, and names the command for what they lack.
        out: the file; it is written whole and then renamed over an older one.

    Returns:
        The file's path.

    Raises:
        BadConfig: no run is given, or `out` is a folder.
        BadFile: a record is missing, foreign or malformed, or the page cannot be written.
        DiskFull: the disk is full.
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    if out.is_dir():
        raise BadConfig("the report's place is a folder", where=str(out), fix="give a file: -o report.html")
    page = render(read_runs(runs))
    try:
        write_bytes(out, page.encode("utf-8", "replace"))
    except OSError as error:
        raise BadFile(
            f"the report could not be written: {error.strerror}", where=str(out), fix="name a file in a folder that can be written"
        ) from error
    return out


def render(story: Story) -> str:
    """The page as text.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    environment = _environment()
    script = _asset("script.js")
    template = environment.get_template("report.html.jinja")
    return template.render(
        story=story,
        sections=SECTIONS,
        headlines=tables.headlines(story),
        accuracies=tables.accuracies(story),
        funnels=tables.funnels(story),
        notices=tables.notices(story),
        eps_figure=figures.eps_figure(story),
        margins=[(run, figure) for run in story.judged if (figure := figures.margin_figure(run)) is not None],
        listed=[run for run in story.judged if run.instances],
        instances=_as_json({run.id: _instances(run) for run in story.judged if run.instances}),
        pictures=[(run, _pictures(run)) for run in story.broken],
        results=results(story),
        relu_figure=relu_figure(story),
        training=[(run, [*training_figures(run), *tightness_figures(run)], tables.best_epoch(run)) for run in story.trained],
        planes=[(run, figure) for run in story.runs if (figure := plane_figure(run)) is not None],
        layers=[(run, figures.layer_figures(run), run.of(LayerLine), _layer_sheet(run)) for run in story.layered],
        radii=[(run, panel) for run in story.runs if (panel := radii_panel(run)) is not None],
        smoothing=smoothing_page(story),
        regions=[(run, found) for run in story.runs if (found := region_figures(run))],
        noise=[(run, noise_tables(run)) for run in story.shown],
        reproduce=[
            (run, shlex.join(run.header.command), _hashes(run), _flat(run.header.config))
            for whole in story.runs
            for run in whole.records
        ],
        commands={section.id: _command(section, story) for section in SECTIONS},
        style=_asset("style.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtra("a report needs jinja2", fix="pip install 'epsball[report]'") from error
    environment = Environment(
        loader=PackageLoader("epsball.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent, number=number, whole=whole, duration=duration)
    return environment


def _asset(name: str) -> str:
    return files("epsball.reporting").joinpath("templates", name).read_text("utf-8")


def _as_json(value: object) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _instances(run: Run) -> dict[str, Any]:
    """Single inputs in columns that are short to store: names once, numbers with six digits."""
    lines = run.instances
    steps = list(dict.fromkeys(line.by for line in lines))
    methods = list(dict.fromkeys(name for line in lines for name in line.bounds))
    rows = [
        [
            line.index,
            line.label,
            line.predicted,
            STATUSES.index(line.status),
            steps.index(line.by),
            *(_digits(v) for v in (line.margin, line.attacked_margin, line.seconds, *(line.bounds.get(m) for m in methods))),
        ]
        for line in lines
    ]
    shown = [witness.index for witness in run.of(WitnessLine)[:_MOST_PICTURES]]
    notes = {line.index: line.note for line in lines if line.note}
    return {"statuses": STATUSES, "steps": steps, "methods": methods, "rows": rows, "witnesses": shown, "notes": notes}


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _pictures(run: Run) -> list[Picture]:
    latest = {witness.index: witness for witness in run.of(WitnessLine)}
    return [picture(run, witness) for witness in list(latest.values())[:_MOST_PICTURES]]


def _layer_sheet(run: Run) -> Sheet:
    columns = ("name", "op", "method", "neurons", "width", "active", "inactive", "unstable", "seconds")
    rows: tuple[tuple[Cell, ...], ...] = tuple(tuple(getattr(line, key) for key in columns) for line in run.of(LayerLine))
    return Sheet(f"layers-{run.id}.csv", columns, rows)


def _flat(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A configuration as lines `a.b = value`, ordered as it was resolved."""
    found: list[tuple[str, str]] = []
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", json.dumps(value, ensure_ascii=False)))
    return found


def _hashes(run: Run) -> list[tuple[str, str]]:
    """What the run is of: the hashes of its header, and the code of each that began or resumed it."""
    found = [(name.capitalize(), value) for name, value in run.header.identity.items() if value is not None]
    return found + [("Code", _code(header.code)) for header in run.of(HeaderLine) if header.code]


def _code(code: Mapping[str, str | bool | None]) -> str:
    commit = f" at commit {code.get('commit')}{' with changes' if code.get('changed') else ''}" if code.get("commit") else ""
    return f"{code.get('version')}{commit}, sources {code.get('sources')}"


def _command(section: Section, story: Story) -> str:
    """The command that would fill a section, with what the runs already say about model, data and radius."""
    known = {"model": "MODEL", "data": "mnist", "eps": "0.1"} | _first(story.runs)
    return section.command.format(**known)


def _first(runs: Iterable[Run]) -> dict[str, str]:
    for run in runs:
        if run.summary and run.summary.model and run.summary.eps is not None:
            summary = run.summary
            model = str(run.path.parent) if summary.verb == "train" else summary.model  # a training run names its architecture
            return {"model": shlex.quote(model), "data": shlex.quote(summary.data or "mnist"), "eps": f"{summary.eps:g}"}
    return {}
