"""Vision transformers of the verification competition (VNN-COMP 2023): what one pass of each bound proves.

    python -m benchmarks.vit --count 20 --methods ibp,crown-ibp,crown,alpha-crown

Each instance is a box of radius 1/255 (in the units before normalisation) around a CIFAR-10 picture, and asks that the label stays.
The consensus of the tools of 2023 stands beside each answer; a proof of an instance where a tool found a counterexample would be an
error and stops the run, as does an attack that beats a proof. One thread; seconds count capture neither of network nor of box.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
import time
from collections import Counter
from pathlib import Path

import torch

from benchmarks import peer
from benchmarks.wong_kolter import shared_folder
from epsball.attacks.base import attacks
from epsball.bounding.base import bounders, least_margins
from epsball.device import exact_arithmetic, tolerance
from epsball.errors import Unsound
from epsball.graph.onnx import load_onnx
from epsball.ops.network import Network
from epsball.problem.property import robust
from epsball.problem.sets import Box

_LIMIT = re.compile(r"\((<=|>=) X_(\d+) (\S+?)\)")


def read_box(path: Path, shape: tuple[int, ...]) -> tuple[Box, int]:
    """The box and the label of one property of this set; a reader for its own files alone, not for VNN-LIB."""
    text = gzip.decompress(path.read_bytes()).decode()
    ends = {"<=": torch.full(shape, torch.nan).flatten(), ">=": torch.full(shape, torch.nan).flatten()}
    for side, index, value in _LIMIT.findall(text):
        ends[side][int(index)] = float(value)
    label = int(re.findall(r"Y_\d+ Y_(\d+)", text)[0])
    return Box.between(ends[">="].view(1, *shape), ends["<="].view(1, *shape)), label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--network", default="", help="only instances of networks whose name starts with this, such as ibp or pgd")
    parser.add_argument("--methods", default="ibp,crown-ibp,crown,alpha-crown")
    parser.add_argument("--peer", help="folders with auto_LiRPA and what it needs: its CROWN beside ours")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peer and not peer.use(options.peer):
        parser.error(f"{peer.NAME} cannot be imported from {options.peer}")
    folder = shared_folder() / "vnncomp"
    known = {
        (r["onnx"], r["vnnlib"]): r["consensus"] for r in csv.DictReader((folder / "expected.csv").open()) if r["set"] == "vit_2023"
    }
    folder /= "vit_2023"
    rows = [r for r in csv.reader(next(folder.glob("*.csv")).open()) if Path(r[0]).name.startswith(options.network)][
        : options.count
    ]
    names = options.methods.split(",")
    networks: dict[str, Network] = {}
    verified, seconds, attacked = Counter[str](), Counter[str](), 0
    for number, (onnx, prop, _) in enumerate(rows):
        if onnx not in networks:
            module = load_onnx(folder / f"{onnx}.gz").requires_grad_(requires_grad=False)
            networks[onnx] = Network.capture(module, module.input_shape)
        network = networks[onnx]
        box, label = read_box(folder / f"{prop}.gz", network.input_shape)
        question, prepared = robust(torch.tensor([label]), network.classes, torch.float32), network.prepare()
        hit = attacks["pgd"]()(network.module, box, question, torch.Generator().manual_seed(number))
        attacked += int(hit.success)
        found = {"attack": float(hit.margin)}
        for name in names:
            begin = time.perf_counter()
            with torch.no_grad(), exact_arithmetic():
                found[name] = float(least_margins(bounders[name](), prepared, box, question))
            seconds[name] += time.perf_counter() - begin
            proven = found[name] > tolerance(torch.float32)
            verified[name] += proven
            if found[name] > found["attack"] + 1e-4 or (proven and known[onnx, prop] == "sat"):
                raise Unsound(f"{name} proves {found[name]} of {prop}, where the attack reaches {found['attack']}")
        if options.peer:
            call, begin = peer.calls(network.module, box, torch.tensor([label]), network.classes)["crown"], time.perf_counter()
            with torch.no_grad():
                found["peer crown"] = float(call().min())
            seconds["peer crown"] += time.perf_counter() - begin
        print(f"{number:3} {Path(prop).stem:24} {known[onnx, prop]:10}", *(f"{k} {v:.4g}" for k, v in found.items()), flush=True)
    print(f"{len(rows)} instances, {attacked} falsified by PGD; consensus", dict(Counter(known[r[0], r[1]] for r in rows)))
    for name in names:
        print(f"{name}: {verified[name]} verified, {seconds[name] / len(rows):.3f} s each")
    if options.peer:
        print(f"CROWN by {peer.NAME}: {seconds['peer crown'] / len(rows):.3f} s each")


if __name__ == "__main__":
    main()
