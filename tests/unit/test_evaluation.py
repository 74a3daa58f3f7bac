"""One evaluation mode: every submodule's mode comes back, and buffers where that is asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from epsball.evaluation import evaluate, evaluation_mode


def _mixed():
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()).train()
    net[1].eval()
    return net


@pytest.mark.parametrize("restore", [False, True])
def test_each_submodule_gets_its_own_mode_back_also_after_an_error(restore):
    net = _mixed()
    with pytest.raises(ZeroDivisionError), evaluation_mode(net, restore=restore):
        _ = 1 / any(m.training for m in net.modules())
    assert [m.training for m in net.modules()] == [True, True, False]


@pytest.mark.parametrize("restore", [False, True])
def test_buffers_and_flags_come_back_where_that_is_asked_for(restore):
    net = _mixed()
    with evaluation_mode(net, restore=restore):
        assert net[0].weight.requires_grad is not restore
        net[0].running_mean.fill_(7.0)
    assert net[0].weight.requires_grad
    assert torch.equal(net[0].running_mean, torch.full((2,), 0.0 if restore else 7.0))


def test_layers_behind_an_exported_program_are_evaluated_too() -> None:
    """Its `eval` raises, and with it `Module.eval` of whatever it stands in."""
    batch = ({0: torch.export.Dim.AUTO},)
    exported = torch.export.export(nn.Sequential(nn.Linear(4, 4)).eval(), (torch.rand(2, 4),), dynamic_shapes=batch).module()
    module = nn.Sequential(exported, nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    with evaluation_mode(module):
        assert not any(part.training for part in module.modules())
        x = torch.rand(3, 4)
        assert torch.allclose(module(x)[:2], module(x[:2]))  # batch statistics and noise would move it
    assert module[1].training
    evaluate(module)
    assert not module[1].training
