"""Capture: live parameters, untouched modes, and errors that name the user's line."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from epsball.bounding.ibp import Ibp
from epsball.errors import BadCapture, BadData, BadShape, UnsupportedOp
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.problem.sets import Box


@pytest.mark.slow
def test_parameters_stay_live():
    module, shape = zoo.build("conv")
    network = Network.capture(module, shape)
    assert network.params()["0.weight"] is module[0].weight
    module.double()
    assert network.prepare().dtype == torch.float64


@pytest.mark.slow
def test_mode_gradients_and_random_state_are_left_alone():
    module, shape = zoo.build("conv")
    module.train()
    module[1].eval()
    state = torch.get_rng_state()
    buffers = {k: v.clone() for k, v in module.state_dict().items()}
    Network.capture(module, shape)
    assert module.training
    assert not module[1].training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, buffers[k]) for k, v in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_wrapped_modules_are_unwrapped():
    module, shape = zoo.build("mlp")
    network = Network.capture(nn.DataParallel(module), shape)
    assert network.module is module


@pytest.mark.slow
def test_operator_names_of_a_residual_network_are_golden():
    module, shape = zoo.build("residual")
    assert Network.capture(module, shape).graph.operators() == (
        "conv", "relu", "conv", "batch_norm", "add", "relu", "conv", "mul", "sub", "adaptive_avg_pool2d", "reshape", "linear",
    )  # fmt: skip


@pytest.mark.slow
def test_dropout_is_removed_and_remembered():
    network = Network.capture(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 2)), (3,))
    assert network.graph.operators() == ("linear", "linear")


class Mixes(nn.Module):
    def forward(self, x):
        return x - x.mean(0, keepdim=True)


class Freezes(nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[1], -1).T


class Erf(nn.Module):
    def forward(self, x):
        return torch.erfinv(x)


class Chosen(nn.Module):
    def forward(self, x):
        return torch.where(x > 0, x, 0.0)


class Detached(nn.Module):
    def forward(self, x):
        return torch.round(x)


class Batched(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3, track_running_stats=False)

    def forward(self, x):
        return self.norm(x)


@pytest.mark.slow
@pytest.mark.parametrize("module", [Mixes(), Freezes(), Batched()], ids=lambda m: type(m).__name__)
def test_a_network_that_mixes_its_batch_is_refused(module):
    with pytest.raises(BadCapture, match=r"batch"):
        Network.capture(module, (3,))


NEAREST = [
    (Erf(), "erfinv", "did you mean 'erf'"),
    (Chosen(), "gt", "use relu, clamp"),
    (Detached(), "round", "use the value itself"),
]


@pytest.mark.parametrize(("module", "name", "nearest"), NEAREST)
def test_an_operator_without_a_rule_names_the_line_and_the_nearest_form(module, name, nearest):
    network = Network.capture(module, (3,))
    with pytest.raises(UnsupportedOp, match=name) as caught:
        Ibp()(network.prepare(), Box(torch.rand(2, 3), 0.1), Rows(torch.ones(1, 2, 3)))
    assert "test_capture.py:" in str(caught.value)
    assert nearest in caught.value.fix


def test_a_wrong_input_shape_is_one_error():
    with pytest.raises(BadShape, match="cannot be run on inputs of shape"):
        Network.capture(nn.Linear(3, 2), (4,))


def test_nan_weights_are_refused():
    module = nn.Linear(3, 2)
    with torch.no_grad():
        module.weight[0, 0] = float("nan")
    with pytest.raises(BadData, match="'weight' holds NaN"):
        Network.capture(module, (3,))
