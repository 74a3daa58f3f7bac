"""What a record may say: one model a type of line, constructed by whoever writes it and checked for whoever reads it."""

from epsball.record.lines.analyses import BarrierLine, EstimateLine, LayerLine, PictureLine, PlaneLine, RadiusLine
from epsball.record.lines.base import STATUSES, AccuracyPart, DoneLine, Line, Rate, Status
from epsball.record.lines.header import HeaderLine
from epsball.record.lines.smoothing import CertificateLine, RegionsLine, SmoothAttackLine
from epsball.record.lines.summary import StepTally, SummaryLine
from epsball.record.lines.training import EpochLine, LayerSpread, MetricsLine, ReluLine, ReluShares, ResumeLine, TightnessLine
from epsball.record.lines.verdicts import InstanceLine, WitnessLine

KINDS: dict[str, type[Line]] = {
    line.kind: line
    for line in (
        HeaderLine, MetricsLine, EpochLine, ReluLine, TightnessLine, ResumeLine, InstanceLine, WitnessLine, LayerLine, PlaneLine,
        CertificateLine, SmoothAttackLine, RegionsLine, RadiusLine, PictureLine, EstimateLine, BarrierLine, SummaryLine, DoneLine,
    )
}  # fmt: skip

__all__ = [
    "KINDS",
    "STATUSES",
    "AccuracyPart",
    "BarrierLine",
    "CertificateLine",
    "DoneLine",
    "EpochLine",
    "EstimateLine",
    "HeaderLine",
    "InstanceLine",
    "LayerLine",
    "LayerSpread",
    "Line",
    "MetricsLine",
    "PictureLine",
    "PlaneLine",
    "RadiusLine",
    "Rate",
    "RegionsLine",
    "ReluLine",
    "ReluShares",
    "ResumeLine",
    "SmoothAttackLine",
    "Status",
    "StepTally",
    "SummaryLine",
    "TightnessLine",
    "WitnessLine",
]
