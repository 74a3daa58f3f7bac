"""The certified network of Wong and Kolter (arXiv:1711.00851), against Fast-Lin written out in dense matrices."""

from __future__ import annotations

import gzip
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from epsball.bounding.ibp import Ibp
from epsball.bounding.linear.crown import Crown
from epsball.ops.network import Network
from epsball.problem.property import robust
from epsball.problem.sets import LpBall

EPS = 0.1
COUNT = 200
CHUNK = 2**25
CLEAN_ERRORS = 1
CERTIFIED_ERRORS = 8
UNION_ERRORS = 7  # misclassified ones included


@pytest.fixture(scope="module")
def module(shared) -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    path = shared / "data/models/wong-kolter-certified/mnist.pth"
    net.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return net.eval()


@pytest.fixture(scope="module")
def data(shared) -> tuple[torch.Tensor, torch.Tensor]:
    raw = shared / "data/MNIST/raw"
    images = np.frombuffer(gzip.decompress((raw / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((raw / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    x = torch.tensor(images.reshape(-1, 1, 28, 28)[:COUNT]).float() / 255
    return x, torch.tensor(labels[:COUNT].astype(np.int64))


def _dense(module: nn.Sequential) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each affine layer as a matrix and a bias, in float64: the images of the unit vectors."""
    layers, shape = [], (1, 28, 28)
    for layer in deepcopy(module).double():
        size = int(np.prod(shape))
        if isinstance(layer, nn.Flatten):
            shape = (size,)
        elif not isinstance(layer, nn.ReLU):
            with torch.no_grad():
                zero = layer(torch.zeros(1, *shape, dtype=torch.float64))
                unit = torch.eye(size, dtype=torch.float64).view(size, *shape)
                layers.append(((layer(unit) - zero).flatten(1).T.contiguous(), zero.flatten()))
            shape = tuple(zero.shape[1:])
    return layers


def _fast_lin(layers, x: torch.Tensor, C: torch.Tensor) -> torch.Tensor:
    """Lower bounds of C y over the uncut ball (Weng et al. 2018, arXiv:1804.09699, Sec. 3.3), nothing shared with the package."""
    slopes: list[torch.Tensor] = []
    lowers: list[torch.Tensor] = []
    for depth in range(len(layers)):
        weight, bias = layers[depth]
        last = depth == len(layers) - 1
        a, low, high = (C @ weight, C @ bias, C @ bias) if last else (weight, bias, bias)
        for before in reversed(range(depth)):
            lift = -slopes[before] * lowers[before] * (lowers[before] < 0)  # the chord's height above its parallel
            low, high = low + a.clamp(max=0) @ lift, high + a.clamp(min=0) @ lift
            a = a * slopes[before]
            low, high = low + a @ layers[before][1], high + a @ layers[before][1]
            a = a @ layers[before][0]
        centre, radius = a @ x, EPS * a.abs().sum(1)
        low, high = low + centre - radius, high + centre + radius
        slopes.append(torch.where(low >= 0, 1.0, torch.where(high <= 0, 0.0, high / (high - low).clamp(min=1e-300))))
        lowers.append(low)
    return lowers[-1]


@pytest.mark.shared
def test_certified_errors_of_the_first_200_images(module, data):
    x, y = data
    with torch.no_grad():
        right = module(x).argmax(1) == y
    assert int((~right).sum()) == CLEAN_ERRORS
    network = Network.capture(module, (1, 28, 28)).prepare(covers="nothing")  # the published count is of real numbers
    prop = robust(y, 10)

    def margins(method, index, clip):
        with torch.no_grad():
            parts = [method(network, LpBall(x[i], EPS, clip=clip), prop.take(i).rows()).amin(0) for i in index.split(8)]
        return torch.cat(parts)

    index = right.nonzero()[:, 0]
    uncut = margins(Crown(slope="same", intermediate="crown", chunk_bytes=CHUNK), index, None)

    layers = _dense(module)
    decisive = torch.cat((uncut.abs().argsort()[:8], torch.arange(4)))  # those nearest to 0 decide the count
    for i in decisive.tolist():
        image, row = x[index[i]].flatten().double(), prop.C[:, index[i]].double()
        assert float(uncut[i]) == pytest.approx(float(_fast_lin(layers, image, row).min()), rel=1e-4, abs=1e-4)
    certified = int((uncut > 1e-5).sum())
    assert COUNT - certified == CERTIFIED_ERRORS

    open_ = index[uncut <= 1e-5]
    tighter = [Ibp(), Crown(chunk_bytes=CHUNK), Crown(slope="same", chunk_bytes=CHUNK)]
    union = torch.stack([margins(method, open_, (0.0, 1.0)) for method in tighter]).amax(0)
    assert bool((union >= uncut[uncut <= 1e-5] - 1e-4).all())
    assert COUNT - certified - int((union > 1e-5).sum()) == UNION_ERRORS
