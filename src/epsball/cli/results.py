"""The results table of `epsball train`, for one run and for several seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epsball.cli.common import Output

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PROTOCOLS = {
    "validation": "on examples held out of the training set; the test set was not looked at before",
    "literature": "on the test set itself, as published figures are: its row is too high",
}


def show_results(output: Output, path: Path, summary: Mapping[str, Any]) -> None:
    """Clean and verified accuracy (or the one under noise) on each part of the data, and how the epoch was selected."""
    runs = len(summary.get("runs", ())) or 1
    noisy = "noisy" in summary["accuracy"]
    scale = f"sigma {summary['sigma']:.6g}" if noisy else f"eps {summary['eps']:.6g}"
    named = f"{path}: {summary['model']} on {summary['data']}, {scale}"
    title = named if runs == 1 else f"{named}; mean and standard deviation of {runs} runs"
    judged = "under noise, %" if noisy else f"verified by {', '.join(summary['verified_by'])}, %"
    rows = [_row(name, part) for name, part in _parts(summary).items()]
    output.table(title, ("accuracy on", "examples", "clean, %", judged), rows)
    epochs = "" if runs > 1 else f"epoch {summary['selected']['epoch']} of {summary['epochs']} "
    output.text(f"protocol {summary['protocol']}: {epochs}selected {_PROTOCOLS[summary['protocol']]}")
    output.text(f"{summary['seconds']:.1f} s of training")
    if runs == 1:
        what = f"{summary['classifier']} --denoiser {path}" if "classifier" in summary else path
        verb = f"certify {what} --data {summary['data']}{_noise(summary)}" if noisy else f"verify {what} --data {summary['data']}"
        output.text(f"next:  epsball {verb} --{scale}")


def _noise(summary: Mapping[str, Any]) -> str:
    """What certifying takes besides the scale, where the noise is not Gaussian."""
    name = summary.get("noise") or "gaussian"
    hidden = f" --set noise.hidden={summary['hidden']:g}" if name.endswith("ablation") else ""
    return "" if name == "gaussian" else f" --noise {name}{hidden}"


def _parts(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parts of the data; a record from before they were kept has the one of the selection only."""
    alone = {summary["split"]: {**summary["accuracy"], "count": summary["count"], "of": summary["count"]}}
    return summary.get("splits") or alone


def _row(name: str, part: Mapping[str, Any]) -> tuple[str, str, str, str]:
    count = f"{part['count']:,}" if part["count"] == part["of"] else f"{part['count']:,} of {part['of']:,}"
    return name, count, _cell(part["clean"]), _cell(part["noisy"] if "noisy" in part else part["verified"])


def _cell(rate: Mapping[str, float]) -> str:
    value, after = f"{100 * rate['value']:.2f}", f" [{100 * rate['low']:.2f}, {100 * rate['high']:.2f}]"
    return f"{value} +- {100 * rate['std']:.2f}" if "std" in rate else value + after
