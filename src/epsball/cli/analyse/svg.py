"""An SVG file of one's own from a figure of the report."""

from __future__ import annotations

from pathlib import Path


def check_place(out: Path) -> None:
    """Raise before any work is done where a file could not be written.

    Raises:
        BadConfig: no such folder.
    """
    from epsball.errors import BadConfig

    if not out.parent.is_dir():
        raise BadConfig("no such folder", where=str(out.parent), fix="make it first, or name a file in another one")


def save(out: Path, svg: str) -> None:
    """Write an SVG element as a file that stands alone."""
    from epsball.files import write_bytes

    if "xmlns=" not in svg.split(">", 1)[0]:
        svg = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    write_bytes(out, svg.encode())
