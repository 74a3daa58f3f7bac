"""A ResNet-50 at 224 pixels, by intervals: bounds hold, within about the memory of its weights and one forward pass."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

_CHILD = """
import resource
import torch
from torch import nn
from epsball.bounding.ibp import Ibp
from epsball.graph.network import Network
from epsball.spec.property import robust
from epsball.spec.sets import LpBall


class Bottleneck(nn.Module):
    def __init__(self, before, width, stride):
        super().__init__()
        after = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, after, 1, bias=False), nn.BatchNorm2d(after),
        )
        self.short = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        if before == after and stride == 1:
            self.short = nn.Identity()

    def forward(self, x):
        return torch.relu(0.2 * self.body(x) + self.short(x))


torch.manual_seed(0)
torch.set_num_threads(1)
layers, width = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
for planes, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
    for i in range(blocks):
        layers.append(Bottleneck(width, planes, stride if i == 0 else 1))
        width = 4 * planes
module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000)).eval()
network = Network.capture(module, (3, 224, 224))
x = torch.rand(1, 3, 224, 224)
with torch.no_grad():
    y = module(x).argmax(1)
    prop, ball, prepared = robust(y, 1000), LpBall(x, 1e-5), network.prepare()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bound = Ibp()(prepared, ball, prop.rows())
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    generator = torch.Generator().manual_seed(1)
    gap = min(float((prop.margins(module(ball.sample(generator))) - bound).min()) for _ in range(3))
print(len(bound), bool(torch.isfinite(bound).all()), gap, grown)
"""


def test_intervals_of_a_resnet_50_hold_in_the_memory_of_a_forward_pass():
    src = Path(__file__).resolve().parents[2] / "src"
    result = subprocess.run(
        [sys.executable, "-c", _CHILD], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(src)}
    )
    rows, finite, gap, grown = result.stdout.split()
    assert (rows, finite) == ("999", "True")
    assert -1e-3 <= float(gap) < math.inf
    assert float(grown) < 400  # MiB beyond what capture and a forward pass took; the weights alone are 100
