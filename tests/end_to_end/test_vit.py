"""Vision transformers of the verification competition, read from their ONNX files: bounds hold, and linear ones prove something."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks.vit import read_box

import epsball
from epsball.attacks.pgd import PGD
from epsball.bounding.base import bounders
from epsball.ops.network import Network
from epsball.problem.property import Property, robust
from epsball.problem.sets import Box


def _question(shared: Path, network: str, prop: str) -> tuple[Network, Box, Property]:
    folder = shared / "vnncomp/vit_2023"
    net = epsball.load(folder / f"onnx/{network}.onnx.gz")
    box, label = read_box(folder / f"vnnlib/{network}_{prop}.vnnlib.gz", net.input_shape)
    return net, box, robust(torch.tensor([label]), net.classes, torch.float32)


def _held(net: Network, box: Box, prop: Property, methods: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Bounds of the margins, none above what a point of the box or PGD reaches."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        least = torch.stack([prop.margins(net.module(box.sample(generator))) for _ in range(50)]).amin(0)
    attacked = PGD()(net.module, box, prop, generator)
    bounds = {}
    with torch.no_grad():
        for name in methods:
            bounds[name] = bounders[name]()(net.prepare(), box, prop.rows())
            assert bool((bounds[name] <= least + 1e-4).all()), name
            assert float(bounds[name].min()) <= float(attacked.margin), name
    return bounds


@pytest.mark.shared
def test_bounds_of_a_trained_vision_transformer_hold_and_prove(shared):
    net, box, prop = _question(shared, "pgd_2_3_16", "7047")
    bounds = _held(net, box, prop, ("ibp", "crown-ibp", "crown"))
    assert float(bounds["crown"].min()) > 0.1  # the label is proven
    assert bool((bounds["crown"] > bounds["crown-ibp"]).all())
    assert bool((bounds["crown-ibp"] > bounds["ibp"]).all())
    _tiny(net, box, prop)


@pytest.mark.shared
def test_intervals_of_the_other_vision_transformer_hold(shared):
    """One block more, and more tokens: CROWN takes 16 s here, and proves none of its first 20 (benchmarks/vit.py)."""
    net, box, prop = _question(shared, "ibp_3_3_8", "9119")
    bounds = _held(net, box, prop, ("ibp", "crown-ibp"))
    assert bool((bounds["crown-ibp"] > bounds["ibp"]).all())
    _tiny(net, box, prop)


def _tiny(net: Network, box: Box, prop: Property) -> None:
    """Intervals grow fifty million times on the way, and so would float32: in real numbers they prove something on tiny boxes."""
    exact, small = net.prepare(torch.float64, covers="real"), Box(box.x.double(), 1e-9)
    with torch.no_grad():
        assert float(bounders["ibp"]()(exact, small, prop.to(torch.float64).rows()).min()) > 0
