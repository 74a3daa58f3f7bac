"""Train a small network on scikit-learn's digits so that it can be certified, and hold its two accuracies side by side.

python examples/train_and_certify.py [EPOCHS]
"""

from __future__ import annotations

import sys

import torch
from torch import nn

import epsball


def main(epochs: int = 60, eps: float = 0.05) -> None:
    """Print attacked and verified accuracy on 200 test pictures, for plain and for certified training."""
    data = epsball.load_data("digits")
    x, y = data.test.inputs(slice(0, 200)), data.test.y[:200]
    for recipe in ("standard", "fast-ibp"):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
        net = epsball.train(module, data, recipe=recipe, eps=eps, epochs=epochs)
        survived = ~epsball.attack(net, x, y, eps=eps).success
        verified = [verdict.status == "verified" for verdict in epsball.verify(net, x, y, eps=eps)]
        print(f"{recipe}: verified {sum(verified) / len(verified):.3f} <= attacked {float(survived.double().mean()):.3f}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
