"""Trains one row after another in folders of their own, and keeps a small record of each that is finished."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.thesis.published import Schedule
from benchmarks.thesis.rows import Row
from epsball.config import dump, load
from epsball.device import resolve
from epsball.errors import BadConfig, BadFile
from epsball.files import write_bytes
from epsball.record.folder import is_run
from epsball.record.journal import read
from epsball.record.lines import EpochLine, ReluLine, SummaryLine, TightnessLine
from epsball.record.read import typed
from epsball.run.track import screen
from epsball.run.train import start

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RECORDS = Path(__file__).parent / "records"


@dataclass(frozen=True)
class Outcome:
    """What is kept of a finished run; errors in per cent.

    Attributes:
        row: what was trained.
        fingerprint: of its whole configuration.
        clean: standard error on the test set, of the selected epoch.
        verified: verified error on the test set by IBP, of the selected epoch.
        train_verified: on the training examples that were judged.
        selected: that epoch.
        seconds: of the run.
        device: where it ran.
        torch: its version.
        epochs: one entry an epoch: epoch, clean and verified error on what is selected on.
        states: one entry an epoch: epoch, eps, then for each layer the shares (active, inactive, unstable).
        widths: one entry an epoch: epoch, then the mean width of what enters each ReLU, as a multiple of the input's.
    """

    row: Row
    fingerprint: str
    clean: float
    verified: float
    train_verified: float
    selected: float
    seconds: float
    device: str
    torch: str
    epochs: tuple[tuple[float, ...], ...]
    states: tuple[tuple[Any, ...], ...]
    widths: tuple[tuple[Any, ...], ...]

    @property
    def collapsed(self) -> bool:
        """Whether the network says one thing whatever it is shown: more than 80 % errors of ten classes."""
        return self.clean > 80

    def write(self, folder: Path) -> None:
        write_bytes(folder / f"{self.row.name}.json", (json.dumps(asdict(self), separators=(",", ":")) + "\n").encode())


def outcomes(folder: Path) -> Iterator[Outcome]:
    """The records of finished runs.

    Raises:
        BadFile: a record that lacks something, such as its seed.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            told = json.loads(path.read_text("utf-8"))
            row = told.pop("row")
            missing = {"seed", "arm", "network", "scale", "protocol"} - set(row)
            if missing:
                raise BadFile(f"its row has no {' and no '.join(sorted(missing))}", where=str(path), fix="run the row again")
            found = Row(**{**row, "block": Schedule(*row["block"])})
            lists = {key: tuple(tuple(part) for part in told.pop(key)) for key in ("epochs", "states", "widths")}
            yield Outcome(row=found, **lists, **told)
        except (KeyError, TypeError, ValueError) as error:
            raise BadFile(f"no record of a run: {error}", where=str(path), fix="run the row again") from error


def train(rows: Iterable[Row], runs: Path, records: Path, *, device: str = "cpu", quiet: bool = False) -> None:
    """Train what has no record yet, each from its checkpoint if it has one.

    Raises:
        BadConfig: a run folder of another setting, or a device that is not there.
    """
    where = resolve(device)
    for row in rows:
        if (records / f"{row.name}.json").exists():
            continue
        folder, config = runs / row.name, row.config()
        begun = is_run(folder)
        if begun and dump(load(folder / "config.toml")) != dump(config):
            raise BadConfig("this run folder is of another setting", where=str(folder), fix="move it away, or give another --out")
        start(config, folder, screen(quiet=quiet), device=where, resume=begun, anyway=begun)
        records.mkdir(parents=True, exist_ok=True)
        outcome(row, folder).write(records)


def outcome(row: Row, folder: Path) -> Outcome:
    """What a finished run's own record says."""
    path = folder / "record.jsonl"
    raw = read(path)
    lines = typed(raw, path)
    summary = next(line for line in reversed(lines) if isinstance(line, SummaryLine))
    config, selected, parts = row.config(), summary.selected, summary.splits
    if selected is None or "test" not in parts:
        raise BadFile("its summary has no test set", where=str(path), fix="train with a data set that has one")
    device, torch = (str(raw[0].get(key, "")) for key in ("device", "torch"))
    return Outcome(
        row=row,
        fingerprint=config.fingerprint(),
        clean=_error(parts["test"].clean),
        verified=_error(parts["test"].verified),
        train_verified=_error(parts["train"].verified),
        selected=selected.epoch,
        seconds=round(summary.seconds or 0.0, 1),
        device=device,
        torch=torch,
        epochs=tuple(
            (line.epoch, *(round(100 * (1 - (share or 0.0)), 2) for share in (line.clean, line.verified)))
            for line in lines
            if isinstance(line, EpochLine)
        ),
        states=tuple(
            (line.epoch, line.eps, *((round(n.active, 4), round(n.inactive, 4), round(n.unstable, 4)) for n in line.layers))
            for line in lines
            if isinstance(line, ReluLine)
        ),
        widths=tuple(
            (line.epoch, *(float(f"{(n.width or 0.0) / line.input:.4g}") for n in line.layers))
            for line in lines
            if isinstance(line, TightnessLine) and line.input
        ),
    )


def _error(rate: Any) -> float:
    return round(100 * (1 - rate.value), 2)
