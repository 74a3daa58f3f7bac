"""Every figure of a page as SVG and PDF and every table as CSV and LaTeX, as files."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from epsball.errors import BadConfig, BadFile
from epsball.files import write_bytes
from epsball.reporting.drawing import pdf_file, svg_file
from epsball.reporting.latex import tabular

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from epsball.reporting.numbers import Exhibit

_LONGEST = 60


def check_folder(folder: Path) -> None:
    """Refuse a place where an export would mix with other files.

    Raises:
        BadConfig: a file, or a folder that holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadConfig("an export needs a new or empty folder", where=str(folder), fix="name another one: --export FOLDER")


def write_exhibits(exhibits: Sequence[Exhibit], folder: Path) -> list[Path]:
    """Write them under their numbers and titles: a figure as SVG, PDF and the CSV of its data, a table as CSV and LaTeX.

    Raises:
        BadFile: the folder cannot be written.
        DiskFull: the disk is full.
        MissingExtra: matplotlib is not installed.
    """
    written = []
    for exhibit in exhibits:
        for ending, data in _files(exhibit).items():
            written.append(folder / f"{_name(exhibit)}.{ending}")
            try:
                write_bytes(written[-1], data)
            except OSError as error:
                fix = "name a folder in a place that can be written"
                raise BadFile(
                    f"a figure or table could not be written: {error.strerror}", where=str(written[-1]), fix=fix
                ) from error
    return written


def _files(exhibit: Exhibit) -> dict[str, bytes]:
    sheet, figure = exhibit.sheet.text.encode(), exhibit.figure
    if figure is None:
        return {"csv": sheet, "tex": tabular(exhibit.sheet).encode()}
    how = (figure.drawings, figure.across, figure.legend)
    return {"svg": svg_file(*how), "pdf": pdf_file(*how), "csv": sheet}


def _name(exhibit: Exhibit) -> str:
    """Such as figure-03-margins: letters, digits and hyphens, whatever the title holds."""
    plain = unicodedata.normalize("NFKD", re.split("[:;]", exhibit.title)[0]).encode("ascii", "ignore").decode().lower()
    slug = re.sub("[^a-z0-9]+", "-", plain)[:_LONGEST].strip("-")
    return "-".join(part for part in (exhibit.kind, re.sub("^(?=[0-9](?![0-9]))", "0", exhibit.number), slug) if part)
