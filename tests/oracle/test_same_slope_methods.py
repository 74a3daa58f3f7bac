"""Three methods that are one bound, on the certified network of Wong and Kolter: their dual, same-slope CROWN, the zonotope.

Each walks its own way (backward from every neuron; the dual's recursion; forward, a column an input), so rounding is all that may
tell them apart: 2.4e-6 of the margin in float32 and 1.3e-14 in float64 on the images 0, 1, 2, 8 and 73 when this was written.
"""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch
from torch import nn

from epsball.bounding.affine.zonotope import Zonotope
from epsball.bounding.linear.crown import Crown
from epsball.bounding.linear.dual import WongKolter
from epsball.ops.network import Network
from epsball.problem.property import robust
from epsball.problem.sets import LpBall

EPS = 0.1
IMAGES = [0, 8]  # one that all three prove and one that none does


@pytest.mark.shared
@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_dual_same_slope_crown_and_zonotope_agree(shared, dtype, within):
    module = nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    path = shared / "data/models/wong-kolter-certified/mnist.pth"
    module.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    raw = shared / "data/MNIST/raw"
    images = np.frombuffer(gzip.decompress((raw / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((raw / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    x = torch.tensor(images.reshape(-1, 1, 28, 28)[IMAGES], dtype=dtype) / 255
    y = torch.tensor(labels[IMAGES].astype(np.int64))

    # equal in real numbers: each loses to rounding in its own way
    network = Network.capture(module.eval(), (1, 28, 28)).prepare(dtype, covers="nothing")
    uncut, rows = LpBall(x, EPS), robust(y, 10, dtype).rows()
    with torch.no_grad():
        crown, dual, zonotope = (
            method(network, uncut, rows) for method in (Crown(slope="same", intermediate="crown"), WongKolter(), Zonotope())
        )
    assert bool((crown[:, 0] > 0).all())
    assert float(crown[:, 1].min()) < 0
    for other in (crown, zonotope):
        torch.testing.assert_close(other, dual, rtol=within, atol=0)
