"""Sentences of SST-2 that one pass of each bound certifies, in balls around the embedded words and under synonyms.

    epsball train standard --data sst2 --model transformer-small --epochs 3 --set lr=3e-3 --out runs/sst2
    python -m benchmarks.text runs/sst2 --count 100 --eps 0.01,0.03 --words 1,32

The first dev sentences, one at a time, on one thread; seconds are of the processor. A misclassified sentence is never certified.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import torch

import epsball
from epsball.attacks.base import attacks
from epsball.bounding.base import bounders, least_margins
from epsball.device import exact_arithmetic, tolerance
from epsball.errors import Unsound
from epsball.problem.property import robust
from epsball.problem.sets import InputSet, LpBall
from epsball.run.word_sets import Words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--eps", default="0.01,0.03")
    parser.add_argument("--words", default="1,32")
    parser.add_argument("--methods", default="ibp,crown-ibp,crown")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, network = epsball.load_data("sst2"), epsball.load(options.run)
    prepared, words = network.prepare(), Words.of(network, data)
    verified, attacked, seconds, clean = Counter[str](), Counter[str](), Counter[str](), 0
    for i in range(options.count):
        with torch.no_grad():
            x, y = network.embed(data.test.x[i : i + 1]), data.test.y[i : i + 1]
            right = bool(network.module(x).argmax(1) == y)
        clean += right
        chosen: dict[str, InputSet] = {f"eps {e}": LpBall(x, float(e)) for e in options.eps.split(",") if e}
        chosen |= {f"words {n}": words.around(x, [i], int(n)) for n in options.words.split(",") if n}
        for name, given in chosen.items() if right else ():
            question = robust(y, 2, x.dtype)
            hit = attacks["pgd"]()(network.module, given, question, torch.Generator().manual_seed(i))
            attacked[name] += int(hit.success)
            for method in options.methods.split(","):
                begin = time.process_time()
                with torch.no_grad(), exact_arithmetic():
                    margin = float(least_margins(bounders[method](), prepared, given, question))
                seconds[f"{name}, {method}"] += time.process_time() - begin
                verified[f"{name}, {method}"] += margin > tolerance(x.dtype)
                if margin > float(hit.margin) + 1e-4 * (1 + abs(margin)):
                    raise Unsound(
                        f"{method} proves {margin} on {name} of sentence {i}, where the attack reaches {float(hit.margin)}"
                    )
        told = ", ".join(f"{k}: {verified[k]} ({s / clean:.2f} s)" for k, s in seconds.items())
        print(f"{i + 1} sentences, {clean} right; falsified {dict(attacked)}; certified {told}", flush=True)


if __name__ == "__main__":
    main()
