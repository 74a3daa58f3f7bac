"""Attack a smoothed MNIST network: never inside the certified radius, and how often within twice that radius.

The network is the one that `smoothing_samples` trains and stores; images are the first of the test set that it certifies.

python -m benchmarks.smoothing_attack --data ../shared/data/MNIST/raw --model runs/streams/mnist-0.5-every-20.pt --sigma 0.5
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from benchmarks.smoothing_cost import small_conv
from benchmarks.smoothing_samples import mnist
from epsball.smoothing.attack import SmoothPGD
from epsball.smoothing.core import Smoothed
from epsball.smoothing.statistics.sequential import Sequential

MULTIPLES = (0.999, 1.25, 1.5, 1.75, 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sigma", type=float, required=True)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--cap", type=int, default=32_768)
    options = parser.parse_args()
    torch.set_num_threads(1)
    module = small_conv()
    module.load_state_dict(torch.load(options.model, weights_only=True))
    x, y = (part[: options.images] for part in mnist(options.data, "t10k"))
    smoothed, attack = Smoothed(module, options.sigma, 10), SmoothPGD()
    certificates = smoothed.certify(x, procedure=Sequential(cap=options.cap))
    kept = [c for c in certificates if c.label == int(y[c.image]) and c.radius > 0]
    broken = dict.fromkeys(MULTIPLES, 0)
    for certificate in kept:
        k = certificate.image
        for multiple in MULTIPLES:
            found = attack(smoothed, x[k : k + 1], y[k : k + 1], multiple * certificate.radius, images=[k])
            if bool(found.success):
                broken[multiple] += 1
                break
    reached = {str(m): sum(broken[n] for n in MULTIPLES if n <= m) for m in MULTIPLES}
    mean = sum(c.radius for c in kept) / len(kept)
    row = {"sigma": options.sigma, "images": len(x), "certified": len(kept), "mean_radius": round(mean, 3), "changed_by": reached}
    print(json.dumps(row))


if __name__ == "__main__":
    main()
