"""`epsball demo`: the whole line on real data: train, attack, verify, report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epsball.cli.common import Output, percent
from epsball.cli.target import Balls, Setup
from epsball.errors import BadConfig, EpsballError

if TYPE_CHECKING:
    from epsball.record.lines import SummaryLine

# A small convolutional network with batch norm after every layer; all choices in the open, as a TOML file would have them.
CONFIG = """
[recipe]
name = "fast-ibp"
eps = {eps}
warmup = 0
ramp = 3
[train]
epochs = {epochs}
batch = {batch}
lr = 3e-3
milestones = {milestones}
seed = {seed}
[model]
name = "cnn-small"
batch_norm = true
[data]
name = "{data}"
"""


def demo(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; an older demo in it is replaced.")] = Path("runs/demo"),
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the training examples.")] = 8,
    setup: Setup,
    output: Output,
) -> None:
    """Train a provably robust network on MNIST, attack it, verify it, and write a report: about two minutes on two cores."""
    import torch

    # the network is small: a second thread gains little on an idle machine, and costs threefold on a busy one (it waits spinning)
    torch.set_num_threads(1)
    began = time.monotonic()
    data, eps = _data(output), 0.1
    trained = _train(output, out, CONFIG.format(**_settings(data, epochs, eps, setup.seed)), setup.device)
    judged = _verify(output, out, data, eps, setup)
    report = _report(output, out)
    seconds = time.monotonic() - began
    output.result("demo", {"run": str(out), "report": report, "train": trained, "verify": judged, "seconds": seconds})
    _show(output, trained, judged, report, seconds)


def _settings(data: str, epochs: int, eps: float, seed: int) -> dict[str, Any]:
    small = data == "digits"  # 1,438 pictures: more passes in smaller batches
    epochs, batch = (epochs * 10, 32) if small else (epochs, 256)
    milestones = [round(0.75 * epochs, 2), round(0.9 * epochs, 2)]
    return {"data": data, "epochs": epochs, "batch": batch, "eps": eps, "milestones": milestones, "seed": seed}


def _data(output: Output) -> str:
    """MNIST where it lies, else fetched, else scikit-learn's digits, and always said."""
    from epsball.data.fetch import get
    from epsball.data.find import where

    if where("mnist") is not None:
        return "mnist"
    output.say("MNIST is not on this machine.")
    try:
        get("mnist", say=output.say)
    except EpsballError as error:
        output.say(
            f"{error}\nMNIST could not be fetched: the demo goes on with the 8x8 digits of scikit-learn, a much smaller set."
        )
        return "digits"
    return "mnist"


def _train(output: Output, out: Path, config: str, device: str) -> SummaryLine:
    import shutil

    from epsball.config import load
    from epsball.device import resolve
    from epsball.record.folder import is_run
    from epsball.run.track import screen
    from epsball.run.train import start

    for part in ("train", "verify", "bounds"):
        if is_run(out / part):
            shutil.rmtree(out / part)
    output.say("1/4  train a network with Fast-IBP")
    tracker = screen(quiet=output.silent)
    done = start(load(config), out / "train", tracker, device=resolve(device))
    if done is None:
        raise BadConfig("the demo runs in one process", fix="start it without torchrun")
    return done


def _verify(output: Output, out: Path, data: str, eps: float, setup: Setup) -> SummaryLine:
    from epsball.analysis.tightness import layer_lines
    from epsball.attacks.pgd import PGD
    from epsball.record.continued import continued
    from epsball.run.verify import Judgement
    from epsball.verification.ladder import Ladder

    output.say("2/4  attack and verify the whole test set")
    attack = PGD(steps=20, loss="margin", stop="success")
    ladder = Ladder(attack=attack, everywhere=("attack", "ibp", "crown-ibp"), seed=setup.seed)
    case = Balls(out / "train", data, ":", str(eps)).case(setup)
    with output.progress("verified") as told:
        judged = Judgement(case, ladder, 60.0, told, told.step).run(out / "verify")
    output.say("3/4  bounds of each layer")
    some = Balls(out / "train", data, ":32", str(eps)).case(setup)
    x = some.data.test.inputs(some.index).to(some.device)
    with continued(out / "bounds", some.heading("bounds", some.described())) as record:
        record.append(*layer_lines(some.network, some.ball(x, some.index)))
    return judged


def _report(output: Output, out: Path) -> str:
    from epsball.reporting.html import write_report

    output.say("4/4  report")
    return str(write_report([out / "train", out / "verify", out / "bounds"], out / "report.html"))


def _show(output: Output, trained: SummaryLine, judged: SummaryLine, report: str, seconds: float) -> None:
    times = {step.name: step.seconds or 0.0 for step in judged.steps}
    accuracy, by = judged.accuracy, judged.verified_by
    rows = [
        ("clean accuracy", percent(accuracy["clean"]), f"{times.get('clean', 0):.1f}"),
        ("attacked accuracy (PGD)", percent(accuracy["attacked"]), f"{times.get('attack', 0):.1f}"),
    ]
    rows += [(f"verified accuracy ({method})", percent(share), f"{times.get(method, 0):.1f}") for method, share in by.items()]
    rows += [("verified accuracy (union)", percent(accuracy["verified"]), f"{judged.seconds or 0.0:.1f}")]
    rows += [("training", f"{trained.epochs} epochs", f"{trained.seconds or 0.0:.1f}")]
    title = f"{judged.data}, {judged.count} test examples, linf eps {judged.eps}"
    output.table(title, ("measure", "value [95 % interval]", "seconds"), rows)
    output.text(f"verified <= true robust <= attacked.  {report}  ({seconds:.0f} s in all)")
