"""An SVG file of one's own from a figure of the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epsball.reporting.drawing import Drawing


def check_place(out: Path) -> None:
    """Raise before any work is done where a file could not be written.

    Raises:
        BadConfig: no such folder.
    """
    from epsball.errors import BadConfig

    if not out.parent.is_dir():
        raise BadConfig("no such folder", where=str(out.parent), fix="make it first, or name a file in another one")


def save(out: Path, drawing: Drawing) -> None:
    """Write a drawing as a file that stands alone."""
    from epsball.files import write_bytes
    from epsball.reporting.drawing import svg_file

    write_bytes(out, svg_file((drawing,)))
