"""A training run in its folder: consumes the loop's events, and writes the record, the checkpoints and the model."""

from __future__ import annotations

import contextlib
import signal
import threading
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from epsball.device import reuse_memory
from epsball.record.continued import going_on
from epsball.record.hashes import hashed
from epsball.record.heading import Heading, Identity, precision
from epsball.record.lines import DoneLine, EpochLine, Line, MetricsLine, ReluLine, ResumeLine, SummaryLine, TightnessLine
from epsball.record.read import typed
from epsball.rounding import Rounding
from epsball.run.accuracies import splits
from epsball.run.track import RecordTracker, Tracker, Trackers
from epsball.storage import read_tensors, write_tensors
from epsball.training.events import Epoch, Event, Finished, Metrics, Stepped
from epsball.training.layers import Census, Tightness
from epsball.training.loop import fit
from epsball.training.parallel import await_leader, leading, team
from epsball.training.state import TrainState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import FrameType

    from torch import nn

    from epsball.examples import Examples
    from epsball.ops.network import Network
    from epsball.record.folder import RunFolder
    from epsball.training.base import Recipe
    from epsball.training.config import TrainConfig
    from epsball.training.evaluate import Evaluation

    Save = Callable[[Path, nn.Module, dict[str, Any]], None]


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained.

    Attributes:
        net: the network, on its device.
        recipe: how.
        data: training examples.
        config: how long and on what.
        evaluate: judges each epoch.
        test: for the protocol of the literature.
        described: the whole configuration, for the record: a resumed run must have the same.
        notes: more for the summary and the model file: names of the model and the data set, the data's hash.
        loaded: hash of the weights that are not drawn but come from a file, such as a denoiser's classifier.
        longer: whether the run that is gone on with may have been begun with fewer epochs.
    """

    net: Network
    recipe: Recipe
    data: Examples
    config: TrainConfig
    evaluate: Evaluation
    described: Mapping[str, Any]
    test: Examples | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    loaded: str | None = None
    longer: bool = False

    @property
    def heading(self) -> Heading:
        """The header of the run's record. The examples are hashed as they are in memory: a name may stand for others by now."""
        parameter, test = next(iter(self.net.params().values())), self.test
        data = hashed(self.data.x, self.data.y, None if test is None else (test.x, test.y))
        identity = Identity(self.loaded, None, data, precision(parameter.dtype))
        claim = Rounding(parameter.dtype, parameter.dtype).describe()
        grown = ("train.epochs",) if self.longer else ()
        return Heading("train", self.described, identity, self.config.seed, str(parameter.device), claim, grown=grown)


def train(job: Job, folder: RunFolder, save: Save, tracker: Tracker) -> SummaryLine:
    """Run a job in a folder, from the start or from the folder's checkpoint.

    Args:
        job: what to train.
        folder: open, and thus locked.
        save: writes the selected model: (path, module, description).
        tracker: for a person; the record is written besides.

    Returns:
        The summary, as in the record.

    Raises:
        BadConfig: the folder's run has another configuration.
        BadFile: its checkpoint is truncated, foreign, or of another architecture.
        DiskFull: what was written before is whole.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint was written.
    """
    reuse_memory()
    with leading():
        heading = job.heading
        known = heading.known(folder.record, anyway=folder.anyway)
        done = _finished(folder, typed(known, folder.record), job.config.epochs)
        state = load_state(folder.checkpoint) if folder.checkpoint.exists() else None
    if team().some(done is not None) and done is not None:
        return done
    events = fit(job.net, job.recipe, job.data, job.config, job.evaluate, test=job.test, state=state)
    with going_on(folder, heading) as record:
        follow = Trackers((RecordTracker(record), tracker))
        if known:
            record.append(ResumeLine(step=0 if state is None else state.step))
        follow.start("training", job.config.run(_examples(job)).steps, 0 if state is None else state.step)
        try:
            with _interruptible() as interrupted:
                last = _consume(events, follow, folder, interrupted)
        finally:
            follow.finish()
        # once before the test set is touched: whatever happens there, a finished run has its model
        save(folder.model, job.net.module, {"training": _selection(last, job), "config": dict(job.described)})
        summary = _summary(last, job)
        save(folder.model, job.net.module, {"training": summary.written(), "config": dict(job.described)})
        follow.log(summary)
        follow.log(DoneLine())
    return summary


