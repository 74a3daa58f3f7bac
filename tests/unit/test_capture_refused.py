"""What capture refuses by name: casts, half precision, autocast, and noise in the forward pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from epsball.errors import BadCapture, UnsupportedOp
from epsball.ops.network import Network


class Layered(nn.Module):
    """A linear layer, then whatever a case does to its result."""

    def __init__(self, then):
        super().__init__()
        self.linear, self.last, self.then = nn.Linear(4, 3), nn.Linear(3, 2), then

    def forward(self, x):
        return self.last(torch.relu(self.then(self.linear(x))).to(x.dtype))


def _autocast(h):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.relu(h @ torch.eye(3))


CASTS = {
    "float inside float64": (torch.float64, lambda h: h.float(), "float32"),
    "and back": (torch.float64, lambda h: h.float().double(), "float32"),
    "half and back": (torch.float32, lambda h: h.half().float(), "float16"),
    "bfloat16": (torch.float32, lambda h: h.bfloat16().float(), "bfloat16"),
    "wider": (torch.float32, lambda h: h.double(), "float64"),
    "by type_as": (torch.float64, lambda h: h.type_as(torch.zeros(1)), "float32"),
    "by promotion": (torch.float32, lambda h: h + torch.zeros(3, dtype=torch.float64), "float64"),
    "inside softmax": (torch.float64, lambda h: h.softmax(-1, dtype=torch.float32), "float32"),
    "inside a sum": (torch.float32, lambda h: h + h.sum(1, keepdim=True, dtype=torch.float64), "float64"),
    "integers": (torch.float32, lambda h: h.long().float(), "int64"),
    "bool": (torch.float32, lambda h: h.bool().float(), "bool"),
    "autocast": (torch.float32, _autocast, "bfloat16"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASTS)
def test_a_cast_is_refused_by_name_and_line(name):
    dtype, then, found = CASTS[name]
    with pytest.raises(UnsupportedOp, match=found) as raised:
        Network.capture(Layered(then).to(dtype), (4,))
    assert f"{__file__}:" in raised.value.where


@pytest.mark.slow
@pytest.mark.parametrize("then", [lambda h: h.to(h.dtype), lambda h: h.clone().to("cpu"), lambda h: h * torch.tensor(0.5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_casts_nothing_is_captured(then, dtype):
    assert Network.capture(Layered(then).to(dtype), (4,)).graph.output_shape == (2,)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_named(dtype):
    with pytest.raises(UnsupportedOp, match=str(dtype).removeprefix("torch.")):
        Network.capture(Layered(torch.abs).to(dtype), (4,))


def test_autocast_around_the_capture_is_named():
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(BadCapture, match="autocast"):
        Network.capture(Layered(torch.abs), (4,))


NOISE = {
    "dropout": (lambda h: F.dropout(h, 0.1), "native_dropout"),
    "constant": (lambda h: h + 1e-9 * torch.randn(3), "randn"),
    "like": (lambda h: h + 1e-9 * torch.randn_like(h), "randn_like"),
    "uniform": (lambda h: h * (1 + 1e-9 * torch.rand(3)), "rand"),
    "choice": (lambda h: h + 1e-9 * torch.bernoulli(torch.full((3,), 0.5)), "bernoulli"),
    "in place": (lambda h: h + 1e-9 * torch.empty(3).normal_(), "normal"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NOISE)
def test_noise_in_the_forward_pass_is_named(name):
    then, op = NOISE[name]
    torch.manual_seed(0)
    with pytest.raises(BadCapture, match="noise in its forward pass") as raised:
        Network.capture(Layered(then), (4,))
    if name != "dropout":  # large enough to be seen by running it twice
        assert op in raised.value.what
        assert __file__ in raised.value.where


def test_noise_that_torch_cannot_name_is_seen_by_running_twice():
    source = iter(range(10**6))
    with pytest.raises(BadCapture, match="noise in its forward pass"):
        Network.capture(Layered(lambda h: h + 1e-4 * next(source)), (4,))


class Cancelling(nn.Module):
    """Hidden values of 2^24 that cancel: in float32 what is left is rounding, and depends on the order of sums."""

    def __init__(self, *, lies: bool):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.lies = lies
        self.into = nn.Parameter(2.0**24 * torch.randn(6, 3000, generator=generator))
        self.out = nn.Parameter(torch.randn(3000, 2, generator=generator))

    def forward(self, x):
        h = (x @ self.into) @ self.out - (x @ (self.into @ self.out))
        return h + x[:, :2] + (1e6 if self.lies and not torch.compiler.is_exporting() else 0.0)


class OnlyInFloat32(nn.Module):
    """Another function in float32 than in float64, and not one that rounding makes."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 2)

    def forward(self, x):
        return self.linear(x) + (1.0 if x.dtype == torch.float32 and not torch.compiler.is_exporting() else 0.0)


def test_rounding_alone_is_no_difference_and_another_function_is_one_in_any_precision():
    x = torch.rand(3, 6, generator=torch.Generator().manual_seed(1))
    honest = Cancelling(lies=False)
    with torch.no_grad():
        noise = (honest(x).double() - honest.double()(x.double())).abs().max()
    assert float(noise) > 10  # far above what the check in float32 allows
    Network.capture(Cancelling(lies=False), (6,))
    with pytest.raises(BadCapture, match="captured graph"):
        Network.capture(Cancelling(lies=True), (6,))
    with pytest.raises(BadCapture, match="captured graph"):
        Network.capture(OnlyInFloat32(), (6,))
