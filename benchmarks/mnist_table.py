"""The thesis' comparison on MNIST, at the size of two CPU cores: the small convolutional network, 20 + 50 and 6 + 14 epochs.

    OMP_NUM_THREADS=1 python -m benchmarks.mnist_table train --worker 0/2 &
    OMP_NUM_THREADS=1 python -m benchmarks.mnist_table train --worker 1/2
    OMP_NUM_THREADS=1 python -m benchmarks.mnist_table verify
    python -m benchmarks.mnist_table table

Every arm is one call of `epsball train`: this file holds its options and nothing else. "long" is Fast-IBP on the thesis' schedule
(0 + 20 + 50 epochs, three seeds); "short" sets it against its baselines and its ablations on 0 + 6 + 14 epochs, one seed. Epochs
are selected on 6,000 training images that are held out, at the radius of the training, by IBP. `verify` counts clean and IBP
verified errors on the 10,000 test images, attacks by PGD with 100 steps (all images for seed 0 of "long", every fifth for the
others), and runs `epsball verify` (an attack, IBP, CROWN-IBP, CROWN): on all images for "long", on every fifth for "short".
Minutes are CPU time, for a worker shares the machine with others. A complete run is left alone; one that was killed goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from epsball.data.find import load as load_data
from epsball.errors import BadConfig
from epsball.files import write_bytes
from epsball.models.store import load_model
from epsball.ops.network import Network
from epsball.record.journal import read
from epsball.training.evaluate import IbpAccuracy

FULL = ("--set", "model.batch_norm=true")
WITHOUT = ("--set", "model.batch_norm=false")  # fast-ibp has it unless told otherwise
BARE = ("--set", "initialisation=default", "--set", "regularisation=0")
LONG = ("--epochs", "70", "--set", "milestones=[50, 60]", "--set", "warmup=0", "--set", "ramp=20")
SHORT = (
    "--epochs",
    "20",
    "--set",
    "milestones=[14, 17]",
    "--set",
    "warmup=0",
    "--set",
    "ramp=6",
    "--set",
    "kappa_start=0",
    "--set",
    "kappa_end=0",
)
BASELINE = ("--set", "shape=smooth")

ARMS: dict[str, tuple[str, str, tuple[str, ...]]] = {  # name: recipe, eps, options
    "long-0.3-0": ("fast-ibp", "0.3", (*LONG, *FULL, "--seed", "0")),
    "long-0.1-0": ("fast-ibp", "0.1", (*LONG, *FULL, "--seed", "0")),
    "short-fast-ibp": ("fast-ibp", "0.3", (*SHORT, *FULL)),
    "short-ibp": ("ibp", "0.3", (*SHORT, *FULL, *BASELINE)),
    "short-crown-ibp": ("crown-ibp", "0.3", (*SHORT, *FULL, *BASELINE)),
    "short-no-init": ("fast-ibp", "0.3", (*SHORT, *FULL, "--set", "initialisation=default")),
    "short-no-batch-norm": ("fast-ibp", "0.3", (*SHORT, *WITHOUT)),
    "short-no-regularisers": ("fast-ibp", "0.3", (*SHORT, *FULL, "--set", "regularisation=0")),
    "short-none": ("fast-ibp", "0.3", (*SHORT, *WITHOUT, *BARE)),
    "long-0.3-1": ("fast-ibp", "0.3", (*LONG, *FULL, "--seed", "1")),
    "long-0.1-1": ("fast-ibp", "0.1", (*LONG, *FULL, "--seed", "1")),
    "long-0.3-2": ("fast-ibp", "0.3", (*LONG, *FULL, "--seed", "2")),
    "long-0.1-2": ("fast-ibp", "0.1", (*LONG, *FULL, "--seed", "2")),
}


def _done(folder: Path) -> bool:
    """Whether the run in this folder is complete."""
    path = folder / "record.jsonl"
    return path.is_file() and any(line.get("type") == "done" for line in read(path))


def _epsball(*arguments: str) -> None:
    """One call of the command line; an error ends the benchmark, since the next arms would be compared with nothing."""
    subprocess.run([sys.executable, "-m", "epsball", *arguments, "--quiet"], check=True)


def train(out: Path, worker: int, workers: int) -> None:
    """Train every arm of one worker's share, one after another; CPU seconds are appended to `cpu.jsonl`."""
    for name, (recipe, eps, options) in list(ARMS.items())[worker::workers]:
        folder = out / name
        if _done(folder):
            continue
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        if (folder / "record.jsonl").exists():
            _epsball("train", "--resume", str(folder))
        else:
            _epsball("train", recipe, "--model", "cnn-small", "--eps", eps, *options, "--out", str(folder))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        with (out / "cpu.jsonl").open("a") as lines:
            lines.write(json.dumps({"arm": name, "seconds": round(spent, 1)}) + "\n")
            lines.flush()
            os.fsync(lines.fileno())


