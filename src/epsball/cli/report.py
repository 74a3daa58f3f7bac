"""`epsball report`: one offline HTML file from run records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epsball.cli.common import Output


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, with the runs inside them, and logs of smoothing (.tsv).")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("report.html"),
    export: Annotated[
        Path | None,
        typer.Option("--export", help="A new folder for every figure as SVG and PDF and every table as CSV and LaTeX."),
    ] = None,
    output: Output,
) -> None:
    """Write one self-contained HTML report from run folders."""
    from epsball.record.folder import gathered
    from epsball.reporting.html import write_report

    written = write_report(gathered(runs), out, export)
    output.result("report", {"report": str(written), "bytes": written.stat().st_size, "export": str(export) if export else None})
    output.answer(f"{written}  ({written.stat().st_size / 2**20:.1f} MiB)")
    if export:
        output.answer(f"{export}  ({sum(1 for _ in export.iterdir())} files)")
