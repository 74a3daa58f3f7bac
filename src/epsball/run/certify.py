"""Randomized smoothing of a trained network over a data set, one recorded certificate an image as soon as it is decided."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from epsball.errors import BadShape
from epsball.record.continued import continued
from epsball.record.lines import CertificateLine, SummaryLine
from epsball.record.lines.summary import CurvePoint
from epsball.run.case import Case
from epsball.run.cluster import Cluster
from epsball.run.track import unheard
from epsball.smoothing import log

if TYPE_CHECKING:
    from pathlib import Path

    from epsball.run.certifiers import Certifier
    from epsball.types import Tensor

Values = dict[str, Any]
_WHOLE = ("l0", "patch")  # norms whose radii are counts


def _certified(certifier: Certifier, item: tuple[int, Tensor]) -> Values:
    """One image on a machine of a cluster."""
    index, x = item
    return next(_timed(certifier.stream(x, [index])))


def _timed(certificates: Iterator[Values]) -> Iterator[Values]:
    """Each with the seconds since the one before."""
    last = time.perf_counter()
    for certificate in certificates:
        now = time.perf_counter()
        yield {**certificate, "seconds": now - last}
        last = now


@dataclass(frozen=True, eq=False)
class Certification:
    """What is certified, and how.

    Attributes:
        case: the network and the images; its eps is not used.
        certifier: the network under its noise, and how its certificates are found.
        cluster: where images are certified; None: here. Certificates do not depend on it.
        progress: called with the number of images done so far and in all.
        denoiser: the checkpoint or run folder of the denoiser in front of the network, for the record; None: there is none.
    """

    case: Case
    certifier: Certifier
    cluster: Cluster | None = None
    progress: Callable[[int, int], None] = unheard
    denoiser: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be certified before a folder is made; nothing is sampled yet."""
        x, network = self._inputs(self.case.index[:1].tolist()), self.case.network
        given = self.certifier.takes(tuple(x.shape[1:]))
        if given != network.input_shape:
            raise BadShape(
                f"{self.certifier.headline()['noise']} gives the network inputs {given}, and it takes {network.input_shape}",
                fix="set noise.hidden to what hidden pixels were in training, or train a network for these channels",
            )
        self.certifier.stream(x, [0])
        if self.cluster is not None:
            self.cluster.connect()

    def _inputs(self, index: list[int]) -> Tensor:
        import torch

        return self.case.data.test.inputs(torch.tensor(index)).to(self.case.device)

    def run(self, path: Path, *, resume: bool = False, anyway: bool = False) -> SummaryLine:
        """Certify every image that the folder's record does not hold yet; write the field's TSV log beside it.

        Args:
            path: the run folder.
            resume: go on with the run that it holds.
            anyway: though another version of the code began it.

        Raises:
            BadConfig: the folder holds certificates of another network, noise or procedure.
            RunInUse, DiskFull: what was recorded before is whole.
        """
        case = self.case
        config = {**case.described(**self._front()), "smoothing": self.certifier.described()}
        heading = case.heading("certify", config, self.certifier.arithmetic)
        with continued(path, heading, resume=resume, anyway=anyway) as record:
            done = {line.index for line in record.of(CertificateLine)}
            todo = [i for i in case.index.tolist() if i not in done]
            for count, line in enumerate(self._certificates(todo), len(done) + 1):
                record.append(line)
                self.progress(count, len(case.index))
            lines = record.of(CertificateLine)
            rows = [_row(line) for line in sorted(lines, key=lambda line: line.index)]
            log.write(path / "certificates.tsv", rows)
            step = 1.0 if lines and lines[0].norm in _WHOLE else 0.25
            summary = SummaryLine(verb="certify", **_summary(rows, step), **self._headline(lines))
            record.append(summary)
        return summary

    def _certificates(self, todo: list[int]) -> Iterator[CertificateLine]:
        """One line an image, as it is decided, here or on a cluster."""
        if not todo:
            return
        if self.cluster is None:
            found = _timed(self.certifier.stream(self._inputs(todo), todo))
        else:
            items = [(i, self._inputs([i])) for i in todo]
            found = (result for _, result in self.cluster.scatter(_certified, self.certifier, items))
        for line in found:
            index = line["image"]
            label = int(self.case.data.test.y[index])
            yield CertificateLine(**{**line, "index": index, "label": label, "predicted": line["label"]})

    def _front(self) -> Values:
        return {} if self.denoiser is None else {"denoiser": str(self.denoiser)}

    def _headline(self, lines: list[CertificateLine]) -> Values:
        return {
            **self._front(),
            "model": str(self.case.model),
            "data": self.case.data.name,
            **self.certifier.headline(),
            "samples": sum(line.samples for line in lines),
        }


def _row(line: CertificateLine) -> log.Row:
    return log.Row.of(line.index, line.label, line.predicted, line.radius, line.seconds or 0.0)


def _summary(rows: list[log.Row], step: float) -> Values:
    """Certified accuracy at the quarter radii that the field reports, as far as any image reaches; the average radius last."""
    reach = max((row.radius for row in rows), default=0.0)
    radii = [step * k for k in range(int(reach / step) + 2)]
    return {
        "count": len(rows),
        "curve": [CurvePoint(**point._asdict()) for point in log.curve(rows, radii)],
        "abstained": log.abstentions(rows),
        "average_radius": dict(zip(("value", "error"), log.average_radius(rows), strict=True)),
        "seconds": sum(row.seconds for row in rows),
    }
