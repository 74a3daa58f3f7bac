"""Samples that each procedure needs to certify at a radius, replayed on the same stored streams of counts.

Real MNIST; the small convolutional network of `smoothing_cost`, trained on Gaussian noise; every k-th test image. Streams (hits of
the selected class in each block of 128 samples, up to 131,072) are drawn once a sigma and stored; procedures are compared on them.

python -m benchmarks.smoothing_samples --data ../shared/data/MNIST/raw --store runs/streams [--sigma 0.25,0.5,1] [--every 20]
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.smoothing_cost import small_conv
from epsball.smoothing.noises.continuous import Gaussian
from epsball.smoothing.sampling.sampler import Sampler, Stream, blocks_of
from epsball.smoothing.statistics.boundary import Boundary
from epsball.smoothing.statistics.procedures import BLOCK, Fixed, Staged
from epsball.smoothing.statistics.sequential import Sequential, Ville

CAP, FIXED, SELECTION = 131_072, 100_096, 100  # 100,096: the first whole block above 100,000
PROCEDURES = {
    "sequential": Sequential(cap=CAP),
    "sequential, gives up sooner": Sequential(cap=CAP, give_up=0.5),
    "ville": Ville(cap=CAP),
    "staged": Staged(),
    "fixed": Fixed(FIXED),
}


def mnist(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Pictures (N, 1, 28, 28) in [0, 1] and labels."""
    images = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:]
    x = torch.from_numpy(np.frombuffer(images, dtype=np.uint8).copy()).view(-1, 1, 28, 28).float() / 255
    return x, torch.from_numpy(np.frombuffer(labels, dtype=np.uint8).astype(np.int64))


def train(x: Tensor, y: Tensor, sigma: float, epochs: int) -> nn.Module:
    """Gaussian augmentation: cross-entropy of one noisy copy, Adam with a linear decay."""
    module = small_conv().train()
    steps = epochs * (len(x) // 128)
    optimiser = torch.optim.Adam(module.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: 1 - k / steps)
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(128)[: len(x) // 128]:
            loss = nn.functional.cross_entropy(module(x[index] + sigma * torch.randn(128, 1, 28, 28)), y[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return module.eval()


def draw(module: nn.Module, x: Tensor, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """The selected class of each image (N,), and its hits in each block (N, 1024)."""
    sampler = Sampler(module, Gaussian(sigma), 10, 256, 0, (1, 28, 28), x.device, x.dtype)
    selected, hits = np.zeros(len(x), dtype=np.int64), np.zeros((len(x), CAP // BLOCK), dtype=np.int16)
    for k, image in enumerate(x):
        first = int(sampler.count(list(blocks_of(image, k, Stream.SELECTION, 0, SELECTION)))[0, :-1].argmax())
        blocks = list(blocks_of(image, k, Stream.ESTIMATION, 0, CAP))
        counts = [sampler.count(blocks[i : i + 2])[:, first] for i in range(0, len(blocks), 2)]
        selected[k], hits[k] = first, np.concatenate(counts)
    return selected, hits


def replay(boundary: Boundary, hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each stream is certified, and its samples with the selection."""
    seen = np.cumsum(hits, axis=1, dtype=np.int64)
    found = [boundary.replay(row[boundary.looks // BLOCK - 1]) for row in seen]
    return np.array([d == "certify" for d, _ in found]), np.array([n + SELECTION for _, n in found])


def compare(sigma: float, labels: np.ndarray, selected: np.ndarray, hits: np.ndarray) -> None:
    for multiple in (1, 2, 3):
        p = Gaussian(sigma).needed(multiple * sigma, (1, 28, 28))
        row: dict = {"sigma": sigma, "radius": multiple * sigma, "images": len(labels)}
        for name, procedure in PROCEDURES.items():
            certified, samples = replay(procedure.at(p, 0.001).boundary, hits)
            row[name] = {
                "certified": int((certified & (selected == labels)).sum()),
                "samples": round(float(samples.mean()), 1),
                "fewer": round((100_000 + SELECTION) / float(samples.mean()), 1),
                "median": int(np.median(samples)),
                "half_by": int((np.sort(samples)[::-1].cumsum() < samples.sum() / 2).sum()) + 1,  # images that take half of all
            }
        print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--sigma", default="0.25,0.5,1")
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    options.store.mkdir(parents=True, exist_ok=True)
    x, y = mnist(options.data, "t10k")
    x, y = x[:: options.every], y[:: options.every]
    for sigma in map(float, options.sigma.split(",")):
        path = options.store / f"mnist-{sigma}-every-{options.every}.npz"
        if not path.exists():
            start = time.process_time()
            module = train(*mnist(options.data, "train"), sigma, options.epochs)
            torch.save(module.state_dict(), path.with_suffix(".pt"))
            selected, hits = draw(module, x, sigma)
            np.savez_compressed(path, selected=selected, hits=hits)
            print(json.dumps({"sigma": sigma, "drawn_in_cpu_seconds": round(time.process_time() - start)}), flush=True)
        stored = np.load(path)
        compare(sigma, y.numpy(), stored["selected"], stored["hits"])


if __name__ == "__main__":
    main()
