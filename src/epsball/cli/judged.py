"""What attack, bounds and verify share: the network beside its data, and a progress bar."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from epsball.cli.common import Output, indices, radius
from epsball.run.track import unheard

if TYPE_CHECKING:
    from epsball.run.judge import Case

Told = Callable[[int, int], None]


def case_of(  # noqa: PLR0913 - the options that three verbs share
    model: Path,
    data: str,
    index: str,
    eps: str,
    *,
    norm: str,
    seed: int,
    device: str,
    pick: Callable[[Sequence[int]], Sequence[int]] = lambda chosen: chosen,
) -> Case:
    """The network and the examples that a verb's options name; `norm` is a kind of set, `eps` its size."""
    import torch

    from epsball.data.find import load as load_data
    from epsball.device import resolve
    from epsball.run.judge import open_case

    found = load_data(data)
    chosen = torch.tensor(pick(indices(index, len(found.test)).tolist()))
    return open_case(model, found, chosen, radius(eps, found.clip, norm), norm=norm, seed=seed, device=resolve(device))


@contextlib.contextmanager
def progress(output: Output, what: str) -> Iterator[Told]:
    """A bar on a terminal, a plain line now and then elsewhere, nothing if quiet."""
    if output.quiet or output.as_json:
        yield unheard
        return
    if not output.notes.is_terminal:
        yield lambda done, total: output.say(f"{what}: {done} of {total}")
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output.notes, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
