"""The section of training: what the selected models came to, and curves over the epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.record.lines import EpochLine, MetricsLine, ReluLine, TightnessLine
from epsball.reporting.section import Content, Section, given, sections
from epsball.reporting.sections.accuracies import results
from epsball.reporting.sections.layers_over_time import relu_figure, tightness_figures
from epsball.reporting.sections.training_curves import training_figures

if TYPE_CHECKING:
    from epsball.reporting.runs import Run, Story


@sections.register("training")
@dataclass(frozen=True)
class TrainingSection(Section):
    """Accuracies of the selected models, then the curves of each run."""

    title: str = "Training"
    short: str = "Training"
    place: int = 700
    missing: str = "No training in these runs."
    command: str = "epsball train fast-ibp --data {data}"

    def content(self, story: Story) -> Content:
        trained = story.having(MetricsLine, EpochLine, ReluLine, TightnessLine)
        each = [(run, [*training_figures(run), *tightness_figures(run)], best_epoch(run)) for run in trained]
        return given(
            results=results(story),
            relu_figure=relu_figure(story),
            training=[(run, figures, best) for run, figures, best in each if figures or best],
        )


def best_epoch(run: Run) -> EpochLine | None:
    """The epoch that the run selected, or the one of highest accuracy where it selected none."""
    chosen = [line for line in run.of(EpochLine) if line.best]
    return (
        chosen[-1]
        if chosen
        else max(run.of(EpochLine), key=lambda line: (line.verified or line.noisy or 0.0, line.clean or 0.0), default=None)
    )
