"""The precision that a network computes in, where its parameters do not say it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import epsball
from epsball.ops.network import Network


class Unused(nn.Module):
    """Its only parameter feeds nothing that is read."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1, dtype=torch.float64)

    def forward(self, x):
        self.layer(x)
        return torch.stack((x.cos()[:, 0], x[:, 1]), 1)


class Bare(nn.Module):
    def forward(self, x):
        z = x[:, 0] * x[:, 1]
        return torch.stack((0.3 - z, 0 * z), 1)


@pytest.mark.slow
def test_a_parameter_that_nothing_reads_says_the_precision():
    assert Network.capture(Unused(), (4,)).prepare().dtype == torch.float64


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_say_the_precision_of_a_module_without_parameters(dtype):
    x = torch.full((1, 2), 0.25, dtype=dtype)
    (verdict,) = epsball.verify(Bare(), x, torch.tensor([0]), eps=0.1)
    assert verdict.status == "verified"
    assert verdict.arithmetic.startswith(str(dtype).removeprefix("torch."))
    assert epsball.bounds(Bare(), epsball.Box(x, 0.1), method="crown").lower.dtype == dtype
