"""What rounding may take from a form, node by node: each term against the theorem's, written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from epsball.bounding.linear.losses import Losses
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.ops.operator import Affine

U32, U64 = 2.0**-24, 2.0**-53
LAYER = nn.Linear(4, 3)


def losses(covers: str = "module", dtype: torch.dtype = torch.float32) -> Losses:
    network = Network.capture(nn.Sequential(LAYER, nn.ReLU(), nn.Linear(3, 2)), (4,)).prepare(dtype, covers)
    low = torch.tensor([[-1.0, -3.0, 0.0, 0.5]], dtype=dtype)
    return Losses(network, {0: Interval(low, torch.tensor([[2.0, 1.0, 0.25, 0.5]], dtype=dtype))})


def test_a_magnitude_is_that_of_the_larger_end_and_grows_through_a_layer() -> None:
    found = losses()
    assert found.magnitude(0).tolist() == [[2.0, 3.0, 0.25, 0.5]]
    step = next(s for s in found._network.steps if isinstance(s.op, Affine))
    with torch.no_grad():
        size = LAYER.weight.double().abs() @ torch.tensor([2.0, 3.0, 0.25, 0.5], dtype=torch.float64) + LAYER.bias.double().abs()
    # a value of the module's may be that much larger than the exact one, and the size is itself a sum of five
    share = found.magnitude(step.slot)[0].double() / size - 1
    assert bool((share >= 2 * 5 * U32).all())
    assert bool((share <= 2 * 100 * U32).all())
    with pytest.raises(TypeError, match="no interval of slot"):
        found.magnitude(step.slot + 1)
    with pytest.raises(TypeError, match="no interval of slot"):
        losses("nothing").magnitude(step.slot)


@pytest.mark.parametrize(
    ("covers", "dtype", "own"), [("module", torch.float32, U32), ("real", torch.float32, U32), ("module", torch.float64, U64)]
)
def test_two_forms_over_one_node_lose_a_rounding_of_each_coefficient(covers: str, dtype: torch.dtype, own: float) -> None:
    """The bound's own only: the module adds up no forms."""
    rows = Rows(torch.tensor([[[1.0, -2.0, 4.0, 0.0]], [[0.0, 0.0, 0.0, -8.0]]], dtype=dtype))
    lost = losses(covers, dtype).joining(0, rows)
    weighed = torch.tensor([[2.0 + 6.0 + 1.0], [4.0]], dtype=torch.float64)
    assert bool((lost.double() >= weighed * own).all())
    assert bool((lost.double() <= weighed * 4 * own).all())
    assert losses("nothing").joining(0, rows.like(rows.values.float())) is None


@pytest.mark.parametrize(("dtype", "own"), [(torch.float32, U32), (torch.float64, U64)])
def test_a_radius_has_room_for_the_sum_over_its_node(dtype: torch.dtype, own: float) -> None:
    """`<a, c> - <|a|, r>` adds up four products and as many again: each of a size of at most `|a| m`."""
    found, radius = losses("real", dtype), torch.tensor([[1.5, 2.0, 0.125, 0.0]], dtype=dtype)
    room = (found.room(0, radius) - radius).double()
    size = torch.tensor([[2.0, 3.0, 0.25, 0.5]], dtype=torch.float64)
    assert bool((room >= 2 * 4 * own * size).all())
    assert bool((room <= 2 * 64 * own * size).all())
    centre, reach = found.stop(0)
    assert centre.tolist() == [[0.5, -1.0, 0.125, 0.5]]
    assert torch.equal(reach, found.room(0, radius))
    assert torch.equal(losses("nothing").room(0, radius), radius)


def test_passing_an_affine_step_loses_the_modules_sum_and_the_bounds_own() -> None:
    def lost(covers: str) -> torch.Tensor | None:
        found = losses(covers)
        return found.passing(next(s for s in found._network.steps if isinstance(s.op, Affine)))

    with torch.no_grad():
        size = LAYER.weight.double().abs() @ torch.tensor([2.0, 3.0, 0.25, 0.5], dtype=torch.float64) + LAYER.bias.double().abs()
    both, alone = (lost(covers)[0].double() for covers in ("module", "real"))
    assert bool((alone >= 3 * U32 * size).all()), "three terms of a form that is pulled back"
    assert bool((both - alone >= 4.99 * U32 * size).all()), "five terms of the module's sum, the bias among them"
    assert bool((both <= 100 * U32 * size).all())
    assert lost("nothing") is None
