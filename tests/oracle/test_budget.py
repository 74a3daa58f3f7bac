"""A memory budget: the same bounds in parts, a peak that stays below it, and one clear error where nothing fits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo
from epsball import Box, LpBall, bounds
from epsball.bounding.affine.zonotope import Zonotope
from epsball.bounding.base import bounders
from epsball.bounding.budget.cost import Facts, TooLarge
from epsball.bounding.budget.within import Within, estimate
from epsball.bounding.linear.alpha import AlphaCrown
from epsball.bounding.linear.crown import Crown
from epsball.errors import BadConfig
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.problem.problem import Budget
from epsball.problem.property import robust

TESTS = Path(__file__).resolve().parents[1]
METHODS = {name: method() for name, method in bounders.items()} | {
    "alpha-crown": AlphaCrown(steps=4),
    "crown-forward": Crown(intermediate="forward"),
    "alpha-crown-all": AlphaCrown(optimise="all", steps=4),
}


def _case(name: str, count: int = 3):
    network = zoo.network(name)
    x = torch.rand(count, *network.input_shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return network, x, robust(network.module(x).argmax(1), network.classes, torch.float64).rows()


@pytest.mark.parametrize("kind", ["linf", "l2"])
@pytest.mark.parametrize("name", ["conv", "residual", "gated"])
@pytest.mark.parametrize("method", METHODS)
def test_the_least_budget_gives_the_same_bounds(method, name, kind):
    network, x, rows = _case(name)
    prepared, ball = network.prepare(), LpBall(x, 0.05, kind, (0.0, 1.0))
    with torch.no_grad():
        whole = METHODS[method](prepared, ball, rows)
        least = estimate(prepared, ball, METHODS[method], rows=len(rows.values)).least
        got = _fitted(METHODS[method], least, prepared, ball, rows)
    torch.testing.assert_close(got, whole, rtol=1e-6, atol=1e-9)


def _fitted(method, size, *problem):
    """A zonotope counts its symbols on the way: a step without room says what it needs, and the next one may need more."""
    for _ in range(6):
        try:
            return Within(method, Budget(bytes=size))(*problem)
        except TooLarge as error:
            assert isinstance(method, Zonotope)
            size = 2 * error.bytes + size
    raise AssertionError("no budget fits")


def test_a_small_budget_bounds_few_samples_at_once():
    network, x, rows = _case("conv", 64)
    prepared, ball, seen = network.prepare(), Box(x, 0.05), []

    class Watched(Crown):
        def __call__(self, network, input_set, rows):
            seen.append((len(input_set.centre), self.chunk_bytes))
            return super().__call__(network, input_set, rows)

    least = estimate(prepared, ball, Watched()).least
    Within(Watched(), Budget(bytes=6 * least))(prepared, ball, rows)
    small = list(seen)
    seen.clear()
    Within(Watched())(prepared, ball, rows)
    assert seen == [(64, Crown().chunk_bytes)]
    assert sum(n for n, _ in small) == 64
    assert 1 < max(n for n, _ in small) < 16
    assert all(size < Crown().chunk_bytes for _, size in small)


@pytest.mark.parametrize("method", METHODS)
def test_a_budget_too_small_for_one_row_is_one_error_that_says_how_much_is_needed(method):
    network, x, rows = _case("conv")
    prepared, ball = network.prepare(), Box(x, 0.05)
    least = estimate(prepared, ball, METHODS[method], rows=len(rows.values)).least
    with pytest.raises(BadConfig, match=rf"too small for one row: \w+ needs {least} bytes") as caught:
        Within(METHODS[method], Budget(bytes=least - 1))(prepared, ball, rows)
    assert f"Budget(bytes={least})" in str(caught.value.fix)


def test_a_zonotope_that_grows_beyond_the_budget_is_cut_or_refused():
    """Symbols appear on the way: intervals undercount them where the zonotope's own intervals are wider."""
    network, x, rows = _case("conv", 4)
    prepared, ball = network.prepare(), Box(x, 0.3)
    whole, most = Zonotope()(prepared, ball, rows), 1
    for _ in range(20):  # what the largest step takes
        try:
            Zonotope(most=most)(prepared, ball, rows)
        except TooLarge as error:
            most = error.bytes
    calls = []

    class Counted(Zonotope):
        def __call__(self, network, input_set, rows):
            calls.append(len(input_set.centre))
            return super().__call__(network, input_set, rows)

    torch.testing.assert_close(Within(Counted(most=most // 2 + 64))(prepared, ball, rows), whole)
    assert calls[0] == 4
    assert max(calls[1:]) == 2
    with pytest.raises(TooLarge, match="an affine form needs"):
        Within(Zonotope(most=1))(prepared, ball, rows)


def test_many_rows_of_a_specification_are_taken_in_parts():
    network, x, _ = _case("conv", 3)
    prepared, ball = network.prepare(), Box(x, 0.05)
    rows = Rows(torch.randn(60, 3, network.classes, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    for method in (Crown(), Crown(intermediate="ibp"), AlphaCrown(steps=3), bounders["dual"](), bounders["ibp"]()):
        with torch.no_grad():
            small = Within(method, Budget(bytes=estimate(prepared, ball, method, rows=60).least))(prepared, ball, rows)
            torch.testing.assert_close(small, method(prepared, ball, rows), rtol=1e-6, atol=1e-9)


def test_an_estimate_grows_with_the_batch_and_counts_unstable_units():
    network, x, _ = _case("conv", 8)
    prepared = network.prepare()
    narrow, wide = (estimate(prepared, Box(x, eps), Crown()) for eps in (1e-6, 0.3))
    few = estimate(prepared, Box(x[:2], 0.3), Crown())
    assert narrow.rows < wide.rows
    assert few.rows * 4 == pytest.approx(wide.rows, rel=0.5)
    assert narrow.passes < wide.passes
    assert few.bytes < wide.bytes <= Budget().bytes
    assert "rows" in str(wide)
    # every unit that IBP leaves unstable is a pair of rows, and the specification comes on top
    unstable = Facts(prepared, Box(x, 0.3)).unstable
    assert wide.rows == pytest.approx(8 * (2 * sum(unstable.values()) + network.classes), rel=0.01)


def test_a_method_that_says_nothing_is_still_cut():
    network, x, rows = _case("conv", 6)
    seen = []

    def plain(network, input_set, rows):
        seen.append(len(input_set.centre))
        return Crown()(network, input_set, rows)

    prepared, ball = network.prepare(), Box(x, 0.05)
    torch.testing.assert_close(Within(plain, Budget(bytes=1))(prepared, ball, rows), Crown()(prepared, ball, rows))
    assert seen == [1] * 6


def test_the_public_function_takes_a_budget():
    network, x, _ = _case("conv", 4)
    whole, small = (bounds(network, Box(x, 0.05), "crown", Budget(bytes=size)) for size in (2**31, 2**17))
    torch.testing.assert_close(whole.lower, small.lower)
    with pytest.raises(BadConfig, match="too small for one row"):
        bounds(network, Box(x, 0.05), "crown", Budget(bytes=100))


@pytest.mark.parametrize(
    ("method", "eps", "size"),
    [("crown", 1e-6, 256), ("alpha-crown-ibp", 0.1, 256)],
)
def test_the_peak_on_cnn4_and_64_samples_stays_below_the_budget(method, eps, size):
    """Resident memory above the network, in a process of its own."""
    command = [sys.executable, str(TESTS / "memory_child.py"), "cnn4", "64", str(eps), method, str(size * 2**20)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=TESTS.parent, env=_environment())
    found = json.loads(done.stdout)
    assert found["peak"] <= size * 2**20
    assert found["estimate"] <= size * 2**20


def _environment() -> dict[str, str]:
    paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("name", ["unet", "gated"])
def test_every_kind_of_operator_has_an_estimate(name):
    network, x, rows = _case(name, 2)
    prepared = network.prepare()
    for method in ("ibp", "crown", "zonotope"):
        cost = estimate(prepared, Box(x, 0.05), METHODS[method], rows=len(rows.values))
        assert cost.passes > 0
        assert cost.rows > 0
        assert cost.least > 0


def test_a_captured_network_of_a_user_is_estimated():
    network = Network.capture(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), (4,))
    cost = estimate(network.prepare(), Box(torch.rand(3, 4), 0.1), Crown())
    assert cost.samples == 3
    assert cost.parts == 1
