"""Randomized smoothing of a trained network over a data set, one recorded certificate an image as soon as it is decided."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from epsball.errors import BadConfig
from epsball.run.cluster import Cluster
from epsball.run.folder import RunFolder
from epsball.run.judge import Case
from epsball.run.record import Line, Record, digest, read
from epsball.run.track import unheard
from epsball.smoothing import log
from epsball.smoothing.core import Smoothed
from epsball.smoothing.resume import check_same, description

if TYPE_CHECKING:
    from pathlib import Path

    from epsball.smoothing.procedures import Procedure
    from epsball.smoothing.results import Certificate
    from epsball.types import Tensor


@dataclass(frozen=True, eq=False)
class _Sampling:
    """Everything that a certificate depends on but the image: what a machine of a cluster is sent."""

    smoothed: Smoothed
    procedure: Procedure
    alpha: float
    selection: int
    radius: float | None

    def stream(self, x: Tensor, images: list[int]) -> Iterator[Certificate]:
        """Certificates of the inputs with these numbers, as they are decided."""
        smoothed = self.smoothed
        if self.radius is None:
            goal = smoothed.largest(x, self.alpha, self.procedure)
        else:
            goal = smoothed.at(x, self.radius, self.alpha, self.procedure)
        return smoothed.stream(x, goal, selection=self.selection, images=images)


def _certified(sampling: _Sampling, item: tuple[int, Tensor]) -> Line:
    """One image on a machine of a cluster."""
    index, x = item
    return next(_timed(sampling.stream(x, [index])))


def _timed(certificates: Iterator[Certificate]) -> Iterator[Line]:
    """Each as plain values, with the seconds since the one before."""
    last = time.perf_counter()
    for certificate in certificates:
        now = time.perf_counter()
        yield {**certificate.line(), "seconds": now - last}
        last = now


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
        cluster: where images are certified; None: here. Certificates do not depend on it.
        progress: called with the number of images done so far and in all.
        denoiser: the checkpoint or run folder of the denoiser in `smoothed`, for the record; None: there is none.
    """

    case: Case
    smoothed: Smoothed
    procedure: Procedure
    alpha: float = 0.001
    selection: int = 100
    radius: float | None = None
    cluster: Cluster | None = None
    progress: Callable[[int, int], None] = unheard
    denoiser: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be certified before a folder is made; nothing is sampled yet."""
        x = self._inputs(self.case.index[:1].tolist())
        self._sampling.stream(x, [0])
        if self.cluster is not None:
            self.cluster.connect()

    @property
    def _sampling(self) -> _Sampling:
        return _Sampling(self.smoothed, self.procedure, self.alpha, self.selection, self.radius)

    def _inputs(self, index: list[int]) -> Tensor:
        import torch

        return self.case.data.test.inputs(torch.tensor(index)).to(self.case.device)

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
        """One line an image, as it is decided, here or on a cluster."""
        if not todo:
            return
        if self.cluster is None:
            found = _timed(self._sampling.stream(self._inputs(todo), todo))
        else:
            items = [(i, self._inputs([i])) for i in todo]
            found = (result for _, result in self.cluster.scatter(_certified, self._sampling, items))
        for line in found:
            index = line["image"]
            label = int(self.case.data.test.y[index])
            yield {**line, "type": "certificate", "index": index, "label": label, "predicted": line["label"]}

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