def _consume(events: Iterator[Event], follow: Tracker, folder: RunFolder, interrupted: Callable[[], bool]) -> Finished:
    for event in events:
        if isinstance(event, Stepped):
            stop = team().some(interrupted())
            if event.due or stop:
                save_state(folder.checkpoint, event.snapshot())
            if stop:
                raise KeyboardInterrupt
        elif isinstance(event, Finished):
            return event
        else:
            follow.log(line(event))
    raise ValueError("a run without an end")


def assist(job: Job, path: Path) -> None:
    """Take part in a run that another process leads: the same steps, and nothing is written.

    Args:
        job: the same.
        path: the run's checkpoint, which is read if there is one.

    Raises:
        Abandoned: the process that leads could not begin.
        KeyboardInterrupt: on Ctrl-C in any of the processes.
    """
    reuse_memory()
    await_leader()
    if team().some(False):
        return  # it was finished before
    state = load_state(path) if path.exists() else None
    events = fit(job.net, job.recipe, job.data, job.config, job.evaluate, test=job.test, state=state)
    with _interruptible() as interrupted:
        for event in events:
            if isinstance(event, Stepped):
                stop = team().some(interrupted())
                if event.due or stop:
                    event.snapshot()  # refuses a run that has diverged, at the step at which the first process does
                if stop:
                    raise KeyboardInterrupt


def line(event: Metrics | Epoch | Census | Tightness) -> Line:
    """The record's line for an event."""
    if isinstance(event, Census | Tightness):
        kind = ReluLine if isinstance(event, Census) else TightnessLine
        return kind(**{**vars(event), "layers": [layer._asdict() for layer in event.layers]})
    if isinstance(event, Metrics):
        return MetricsLine(**asdict(event))
    told: dict[str, Any] = {**event.scores.known(), "verifier": event.verifier, "split": event.split, "best": event.best}
    return EpochLine(epoch=event.epoch, step=event.step, seconds=event.seconds, **told)


def _examples(job: Job) -> int:
    return len(job.data) - job.config.held_out(len(job.data))


def _finished(folder: RunFolder, known: list[Line], epochs: int) -> SummaryLine | None:
    """The summary of a run that has nothing left to do."""
    if not known or not isinstance(known[-1], DoneLine) or not folder.model.exists():
        return None
    last = next((past for past in reversed(known) if isinstance(past, SummaryLine)), None)
    return last if last is not None and last.epochs == epochs else None


def _selection(last: Finished, job: Job) -> dict[str, Any]:
    """What is known of the selected model before it is judged on anything else than it was selected on."""
    best = last.selected
    return {
        **job.notes,
        "epochs": job.config.epochs,
        "examples": _examples(job),
        "protocol": job.config.protocol,
        "selected": {"epoch": best.epoch, "step": best.step},
        "split": last.split,
        "count": last.held,
        **job.evaluate.told,
    }


def _summary(last: Finished, job: Job) -> SummaryLine:
    parts = splits(job.net, last, job.test, job.config, job.evaluate)
    rates = {name: getattr(parts[last.split], name) for name in last.selected.scores.known()}
    return SummaryLine(
        verb="train",
        **_selection(last, job),
        accuracy=rates,
        verified_by={last.verifier: rates["verified"]} if "verified" in rates else {},
        splits=parts,
        seconds=last.seconds,
    )


def save_state(path: Path, state: TrainState) -> None:
    """Replace a run's checkpoint: one safetensors file, written whole and then renamed.

    Raises:
        DiskFull: the disk is full; the older checkpoint is whole.
    """
    write_tensors(path, *state.pack())


def load_state(path: Path) -> TrainState:
    """The state in a checkpoint. The file is data only: reading it executes nothing.

    Raises:
        BadFile: missing, truncated, foreign, or of another format.
    """
    tensors, described = read_tensors(path)
    return TrainState.unpack(tensors, described, str(path))


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C is noted, and acted on between two steps; a second one interrupts at once."""
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return

    def note(_signal: int, _frame: FrameType | None) -> None:
        noted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, before)