def verify(out: Path, worker: int, workers: int) -> None:
    """Count, attack and verify every trained arm's network on test images."""
    test = load_data("mnist").test
    for name, (_, eps, _) in list(ARMS.items())[worker::workers]:
        folder = out / name
        some, fewer = ":" if name.startswith("long") else "::5", ":" if name.endswith("-0") else "::5"
        if not _done(folder):
            continue
        module, architecture, _ = load_model(folder)
        scores = IbpAccuracy(float(eps), (0.0, 1.0))(Network.capture(module, architecture.input_shape), test)
        write_bytes(folder / "ibp.json", json.dumps({"clean": scores.clean, "verified": scores.verified}).encode())
        common = (str(folder), "--eps", eps)
        if not _done(folder / "pgd-100"):
            _epsball("attack", *common, "--index", fewer, "--set", "steps=100", "--out", str(folder / "pgd-100"))
        if not _done(folder / "union"):
            more = ("--resume",) if (folder / "union" / "record.jsonl").exists() else ()
            _epsball("verify", *common, "--index", some, "--out", str(folder / "union"), *more)


def _summary(folder: Path) -> dict[str, Any]:
    """The last summary line of a run."""
    return next(line for line in reversed(read(folder / "record.jsonl")) if line["type"] == "summary")


def table(out: Path) -> None:
    """Errors in per cent of every arm that was trained, attacked and verified, and the CPU minutes of its training."""
    seconds: dict[str, float] = {}
    for line in (out / "cpu.jsonl").read_text().splitlines():
        run = json.loads(line)
        seconds[run["arm"]] = seconds.get(run["arm"], 0.0) + run["seconds"]
    columns = ("arm", "eps", "clean error", "IBP verified error", "images attacked / verified", "PGD-100 error")
    columns += ("union verified error", "unknown", "CPU minutes")
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for name, (_, eps, _) in ARMS.items():
        folder = out / name
        if not (_done(folder / "pgd-100") and _done(folder / "union")):
            continue
        attacked, union = _summary(folder / "pgd-100")["accuracy"]["attacked"], _summary(folder / "union")
        counted = json.loads((folder / "ibp.json").read_text())
        shares = (counted["clean"], counted["verified"], attacked["value"], union["accuracy"]["verified"]["value"])
        clean, ibp, pgd, proven = (f"{100 * (1 - share):.2f}" for share in shares)
        unknown = sum(union["status"][status] for status in ("unknown", "timeout", "error"))
        count = f"{_summary(folder / 'pgd-100')['count']:,} / {union['count']:,}"
        minutes = f"{seconds.get(name, float('nan')) / 60:.1f}"
        print(f"| {name} | {eps} | {clean} | {ibp} | {count} | {pgd} | {proven} | {unknown} | {minutes} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "verify", "table"))
    parser.add_argument("--out", type=Path, default=Path("runs/mnist-table"))
    parser.add_argument("--worker", default="0/1", help="i/n, from 0")
    options = parser.parse_args()
    try:
        worker, workers = (int(part) for part in options.worker.split("/"))
    except ValueError:
        raise BadConfig(f"{options.worker!r} is no share", where="--worker", fix="use i/n, such as 0/2") from None
    options.out.mkdir(parents=True, exist_ok=True)
    if options.action == "table":
        table(options.out)
    else:
        {"train": train, "verify": verify}[options.action](options.out, worker, workers)


if __name__ == "__main__":
    main()
