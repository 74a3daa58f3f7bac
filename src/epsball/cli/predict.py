"""`epsball predict`: the smoothed classifier's answers, each wrong with a stated probability, or an abstention."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epsball.cli.common import Output, number
from epsball.cli.spread import defaults
from epsball.cli.target import Opening, TargetExamples
from epsball.errors import BadConfig, BadFile

if TYPE_CHECKING:
    from epsball.types import Tensor

_INDEX = ":10"


@dataclass(frozen=True)
class Votes:
    """The noise, and how many copies vote."""

    sigma: Annotated[str, typer.Option("--sigma", help="Scale of the noise, in units of the inputs.")] = "0.25"
    noise: Annotated[str, typer.Option("--noise", help="See `epsball list noises`.")] = "gaussian"
    samples: Annotated[int, typer.Option("--samples", "-n", help="Noisy copies of each input.")] = 1000
    alpha: Annotated[str, typer.Option("--alpha", help="Probability of a wrong answer, for each input.")] = "0.001"
    batch: Annotated[int | None, typer.Option("--batch", help="Samples of one forward pass.")] = None

    @property
    def error(self) -> float:
        """Probability of a wrong answer."""
        return number(self.alpha, "--alpha")


def predict(
    target: Annotated[TargetExamples, defaults(index=_INDEX)],
    *,
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", help="A .npy file of inputs (B, ...), in the network's precision, instead of --data."),
    ] = None,
    votes: Votes,
    setup: Opening,
    output: Output,
) -> None:
    """Classify by the vote of noisy copies: the class of the smoothed classifier, or an abstention. No label is needed."""
    import torch

    from epsball.device import resolve
    from epsball.models.adapters import of_classes
    from epsball.models.opened import open_model
    from epsball.ops.network import Network
    from epsball.problem.problem import check_input
    from epsball.run.certifiers import law
    from epsball.smoothing.core import Smoothed
    from epsball.smoothing.noises.continuous import noises

    kind = law(noises[votes.noise], number(votes.sigma, "--sigma"))
    if inputs is None:
        case = target.case(setup)
        network, x, numbers = case.network, case.data.test.inputs(case.index), case.index.tolist()
        device, what = case.device, f"{target.data} {target.index}"
    else:
        for name, value, default in (("--data", target.data, TargetExamples.data), ("--index", target.index, _INDEX)):
            if value != default:
                raise BadConfig(f"{name} beside a file of inputs", where=f"{name} {value}", fix=f"leave {name} or --inputs out")
        x, device = _read(inputs), resolve(setup.device)
        module, shape = open_model(target.model, tuple(x.shape[1:]), setup.reading)
        network = of_classes(Network.capture(module.to(device), shape), setup.reading.threshold)
        check_input(x, network.input_shape)
        x = x.to(network.dtype)
        numbers, what = list(range(len(x))), str(inputs)
    smoothed = Smoothed(network.module, kind, network.classes, batch=votes.batch, seed=setup.seed)
    with output.progress("predicting") as told:
        found = []
        for i, image in enumerate(numbers):
            with torch.no_grad():
                found += smoothed.predict(x[i : i + 1].to(device), votes.samples, votes.error, images=[image])
            told(i + 1, len(numbers))
    answers = [{"index": one.image, "class": one.label, "counts": list(one.counts[:-1]), "samples": one.samples} for one in found]
    output.result("predict", {"model": str(target.model), "noise": repr(kind), "alpha": votes.error, "answers": answers})
    rows = [
        (str(one.image), "abstains" if one.label is None else str(one.label), f"{max(one.counts[:-1])} of {one.samples}")
        for one in found
    ]
    output.table(f"{target.model} under {kind!r}: {what}", ("input", "class", "largest vote"), rows)
    output.text(
        f"Each class is that of the smoothed classifier but with probability {votes.alpha}. It says nothing of perturbations: "
        f"epsball certify {target.model} --sigma {votes.sigma}"
    )


def _read(path: Path) -> Tensor:
    """Inputs from a .npy file, in its own precision; nothing in it is executed.

    Raises:
        BadFile: no such file, or no array of numbers.
        BadConfig: another kind of file, or no batch.
    """
    import numpy as np
    import torch

    if path.suffix != ".npy":
        raise BadConfig(f"inputs from a {path.suffix or 'nameless'} file", where=f"--inputs {path}", fix="np.save('x.npy', x)")
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadFile(f"no array can be read: {error}", where=str(path), fix="write it with np.save('x.npy', x)") from error
    if not isinstance(found, np.ndarray):
        raise BadFile("no array can be read: it is an archive", where=str(path), fix="write it with np.save('x.npy', x)")
    if found.dtype.kind != "f" or found.ndim < 2 or not len(found) or not np.isfinite(found).all():
        raise BadFile(
            f"an array of {found.dtype} {found.shape}, or with NaN or infinity",
            where=str(path),
            fix="give floats (B, ...), in the units that the network was trained on, such as x / 255",
        )
    return torch.from_numpy(np.ascontiguousarray(found))
