"""The results table of `epsball train`, for one run and for several seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epsball.cli.common import Output

if TYPE_CHECKING:
    from pathlib import Path

    from epsball.record.lines import AccuracyPart, Rate, SummaryLine

_PROTOCOLS = {
    "validation": "on examples held out of the training set; the test set was not looked at before",
    "literature": "on the test set itself, as published figures are: its row is too high",
}


def show_results(output: Output, path: Path, summary: SummaryLine) -> None:
    """Clean and verified accuracy (or the one under noise) on each part of the data, and how the epoch was selected."""
    runs = len(summary.runs) or 1
    noisy = "noisy" in summary.accuracy
    scale = f"sigma {summary.sigma or 0.0:.6g}" if noisy else f"eps {summary.eps or 0.0:.6g}"
    named = f"{path}: {summary.model} on {summary.data}, {scale}"
    title = named if runs == 1 else f"{named}; mean and standard deviation of {runs} runs"
    judged = "under noise, %" if noisy else f"verified by {', '.join(summary.verified_by)}, %"
    rows = [_row(name, part) for name, part in _parts(summary).items()]
    output.table(title, ("accuracy on", "examples", "clean, %", judged), rows)
    chosen = summary.selected
    epochs = f"epoch {chosen.epoch:g} of {summary.epochs} " if runs == 1 and chosen else ""
    output.text(f"protocol {summary.protocol}: {epochs}selected {_PROTOCOLS[summary.protocol]}")
    output.text(f"{summary.seconds or 0.0:.1f} s of training")
    if runs == 1:
        what = f"{summary.classifier} --denoiser {path}" if summary.classifier else path
        verb = f"certify {what} --data {summary.data}{_noise(summary)}" if noisy else f"verify {what} --data {summary.data}"
        sets = "threat FILE" if summary.norm in ("columns", "radii") else scale
        output.text(f"next:  epsball {verb} --{sets}")


def _noise(summary: SummaryLine) -> str:
    """What certifying takes besides the scale, where the noise is not Gaussian."""
    name = summary.noise or "gaussian"
    hidden = f" --set noise.hidden={summary.hidden:g}" if name.endswith("ablation") else ""
    return "" if name == "gaussian" else f" --noise {name}{hidden}"


def _parts(summary: SummaryLine) -> dict[str, AccuracyPart]:
    """The parts of the data; a record from before they were kept has the one of the selection only."""
    from epsball.record.lines import AccuracyPart

    if summary.splits:
        return summary.splits
    count = summary.count or 0
    return {summary.split: AccuracyPart.model_validate({**summary.accuracy, "count": count, "of": count})}


def _row(name: str, part: AccuracyPart) -> tuple[str, str, str, str]:
    count = f"{part.count:,}" if part.count == part.of else f"{part.count:,} of {part.of:,}"
    return name, count, _cell(part.clean), _cell(part.verified if part.noisy is None else part.noisy)


def _cell(rate: Rate | None) -> str:
    if rate is None:
        return "-"
    value, after = f"{100 * rate.value:.2f}", f" [{100 * rate.low:.2f}, {100 * rate.high:.2f}]"
    return value + after if rate.std is None else f"{value} +- {100 * rate.std:.2f}"
