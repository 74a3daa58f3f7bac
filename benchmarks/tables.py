"""Small records as CSV, and the Markdown table that a page shows of one.

    python -m benchmarks.tables benchmarks/records/sets.csv ...

A record starts with lines `# key: value`: the section of the page, the command that made it, the commit of the code, the date, and
whether it was measured into this file or transcribed from the page, where the run's own output was not kept. Its rows are the
table's, cell by cell. Two rows of one arm of several seeds can be summed up: `spread`.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import ended
from epsball.errors import BadFile

KEYS = ("section", "command", "code", "date", "origin")
ORIGINS = ("measured", "transcribed")


@dataclass(frozen=True)
class Table:
    """One record.

    Attributes:
        header: what KEYS name.
        columns: names of the columns.
        rows: cells as they are shown.
    """

    header: dict[str, str]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def transcribed(self) -> bool:
        """Whether the figures stood in the page alone."""
        return self.header["origin"].startswith("transcribed")

    def column(self, name: str) -> list[str]:
        """The cells of one column."""
        return [row[self.columns.index(name)] for row in self.rows]


def load(path: Path) -> Table:
    """A record.

    Raises:
        BadFile: a key is missing, unknown or given twice, or a row has another number of cells than the first.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    told = [line.removeprefix("# ").partition(": ") for line in lines if line.startswith("# ")]
    header = {key: value for key, _, value in told}
    if tuple(key for key, _, _ in told) != KEYS or not header["origin"].startswith(ORIGINS):
        raise BadFile(
            f"this record does not start with lines for {', '.join(KEYS)}, the origin being {' or '.join(ORIGINS)}",
            where=str(path),
            fix="write it by benchmarks.tables.save",
        )
    columns, *rows = csv.reader(line for line in lines if not line.startswith("# "))
    if any(len(row) != len(columns) for row in rows):
        raise BadFile(f"a row has not the {len(columns)} cells of the first", where=str(path))
    return Table(header, tuple(columns), tuple(map(tuple, rows)))


def save(table: Table, path: Path) -> None:
    """Write a record."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {key}: {table.header[key]}\n" for key in KEYS)
        csv.writer(file, lineterminator="\n").writerows([table.columns, *table.rows])


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The table as a page shows it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean, standard deviation and number of seeds."""
    return f"{statistics.fmean(values):.{digits}f} +- {statistics.stdev(values):.{digits}f}, {len(values)} seeds"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    for path in parser.parse_args().files:
        table = load(path)
        print(f"{table.header['section']}, {table.header['origin']}, {table.header['date']}, code {table.header['code']}")
        print(f"$ {table.header['command']}\n\n{markdown(table.columns, table.rows)}\n")


if __name__ == "__main__":
    raise SystemExit(ended(main))
