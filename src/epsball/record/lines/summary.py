"""The numbers of a whole run."""

from __future__ import annotations

from typing import Any, ClassVar

from epsball.record.lines.base import AccuracyPart, Count, Line, Radius, Rate, Share, Status, Values


class StepTally(Values):
    """How many inputs one step of a ladder settled, and what all its trials took."""

    name: str
    settled: Count
    verified: Count = 0
    misclassified: Count = 0
    falsified: Count = 0
    seconds: float | None = None


class CurvePoint(Values):
    """Certified accuracy at one radius."""

    radius: Radius
    accuracy: Share
    low: Share
    high: Share


class Selection(Values):
    """The epoch whose model was kept."""

    epoch: float
    step: Count


class MethodRadii(Values):
    """Radii by one method: `proven` are above 0, `reach` were cut short by the largest one that was tried."""

    mean: Radius
    median: Radius
    proven: Count
    reach: Count
    seconds: float | None = None


class BoxGain(Values):
    """Certified boxes, and how much wider they are than balls in the mean."""

    count: Count
    gain: float | None = None


class SummaryLine(Line):
    """What a run came to. Which fields there are depends on the verb."""

    kind: ClassVar[str] = "summary"

    verb: str
    model: str = ""
    data: str = ""
    count: Count | None = None
    eps: float | None = None
    norm: str = ""
    seconds: float | None = None
    accuracy: dict[str, Rate] = {}
    # verify
    verified_by: dict[str, Rate] = {}
    steps: list[StepTally] = []
    status: dict[Status, Count] = {}
    # train, and the mean over seeds
    data_digest: str = ""
    epochs: Count | None = None
    examples: Count | None = None
    protocol: str = ""
    selected: Selection | None = None
    split: str = ""
    splits: dict[str, AccuracyPart] = {}
    hidden: float | None = None
    classifier: str = ""
    runs: list[dict[str, Any]] = []
    # smoothing: certificates, and attacks on them
    noise: str | None = None
    sigma: float | None = None
    alpha: Share | None = None
    radius: Radius | None = None
    samples: Count | None = None
    denoiser: str = ""
    curve: list[CurvePoint] = []
    abstained: Share | None = None
    average_radius: dict[str, float | None] = {}
    votes: Count | None = None
    success: Rate | None = None
    abstained_under_attack: Count | None = None
    # radius
    misclassified: Count | None = None
    methods: dict[str, MethodRadii] = {}
    box: BoxGain | None = None
    high: Radius | None = None
    # barrier
    whole: Count | None = None
    timeout: Count | None = None
    exact: Count | None = None
    positive: dict[str, Count] = {}
    margins: dict[str, float | None] = {}
    gap: float | None = None
    barrier: float | None = None
    share: float | None = None
