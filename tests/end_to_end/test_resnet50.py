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
from benchmarks.resnets import resnet50
from epsball.bounding.ibp import Ibp
from epsball.ops.network import Network
from epsball.problem.property import robust
from epsball.problem.sets import LpBall

torch.set_num_threads(1)
module = resnet50()
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
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join((str(root), str(root / "src")))
    result = subprocess.run(
        [sys.executable, "-c", _CHILD], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    rows, finite, gap, grown = result.stdout.split()
    assert (rows, finite) == ("999", "True")
    assert -1e-3 <= float(gap) < math.inf
    assert float(grown) < 400  # MiB beyond what capture and a forward pass took; the weights alone are 100
