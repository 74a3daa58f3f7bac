"""The numbers of a whole run."""

from __future__ import annotations

from typing import Any, ClassVar

from epsball.record.lines.base import AccuracyPart, Count, Line, Radius, Rate, Share, Status, Values


class StepTally(Values):
    """How many inputs one step of a ladder settled, and what all its trials took.

    Attributes:
        name: of the step.
        settled: all of the next three.
        verified: inputs proven.
        misclassified: without any perturbation.
        falsified: by one.
        seconds: of all its trials.
    """

    name: str
    settled: Count
    verified: Count = 0
    misclassified: Count = 0
    falsified: Count = 0
    seconds: float | None = None


class CurvePoint(Values):
    """Certified accuracy at one radius.

    Attributes:
        radius: the radius.
        accuracy: share of inputs that are right and certified that far.
        low: its lower 95 % limit.
        high: its upper one.
    """

    radius: Radius
    accuracy: Share
    low: Share
    high: Share


class Selection(Values):
    """The epoch whose model was kept.

    Attributes:
        epoch: which one.
        step: its last one.
    """

    epoch: float
    step: Count


class MethodRadii(Values):
    """Radii by one method: `proven` are above 0, `reach` were cut short by the largest one that was tried.

    Attributes:
        mean: over all inputs; those that are misclassified count 0.
        median: likewise.
        proven: how many are above 0.
        reach: how many reach the largest one that was tried.
        seconds: of all inputs.
    """

    mean: Radius
    median: Radius
    proven: Count
    reach: Count
    seconds: float | None = None


class BoxGain(Values):
    """Certified boxes, and how much wider they are than balls in the mean.

    Attributes:
        count: boxes with a gain.
        gain: mean of their gains; null without any.
    """

    count: Count
    gain: float | None = None


class SummaryLine(Line):
    """What a run came to. Which fields there are depends on the verb.

    Attributes:
        verb: what was done.
        model: the run folder or checkpoint it was done with; of a training run the architecture.
        data: the data set.
        count: inputs; of a training run those of the part that the epoch was selected on.
        eps: size of the sets.
        norm: their kind.
        seconds: in all.
        accuracy: `clean`, `attacked` and `verified`, or `noisy`.
        verified_by: verify, train: accuracy that each method proves by itself.
        steps: verify: the steps of the ladder, in their order.
        status: verify: how many of each.
        data_digest: train: hash of the data set.
        epochs: train: how many.
        examples: train: trained on.
        protocol: train: `validation` or `literature`: on what the epoch was selected.
        selected: train: the epoch whose model was kept.
        split: train: the part of the data that `accuracy` and `count` are of: the one that was selected on.
        splits: train: the selected model on `train`, `validation` and `test`; the first is the certified training accuracy.
        hidden: train: what hidden pixels were, under ablation.
        classifier: train: the classifier behind a denoiser.
        runs: seeds: one entry a seed, with its accuracies, selected epoch and seconds.
        noise: smoothing: its law.
        sigma: smoothing: the noise's scale.
        alpha: smoothing: probability of error, for each input.
        radius: certify: the one that was asked for; null: the largest.
        samples: certify: noisy copies in all.
        denoiser: certify: what stands in front of the network.
        curve: certify: certified accuracy by radius.
        abstained: smoothing: share without an answer, without any perturbation.
        average_radius: certify: `value`, wrong inputs counting 0, and its standard `error`.
        votes: attack: noisy copies behind an answer of the smoothed classifier.
        success: attack: share of those that were attacked whose smoothed class was changed to another.
        abstained_under_attack: attack: how many abstain at the perturbed input.
        misclassified: radius, barrier: without any perturbation.
        methods: radius: by name.
        box: radius: with `--box`.
        high: radius: the largest one tried.
        whole: barrier: chains that are whole; means are over these.
        timeout: barrier: chains that were cut off.
        exact: barrier: chains whose LP-tight bound is attained.
        positive: barrier: margins above 0, by method.
        margins: barrier: mean margins, by method.
        gap: barrier: mean distance of CROWN from the attack.
        barrier: barrier: mean part of it that no relaxation of single neurons closes.
        share: barrier: the one over the other.
    """

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
