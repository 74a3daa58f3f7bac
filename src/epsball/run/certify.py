"""Randomized smoothing of a trained network over a data set, one recorded certificate an image as soon as it is decided."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from epsball.errors import BadConfig
from epsball.run.folder import RunFolder
from epsball.run.judge import Case
from epsball.run.record import Line, Record, digest, read
from epsball.run.track import unheard
from epsball.smoothing import log
from epsball.smoothing.core import Smoothed
from epsball.smoothing.resume import check_same, description

if TYPE_CHECKING:
    from pathlib import Path

    from epsball.smoothing.goals import Goal
    from epsball.smoothing.procedures import Procedure
    from epsball.types import Tensor


@dataclass(frozen=True, eq=False)
class Certification:
    """What is certified, and how.

    Attributes:
        case: the network and the images; its eps is not used.
        smoothed: the network under its noise.
        procedure: how to sample.
        alpha: probability of a wrong certificate, for each image.
        selection: samples that choose the class.
        radius: certify at this radius; None: the largest one.
        denoiser: the checkpoint or run folder of the denoiser in `smoothed`, for the record; None: there is none.
        progress: called with the number of images done so far and in all.
    """

    case: Case
    smoothed: Smoothed
    procedure: Procedure
    alpha: float = 0.001
    selection: int = 100
    radius: float | None = None
    denoiser: Path | None = None
    progress: Callable[[int, int], None] = unheard

    def __post_init__(self) -> None:
        """Refuse what cannot be certified before a folder is made; nothing is sampled yet."""
        x = self._inputs(self.case.index[:1].tolist())
        self.smoothed.stream(x, self._goal(x), selection=self.selection)

    def _inputs(self, index: list[int]) -> Tensor:
        import torch

        return self.case.data.test.inputs(torch.tensor(index)).to(self.case.device)

    def _goal(self, x: Tensor) -> Goal:
        if self.radius is None:
            return self.smoothed.largest(x, self.alpha, self.procedure)
        return self.smoothed.at(x, self.radius, self.alpha, self.procedure)

    def run(self, path: Path, *, resume: bool = False) -> Line:
        """Certify every image that the folder's record does not hold yet; write the field's TSV log beside it.

        Raises:
            BadConfig: the folder holds certificates of another network, noise or procedure.
            RunInUse, DiskFull: what was recorded before is whole.
        """
        case = self.case
        described = description(self.smoothed, self.procedure, self.alpha, self.selection, self.radius)
        config = {**case.described(**self._front()), "smoothing": described}
        with RunFolder(path, resume=resume) as folder, Record(folder.record) as record:
            lines = self._known(folder.record, record, config)
            done = {line["index"] for line in lines}
            todo = [i for i in case.index.tolist() if i not in done]
            for line in self._certificates(todo):
                record.append(line)
                lines.append(line)
                self.progress(len(lines), len(case.index))
            rows = [_row(line) for line in sorted(lines, key=lambda line: line["index"])]
            log.write(path / "certificates.tsv", rows)
            summary = {"type": "summary", "verb": "certify", **_summary(rows), **self._headline(lines)}
            record.append(summary)
            record.append({"type": "done"})
        return summary

    def _known(self, path: Path, record: Record, config: dict[str, Any]) -> list[Line]:
        if not path.stat().st_size:
            arithmetic = f"probability of error at most {self.alpha:g} an image"
            record.header("certify", config, seed=self.case.seed, device=str(self.case.device), arithmetic=arithmetic)
            return []
        header, *rest = read(path)
        check_same(header["config"].get("smoothing", {}), config["smoothing"], str(path))
        if header["config_hash"] != digest(config):
            raise BadConfig("this folder certifies other images", where=str(path), fix="name another folder with --out")
        return [line for line in rest if line["type"] == "certificate"]

    def _certificates(self, todo: list[int]) -> Iterator[Line]:
        if not todo:
            return
        x, last = self._inputs(todo), time.perf_counter()
        for certificate in self.smoothed.stream(x, self._goal(x), selection=self.selection, images=todo):
            now = time.perf_counter()
            label = int(self.case.data.test.y[certificate.image])
            yield {
                **certificate.line(),
                "type": "certificate",
                "index": certificate.image,
                "label": label,
                "predicted": certificate.label,
                "seconds": now - last,
            }
            last = now

    def _front(self) -> Line:
        return {} if self.denoiser is None else {"denoiser": str(self.denoiser)}

    def _headline(self, lines: list[Line]) -> Line:
        return {
            **self._front(),
            "model": str(self.case.model),
            "data": self.case.data.name,
            "noise": repr(self.smoothed.law),
            "radius": self.radius,
            "alpha": self.alpha,
            "samples": sum(line["samples"] for line in lines),
        }


def _row(line: Line) -> log.Row:
    return log.Row.of(line["index"], line["label"], line["predicted"], line["radius"], line["seconds"])


def _summary(rows: list[log.Row]) -> Line:
    """Certified accuracy at the quarter radii that the field reports, as far as any image reaches; the average radius last."""
    reach = max((row.radius for row in rows), default=0.0)
    radii = [0.25 * k for k in range(int(reach / 0.25) + 2)]
    return {
        "count": len(rows),
        "curve": [point._asdict() for point in log.curve(rows, radii)],
        "abstained": log.abstentions(rows),
        "average_radius": dict(zip(("value", "error"), log.average_radius(rows), strict=True)),
        "seconds": sum(row.seconds for row in rows),
    }
