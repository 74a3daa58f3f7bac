"""The largest certified region of 784-100-100-10 MNIST networks: the non-uniform box against the uniform radius.

    OMP_NUM_THREADS=1 python -m benchmarks.regions train --out runs/regions
    OMP_NUM_THREADS=1 python -m benchmarks.regions measure --out runs/regions
    python -m benchmarks.regions table runs/regions/standard.jsonl runs/regions/pgd.jsonl

`train` makes two networks by

    epsball train standard --model mlp --set "model.hidden=[100, 100]" --epochs 10 --batch 128 --seed 0
    epsball train pgd --eps 0.1 --model mlp --set "model.hidden=[100, 100]" --epochs 5 --set warmup=0 --set ramp=1 --seed 0

`measure` takes the first 40 test images that a network classifies as they are labelled, eight at a time, with no valid range, as in
Liu, Tomioka and Cevher (2019): the largest uniform radius by bisection and the largest box, both proven by same-slope CROWN with
its own intermediate bounds. Every box is then held against 1,000 points of it, half of them corners, against PGD on every class,
and proven again in float64 and by adaptive CROWN. The gain is the geometric mean of the box's widths over the uniform one's, minus
1; it is also given over the best uniform radius that adaptive or same-slope CROWN proves. One line an image is appended and synced;
a run that was killed goes on where it stopped. Seconds an image are CPU time of one thread, a batch's divided by its size.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.command import ended
from benchmarks.opened import opened
from benchmarks.wong_kolter import shared_folder, test_set
from epsball.attacks.pgd import PGD
from epsball.bounding.linear.crown import Crown
from epsball.bounding.radius.region import NonUniform, Radius, Region, holds
from epsball.models.store import load_model
from epsball.ops.network import Network
from epsball.problem.property import Property, robust
from epsball.problem.sets import Box
from epsball.record.journal import Journal, read

Line = dict[str, Any]
MODEL = ("--model", "mlp", "--set", "model.hidden=[100, 100]", "--seed", "0")
RECIPES: dict[str, tuple[str, ...]] = {
    "standard": ("standard", *MODEL, "--epochs", "10", "--batch", "128"),
    "pgd": ("pgd", "--eps", "0.1", *MODEL, "--epochs", "5", "--set", "warmup=0", "--set", "ramp=1"),
}
ASKED = {"standard": 0.10, "pgd": 0.25}
COUNT = 40
SAMPLES = 1000
BATCH = 8
ATTACK = PGD(targets="all", loss="margin")


def train(out: Path, options: tuple[str, ...]) -> None:
    """One network; a run that is complete is left alone, one that was killed goes on."""
    record = out / "record.jsonl"
    if record.is_file() and any(line["type"] == "done" for line in read(record)):
        return
    arguments = ("--resume", str(out)) if record.is_file() else (*options, "--out", str(out))
    subprocess.run([sys.executable, "-m", "epsball", "train", *arguments, "--quiet"], check=True)


def sampled(network: Network, box: Box, prop: Property) -> list[float]:
    """The least margin of each image (B,) at random points of its box, half of them corners."""
    generator = torch.Generator().manual_seed(0)
    least = torch.full((len(box.x),), math.inf)
    with torch.no_grad():
        for number in range(SAMPLES):
            share = torch.rand(box.x.shape, generator=generator)
            corner = torch.where(share < 0.5, box.lower, box.upper)
            inside = torch.lerp(box.lower, box.upper, share).clamp(min=box.lower, max=box.upper)
            least = torch.minimum(least, prop.margins(network.module(corner if number % 2 else inside)).amin(0))
    return [float(margin) for margin in least]


def checks(network: Network, x: torch.Tensor, prop: Property, region: Region) -> dict[str, list[Any]]:
    """What the boxes were held against: the least margins of samples and of PGD, and three more proofs."""
    box, single = Box(x, region.radius), network.prepare()
    # the ends that were proven, not new ones: rounding them outwards again would make another box
    same = Box.between(box.lower.double(), box.upper.double())
    own = NonUniform().method
    return {
        "sampled": sampled(network, box, prop),
        "attacked": ATTACK(network.module, box, prop).margin.tolist(),
        "again": holds(own, single, box, prop).tolist(),
        "float64": holds(own, network.prepare(torch.float64), same, prop.to(torch.float64)).tolist(),
        "adaptive": holds(Crown(), single, box, prop).tolist(),
    }


def some(network: Network, x: torch.Tensor, prop: Property) -> list[Line]:
    """A few images: radius and box, their gain, what the box was held against, and CPU seconds."""
    search, prepared = NonUniform(), network.prepare()
    begin = time.process_time()
    region = search(prepared, x, prop)
    boxed = time.process_time()
    Radius(search.method, high=search.high, steps=search.search)(prepared, x, prop)
    seconds = [(boxed - begin) / len(x), (time.process_time() - boxed) / len(x)]
    best = torch.maximum(region.uniform, Radius(Crown(), high=search.high, steps=search.search)(prepared, x, prop))
    flat = region.radius.flatten(1)
    mean = flat.log().mean(1).exp()
    found = {
        "uniform": region.uniform.tolist(),
        "best_uniform": best.tolist(),
        "mean": mean.tolist(),
        "narrowest": flat.amin(1).tolist(),
        "widest": flat.amax(1).tolist(),
        "gain": (mean / region.uniform - 1).tolist(),
        "gain_over_best": (mean / best - 1).tolist(),
        **checks(network, x, prop, region),
    }
    return [{**{key: values[i] for key, values in found.items()}, "seconds": seconds} for i in range(len(x))]


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
        with Journal(file) as record:
            known = opened(record, config, module, (images, labels), torch.float32, __file__)
            done = {line.get("index") for line in known}
            todo = [i for i in right if i not in done]
            for start in range(0, len(todo), BATCH):
                part = todo[start : start + BATCH]
                lines = some(network, images[part].float() / 255, robust(labels[part], 10))
                for i, line in zip(part, lines, strict=True):
                    record.append({"type": "region", "index": i, "label": int(labels[i]), **short(line)})


def short(value: Any) -> Any:
    """Every number of a line to five digits."""
    if isinstance(value, list):
        return [short(v) for v in value]
    if isinstance(value, dict):
        return {key: short(v) for key, v in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def table(files: list[Path]) -> None:
    """Print one row a network in Markdown."""
    print(
        "| training | images | geometric-mean width gain: mean [least, most] | asked | over the best uniform radius | sound |",
        end="",
    )
    print(" CPU s an image: box (radius alone) |\n| --- | --- | --- | --- | --- | --- | --- |")
    for file in files:
        header, *lines = read(file)
        name = header["config"]["command"][2]
        gains, over = ([line[key] for line in lines] for key in ("gain", "gain_over_best"))
        fine = sum(line["sampled"] > 0 and line["attacked"] > 0 and line["again"] and line["float64"] for line in lines)
        box, radius = (sum(line["seconds"][k] for line in lines) / len(lines) for k in (0, 1))
        cells = (
            name, str(len(lines)),
            f"{_mean(gains):+.1%} [{min(gains):+.1%}, {max(gains):+.1%}]", f"above {ASKED[name]:.0%}",
            f"{_mean(over):+.1%}", f"{fine} of {len(lines)}", f"{box:.2f} ({radius:.2f})",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |")


def _mean(gains: list[float]) -> float:
    """The geometric mean of the ratios, minus 1."""
    return math.exp(sum(math.log1p(gain) for gain in gains) / len(gains)) - 1


def main() -> None:
    """Train, measure, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "measure", "table"))
    parser.add_argument("files", nargs="*", type=Path, help="of table")
    parser.add_argument("--out", type=Path, default=Path("runs/regions"))
    parser.add_argument("--shared", type=Path, default=None)
    args = parser.parse_args()
    if args.verb == "train":
        for name, options in RECIPES.items():
            train(args.out / name, options)
    elif args.verb == "measure":
        measure(args.out, args.shared or shared_folder())
    else:
        table(args.files)


if __name__ == "__main__":
    raise SystemExit(ended(main))
