"""The largest certified region of 784-100-100-10 MNIST networks: the non-uniform box against the uniform radius.

    OMP_NUM_THREADS=1 python -m benchmarks.regions train --out runs/regions
    OMP_NUM_THREADS=1 python -m benchmarks.regions measure --out runs/regions
    python -m benchmarks.regions table runs/regions/standard.jsonl runs/regions/pgd.jsonl

`train` makes two networks by

    epsball train standard --model mlp --set "model.hidden=[100, 100]" --epochs 3 --seed 0
    epsball train pgd --eps 0.1 --model mlp --set "model.hidden=[100, 100]" --epochs 5 --set warmup=0 --set ramp=1 --seed 0

`measure` takes the first 40 test images that a network classifies as they are labelled, one at a time, with no valid range, as in
Liu, Tomioka and Cevher (2019): the largest uniform radius by bisection and the largest box, both proven by same-slope CROWN with
its own intermediate bounds. Every box is then held against 1,000 points of it, half of them corners, against PGD on every class,
and proven again in float64 and by adaptive CROWN. The gain is the geometric mean of the box's widths over the uniform one's, minus
1; it is also given over the best uniform radius that adaptive or same-slope CROWN proves. One line an image is appended and synced;
a run that was killed goes on where it stopped. Seconds are CPU time of one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.wong_kolter import shared_folder, test_set
from epsball.attacks.pgd import PGD
from epsball.bounding.crown import Crown
from epsball.bounding.region import NonUniform, Radius, Region, holds
from epsball.device import arithmetic
from epsball.errors import BadConfig, EpsballError
from epsball.graph.network import Network
from epsball.models.store import load_model
from epsball.run.record import Record, digest, read
from epsball.spec.property import Property, robust
from epsball.spec.sets import Box

Line = dict[str, Any]
MODEL = ("--model", "mlp", "--set", "model.hidden=[100, 100]", "--seed", "0")
RECIPES: dict[str, tuple[str, ...]] = {
    "standard": ("standard", *MODEL, "--epochs", "3"),
    "pgd": ("pgd", "--eps", "0.1", *MODEL, "--epochs", "5", "--set", "warmup=0", "--set", "ramp=1"),
}
ASKED = {"standard": 0.10, "pgd": 0.25}
COUNT = 40
SAMPLES = 1000
ATTACK = PGD(steps=100, targets="all", loss="margin")


def train(out: Path) -> None:
    """Both networks; one that is complete is left alone, one that was killed goes on."""
    for name, options in RECIPES.items():
        record = out / name / "record.jsonl"
        if record.is_file() and any(line["type"] == "done" for line in read(record)):
            continue
        arguments = ("--resume", str(out / name)) if record.is_file() else (*options, "--out", str(out / name))
        subprocess.run([sys.executable, "-m", "epsball", "train", *arguments, "--quiet"], check=True)


def sound(network: Network, method: Crown, x: torch.Tensor, prop: Property, region: Region) -> Line:
    """What a box was held against: the least margins of samples and of PGD, and two more proofs."""
    box = Box(x, region.radius)
    generator = torch.Generator().manual_seed(0)
    inside = box.lower + (box.upper - box.lower) * torch.rand(SAMPLES // 2, *x.shape[1:], generator=generator)
    corner = torch.where(torch.rand(SAMPLES // 2, *x.shape[1:], generator=generator) < 0.5, box.lower, box.upper)
    points = torch.cat((inside.clamp(min=box.lower, max=box.upper), corner))
    whole = Property(prop.C.expand(-1, len(points), -1))
    exact, double = network.prepare(torch.float64), prop.to(torch.float64)
    # the ends that were proven, not new ones: rounding them outwards again would make another box
    same = Box.between(box.lower.double(), box.upper.double())
    with torch.no_grad():
        sampled = float(whole.margins(network.module(points)).min())
    return {
        "sampled": sampled,
        "attacked": float(ATTACK(network.module, box, prop).margin),
        "again": bool(holds(method, network.prepare(), box, prop)),
        "float64": bool(holds(method, exact, same, double)),
        "adaptive": bool(holds(replace(method, slope="adaptive", intermediate="tightest"), network.prepare(), box, prop)),
    }


def one(network: Network, x: torch.Tensor, prop: Property) -> Line:
    """One image: radius and box, their gain, what the box was held against, and CPU seconds."""
    search = NonUniform()
    prepared = network.prepare()
    begin = time.process_time()
    region = search(prepared, x, prop)
    boxed = time.process_time() - begin
    begin = time.process_time()
    Radius(search.method, high=search.high, steps=search.search)(prepared, x, prop)
    bisected = time.process_time() - begin
    best = float(Radius(Crown(), high=search.high, steps=search.search)(prepared, x, prop))
    uniform, mean = float(region.uniform), float(region.radius.log().mean().exp())
    best = max(best, uniform)
    checks = sound(network, Crown(slope="same", intermediate="crown"), x, prop, region)
    widths = {"narrowest": float(region.radius.min()), "widest": float(region.radius.max())}
    gains = {"gain": mean / uniform - 1, "gain_over_best": mean / best - 1}
    return {"uniform": uniform, "best_uniform": best, "mean": mean, **widths, **gains, **checks, "seconds": [boxed, bisected]}


def measure(out: Path, shared: Path) -> None:
    """Append a line for each image that has none yet."""
    torch.set_num_threads(1)
    images, labels = test_set(shared)
    for name, options in RECIPES.items():
        model = out / name / "model.safetensors"
        module = load_model(model)[0].eval()
        with torch.no_grad():
            right = (module(images[:1000].float() / 255).argmax(1) == labels[:1000]).nonzero()[:COUNT, 0].tolist()
        network = Network.capture(module, (1, 28, 28))
        config = {"weights": hashlib.sha256(model.read_bytes()).hexdigest()[:12], "command": ["epsball", "train", *options]}
        file = out / f"{name}.jsonl"
        with Record(file) as record:
            if not file.stat().st_size:
                record.header("benchmark", config, seed=0, device="cpu", arithmetic=arithmetic(torch.float32))
            header, *known = read(file)
            if header["config_hash"] != digest(config):
                raise BadConfig("this file holds another measurement", where=str(file), fix="give another --out")
            for i in [i for i in right if i not in {line["index"] for line in known}]:
                line = one(network, images[i : i + 1].float() / 255, robust(labels[i : i + 1], 10))
                record.append({"type": "region", "index": i, "label": int(labels[i]), **{k: _short(v) for k, v in line.items()}})


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(v) for v in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def table(files: list[Path]) -> None:
    """Print one row a network in Markdown."""
    print(
        "| training | images | geometric-mean width gain: mean [least, most] | asked | over the best uniform radius | sound |",
        end="",
    )
    print(" CPU s an image: box (radius alone) |\n| --- | --- | --- | --- | --- | --- | --- |")
    for file in files:
        _, *lines = read(file)
        gains, over = ([line[key] for line in lines] for key in ("gain", "gain_over_best"))
        fine = sum(line["sampled"] > 0 and line["attacked"] > 0 and line["again"] and line["float64"] for line in lines)
        box, radius = (sum(line["seconds"][k] for line in lines) / len(lines) for k in (0, 1))
        cells = (
            file.stem, str(len(lines)),
            f"{_mean(gains):+.1%} [{min(gains):+.1%}, {max(gains):+.1%}]", f"above {ASKED.get(file.stem, 0):.0%}",
            f"{_mean(over):+.1%}", f"{fine} of {len(lines)}", f"{box:.2f} ({radius:.2f})",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |")


def _mean(gains: list[float]) -> float:
    """The geometric mean of the ratios, minus 1."""
    return math.exp(sum(math.log1p(gain) for gain in gains) / len(gains)) - 1


def main() -> int:
    """Train, measure, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "measure", "table"))
    parser.add_argument("files", nargs="*", type=Path, help="of table")
    parser.add_argument("--out", type=Path, default=Path("runs/regions"))
    parser.add_argument("--shared", type=Path, default=None)
    args = parser.parse_args()
    try:
        if args.verb == "train":
            train(args.out)
        elif args.verb == "measure":
            measure(args.out, args.shared or shared_folder())
        else:
            table(args.files)
    except EpsballError as error:
        print(f"{type(error).__name__}: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
