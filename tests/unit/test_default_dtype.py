"""No number of a bound takes torch's default dtype: what is meant in float64 would be rounded to float32 under way."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.overrides import TorchFunctionMode

import epsball
import zoo
from epsball.bounding.base import bounders
from epsball.bounding.linear.alpha import AlphaCrown, AlphaCrownAll
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.problem.sets import Box
from epsball.verification.programs.multi_neuron import MultiNeuron
from epsball.verification.programs.triangle import TriangleLp
from epsball.verification.semidefinite.verifier import Sdp

ROOT = Path(epsball.__file__).parent
PLACES = ("bounding", "verification", "problem", "ops", "graph", "smoothing", "forms")
MAKERS = {
    "tensor", "scalar_tensor", "full", "zeros", "ones", "empty", "linspace", "logspace", "eye", "rand", "randn", "normal",
    "Tensor", "FloatTensor",
}  # fmt: skip


def _is_number(node: ast.expr, names: dict[str, ast.expr]) -> bool:
    """Whether an expression is a Python number, as far as its text says."""
    match node:
        case ast.UnaryOp(operand=inner):
            return _is_number(inner, names)
        case ast.BinOp(left=left, right=right):
            return _is_number(left, names) and _is_number(right, names)
        case ast.IfExp(body=one, orelse=other):
            return _is_number(one, names) or _is_number(other, names)
        case ast.Name(id=name) if name in names:
            return _is_number(names[name], {k: v for k, v in names.items() if k != name})
    match node:
        case ast.Constant(value=int() | float()) | ast.Attribute(value=ast.Name(id="math")) | ast.Call(func=ast.Name(id="float")):
            return True
    return False


def findings(text: str) -> list[int]:
    """Lines on which a tensor is made in the default dtype, or may be."""
    tree, found = ast.parse(text), []
    names = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr=attr), args=args, keywords=keywords):
                if any(k.arg == "dtype" for k in keywords):
                    continue
                floats = attr == "arange" and any(isinstance(n, ast.Div) or _is_float(n) for a in args for n in ast.walk(a))
                two = attr == "where" and len(args) == 3 and all(_is_number(a, names) for a in args[1:])
                if attr in MAKERS or floats or two:
                    found.append(node.lineno)
    return sorted(found)


def _is_float(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, float)


@pytest.mark.slow
def test_no_tensor_takes_the_default_dtype():
    files = [f for place in PLACES for f in ([ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py")))]
    assert len(files) > 80
    found = [f"{f.relative_to(ROOT)}:{line}" for f in files for line in findings(f.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    "bad",
    [
        "torch.where(m, 1.0, 0.0)", "torch.where(m, -math.inf, 2)", "leak = a if b else 0.0\ntorch.where(m, leak, 1.0)",
        "torch.tensor([x])", "torch.full((2, 3), 0.5)", "torch.zeros(3, device=d)", "torch.linspace(0, 1, 5)", "torch.eye(3)",
        "torch.rand(2, generator=g)", "torch.arange(0, n / 2)", "torch.arange(0.0, n)", "torch.Tensor([1.0])",
    ],
)  # fmt: skip
def test_the_lint_sees(bad):
    assert findings(bad)


@pytest.mark.parametrize(
    "good",
    [
        "torch.where(m, 1.0, x)", "torch.full_like(x, 0.5)", "x.new_zeros(3)", "torch.arange(n)", "torch.zeros(3, dtype=x.dtype)",
        "leak = x.amax()\ntorch.where(m, leak, 1.0)",
    ],
)  # fmt: skip
def test_the_lint_lets_pass(good):
    assert findings(good) == []


@contextlib.contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@dataclasses.dataclass
class Watched(TorchFunctionMode):
    """While a bound in one dtype runs, wherever its code stands: no choice between two Python numbers, and nothing narrower."""

    dtype: torch.dtype

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.where and len(args) == 3:
            assert any(isinstance(a, torch.Tensor) for a in args[1:]), "torch.where of two Python numbers"
        made = func(*args, **(kwargs or {}))
        if self.dtype == torch.float64 and isinstance(made, torch.Tensor):
            assert made.dtype != torch.float32, f"{func} makes float32"
        return made


METHODS = {name: method() for name, method in bounders.items()} | {"lp": TriangleLp(), "multi-neuron": MultiNeuron()}
METHODS |= {"alpha-crown": AlphaCrown(steps=3), "alpha-crown-all": AlphaCrownAll(steps=2)}
NETWORKS = ("conv", "shapes", "gated", "divided", "softplus")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_bound_has_the_same_bits_under_both_defaults(name, dtype):
    network = Network.capture(*zoo.build(name, 1, dtype)).prepare()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, *network.plan.graph.input_shape, generator=generator, dtype=dtype)
    rows = Rows(torch.randn(2, 2, network.plan.graph.output_shape[0], generator=generator, dtype=dtype))
    for key, method in METHODS.items():
        if key == "dual" and name != "conv":  # for ReLU alone
            continue
        found = []
        for default in (torch.float32, torch.float64):
            with _default(default), Watched(dtype), torch.no_grad():
                found.append(method(network, Box(x, 0.02), rows))
        assert found[0].dtype == found[1].dtype == dtype, key
        assert torch.equal(found[0], found[1]), key


@pytest.mark.slow
@pytest.mark.parametrize("leak", [0.0, 0.1])
def test_the_semidefinite_bound_has_the_same_bits_under_both_defaults(leak):
    torch.manual_seed(0)
    activation = torch.nn.LeakyReLU(leak)
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 6), activation, torch.nn.Linear(6, 6), activation, torch.nn.Linear(6, 2)
    ).double()
    network, x = Network.capture(module, (3,)).prepare(), torch.rand(1, 3, dtype=torch.float64)
    rows = Rows(torch.tensor([[[1.0, -1.0]]], dtype=torch.float64))
    found = []
    for default in (torch.float32, torch.float64):
        with _default(default), Watched(torch.float64):
            found.append(Sdp()(network, Box(x, 0.5), rows))
    assert torch.equal(found[0], found[1])
