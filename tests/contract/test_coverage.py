"""What `list ops` says that a method covers is what it bounds, and what it says it does not is refused by name."""

from __future__ import annotations

import pytest
import torch

import zoo
from epsball.errors import UnsupportedOp
from epsball.ops.operator import operators
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import robust
from epsball.problem.sets import LpBall
from epsball.verification.base import verifiers
from epsball.verification.coverage import coverage, kinds
from epsball.verification.rungs import named_steps

SMALL = ("mlp", "leaky", "sigmoid", "tanh", "conv_uneven", "max_pool_last")


def test_every_operator_has_an_answer_for_every_method():
    found = coverage()
    assert list(found) == list(operators)
    assert all(tuple(methods) == named_steps() for methods in found.values())
    assert {name for name, methods in found.items() if methods["sdp"] == "affine"} == {"mul", "matmul"}
    assert found["relu"]["sdp"] == found["conv"]["sdp"] == "yes"
    assert found["sigmoid"]["sdp"] == found["max_pool2d"]["sdp"] == found["softmax"]["sdp"] == "no"
    assert {value for methods in found.values() for key, value in methods.items() if key != "sdp"} == {"yes"}


@pytest.mark.parametrize("name", ["mlp", "leaky", "conv", "max_pool_last", "sigmoid", "residual"])
def test_operators_are_of_the_kinds_that_are_declared(name):
    for step in zoo.network(name).prepare().steps:
        if step.node.op in operators:
            assert isinstance(step.op, kinds(step.node.op)), step.node.op


@pytest.mark.parametrize("method", ["lp", "multi-neuron", "sdp"])
@pytest.mark.parametrize("name", SMALL)
def test_a_method_bounds_what_it_covers_and_refuses_the_rest_by_name(name, method):
    network, verifier = zoo.network(name), verifiers[method]()
    x = torch.full((1, *network.input_shape), 0.4, dtype=torch.float64)
    label = network.module(x).argmin(1)  # nothing cheaper proves it
    problem = Problem(network.prepare(), LpBall(x, 0.3), robust(label, network.classes, torch.float64))
    covered = all(verifier.covers(type(step.op)) for step in problem.network.steps)
    if covered:
        (verdict,) = verifier(problem, Budget(seconds=1.0))
        assert verdict.status != "error", verdict.note
    else:
        with pytest.raises(UnsupportedOp):
            verifier(problem, Budget(seconds=1.0))
