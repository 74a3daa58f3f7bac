"""Training methods for smoothing on MNIST: certified accuracy against radius, and the average certified radius.

LeNet, the first 22,000 training images (2,000 of them held out to select the epoch), equal epochs, every 20th test image certified
with the default sequential procedure capped at --cap samples. Each arm is one `epsball train` and one `epsball certify`, which
resume where they were stopped (the CPU seconds are those of the last call); each appends one line to RECORD. Two arms certify a
network that never saw noise at half a sigma, bare and behind a denoiser.

python -m benchmarks.smoothing_training --store runs/smoothing-training --record benchmarks/records/smoothing-training.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from epsball.data.find import load

DATA, IMAGES, HELD, EVERY = "mnist-22k", 22_000, 2_000, 20
RADII = tuple(0.25 * k for k in range(13))
CARD = {"gaussian-0.25": 0.911, "gaussian-0.5": 1.558, "gaussian-1": 1.619, "consistency-0.5": 1.655, "smoothmix-0.5": 1.694}


@dataclass(frozen=True)
class Arm:
    """A recipe at a sigma; its folder bears its name.

    Attributes:
        name: of the arm.
        recipe: trained.
        sigma: of training and certification.
        options: of the recipe and the run.
        certify: more options of the certification.
        behind: the arm whose network stands behind this arm's denoiser; None: the arm is a classifier itself.
    """

    name: str
    recipe: str
    sigma: float
    options: dict[str, Any] = field(default_factory=dict)
    certify: tuple[str, ...] = ()
    behind: str | None = None


HALF = ("--radius", "0.25")
ARMS = (
    Arm("gaussian-0.5", "gaussian", 0.5),
    Arm("consistency-0.5", "consistency", 0.5, {"strength": 5}),
    Arm("bare-0.5", "standard", 0.5, certify=HALF),
    Arm("denoised-0.5", "denoise", 0.5, {"model.width": 8, "model.depth": 4}, HALF, "bare-0.5"),
    Arm("macer-0.5", "macer", 0.5, {"samples": 4, "strength": 4}),
    Arm("gaussian-1", "gaussian", 1.0),
    Arm("smoothadv-0.5", "smoothadv", 0.5, {"steps": 2, "eps": 1.0, "ramp": 1}),
    Arm("gaussian-0.25", "gaussian", 0.25),
    Arm("smoothmix-0.5", "smoothmix", 0.5, {"steps": 4, "ramp": 1}),
)


def run(arm: Arm, store: Path, epochs: int, cap: int) -> dict[str, Any]:
    """Train and certify one arm, or go on with it."""
    folder = store / arm.name
    noise = {} if arm.recipe == "standard" else {"recipe.sigma": arm.sigma}
    settings = {"lr": 2e-3, "train.validation": f"{HELD}/{IMAGES}", **noise, **arm.options}
    front: list[str] = []
    if arm.behind:
        settings["recipe.classifier"] = store / arm.behind
        front = ["--denoiser", str(folder)]
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    network = "denoiser" if arm.behind else "lenet"
    new = [arm.recipe, "--data", DATA, "--model", network, "--epochs", str(epochs), "--batch", "128", *options, "-o", str(folder)]
    train_seconds = call(store, ["train", *(["--resume", str(folder)] if (folder / "record.jsonl").exists() else new)])
    out = folder / f"certificates-{cap}"
    judged = ["--data", DATA, "--sigma", str(arm.sigma), "--index", f"::{EVERY}", "--set", f"cap={cap}", *arm.certify, *front]
    again = ["--resume"] if (out / "record.jsonl").exists() else []
    certify_seconds = call(store, ["certify", str(store / (arm.behind or arm.name)), *judged, "-o", str(out), *again])
    return {
        "arm": arm.name,
        "epochs": epochs,
        "cap": cap,
        **result(folder, out),
        "train_cpu": train_seconds,
        "certify_cpu": certify_seconds,
    }


def call(store: Path, arguments: list[str]) -> float:
    """Run the command line; its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "XDG_CACHE_HOME": str(store / "cache"), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "epsball", *arguments, "--quiet"], env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)


def result(folder: Path, certificates: Path) -> dict[str, Any]:
    """What the two records say."""
    trained = summary(folder / "record.jsonl")
    certified = summary(certificates / "record.jsonl")
    reached = {f"{point['radius']:g}": point for point in certified["curve"]}
    curve = {f"{r:g}": round(reached[f"{r:g}"]["accuracy"], 4) if f"{r:g}" in reached else 0.0 for r in RADII}
    accuracy = {name: round(found["value"], 4) for name, found in trained["accuracy"].items()}
    return {
        "trained": {"selected": trained["selected"]["epoch"], **accuracy},
        "images": certified["count"],
        "curve": curve,
        "acr": certified["average_radius"],
        "abstained": certified["abstained"],
        "samples": round(certified["samples"] / certified["count"]),
    }


def summary(record: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    return next(line for line in reversed(lines) if line["type"] == "summary")


def prepare(store: Path) -> None:
    """The subset as a data set of its own, in a cache of its own."""
    store.mkdir(parents=True, exist_ok=True)
    if (store / "subset.npz").exists():
        return
    mnist = load("mnist")
    part = {"x_train": mnist.train.x[:IMAGES], "y_train": mnist.train.y[:IMAGES], "x_test": mnist.test.x, "y_test": mnist.test.y}
    np.savez_compressed(store / "subset.part.npz", **{name: tensor.numpy() for name, tensor in part.items()})
    call(store, ["data", "add", DATA, str(store / "subset.part.npz")])
    (store / "subset.part.npz").rename(store / "subset.npz")


def table(lines: list[dict[str, Any]]) -> str:
    """Certified accuracy in percent (standard errors of 500 images: at most 2.2), and ACR with its standard error."""
    head = ["arm", *(f"{r:g}" for r in RADII), "ACR", "card", "samples", "train, certify (CPU s)"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for line in lines:
        shares = [f"{100 * line['curve'][f'{r:g}']:.1f}" for r in RADII]
        radius = f"{line['acr']['value']:.3f} ± {line['acr']['error']:.3f}"
        cost = f"{line['train_cpu']:.0f}, {line['certify_cpu']:.0f}"
        rows.append([line["arm"], *shares, radius, str(CARD.get(line["arm"], "")), f"{line['samples']:,}", cost])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--cap", type=int, default=10_000)
    parser.add_argument("--table", type=Path, help="write the table here after each arm")
    options = parser.parse_args()
    done = [json.loads(line) for line in options.record.read_text().splitlines()] if options.record.exists() else []
    prepare(options.store)
    for arm in ARMS:
        if (arm.name, options.cap) not in {(line["arm"], line["cap"]) for line in done}:
            done.append(run(arm, options.store, options.epochs, options.cap))
            with options.record.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
        if options.table:
            options.table.write_text(table(done) + "\n")
    print(table(done))


if __name__ == "__main__":
    main()
