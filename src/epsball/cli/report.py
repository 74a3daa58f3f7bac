"""`epsball report`: one offline HTML file from run records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epsball.cli.common import Json, Output, Quiet


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders: what they trained, attacked, verified and bounded.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("report.html"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one self-contained HTML report from run folders."""
    from epsball.reporting.html import write_report

    output = Output(as_json=json, quiet=quiet)
    written = write_report(runs, out)
    output.result("report", {"report": str(written), "bytes": written.stat().st_size})
    output.text(f"{written}  ({written.stat().st_size / 2**20:.1f} MiB)")
