"""A vision transformer of the verification competition, read from its ONNX file: bounds hold, and linear ones prove something."""

from __future__ import annotations

import pytest
import torch
from benchmarks.vit import read_box

import epsball
from epsball.attacks.pgd import PGD
from epsball.bounding.base import bounders
from epsball.spec.property import robust
from epsball.spec.sets import Box


@pytest.mark.shared
def test_bounds_of_a_trained_vision_transformer_hold_and_prove(shared):
    folder = shared / "vnncomp/vit_2023"
    net = epsball.load(folder / "onnx/pgd_2_3_16.onnx.gz")
    box, label = read_box(folder / "vnnlib/pgd_2_3_16_7047.vnnlib.gz", net.input_shape)
    prop = robust(torch.tensor([label]), net.classes, torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        least = torch.stack([prop.margins(net.module(box.sample(generator))) for _ in range(50)]).amin(0)
    attacked = PGD()(net.module, box, prop, generator)
    bounds = {}
    with torch.no_grad():
        for name in ("ibp", "crown-ibp", "crown"):
            bounds[name] = bounders[name]()(net.prepare(), box, prop.rows())
            assert bool((bounds[name] <= least + 1e-4).all()), name
            assert float(bounds[name].min()) <= float(attacked.margin), name
    assert float(bounds["crown"].min()) > 0.1  # the label is proven
    assert bool((bounds["crown"] > bounds["crown-ibp"]).all())
    assert bool((bounds["crown-ibp"] > bounds["ibp"]).all())
    exact, small = net.prepare(torch.float64), Box(box.x.double(), 1e-9)
    with torch.no_grad():  # intervals grow fifty million times on the way, so they prove something on tiny boxes only
        assert float(bounders["ibp"]()(exact, small, robust(torch.tensor([label]), net.classes, torch.float64).rows()).min()) > 0
