"""Every way of writing an operator that capture knows: the same function, and bounds that hold; and what it refuses, by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from epsball.bounding.base import bounders, output_interval
from epsball.errors import UnsupportedOp
from epsball.forms.interval import Interval
from epsball.ops.joint.normalised import Normalised
from epsball.ops.network import Network
from epsball.problem.sets import Box
from zoo import Fn


def _arithmetic(m: Fn, x: torch.Tensor) -> torch.Tensor:
    p = torch.sigmoid(x) + 0.5
    total = torch.lerp(x, p, 0.3) + torch.expm1(x) - torch.exp2(p) + torch.log2(p) - torch.log10(p) + 3.0**x
    total = total + torch.addcmul(x, x, p, value=0.5) + torch.addcdiv(x, torch.ones(1, 4), p) + (2 - x) / 3 + x / p + 1 / p
    total = total + p**0.5 + p**-0.5 + p**1.7 + x**1.0 + torch.rsqrt(p) + x.clamp_min(0.2) + x.clamp_max(0.4)
    total = total + torch.minimum(x, p) + torch.max(x, p) + x.masked_fill(m.mask, 0.7) + torch.where(m.mask, x, p)
    return total + F.selu(x) + F.celu(x, 0.5) + F.elu(x, 1.5) + F.softplus(x, beta=2) + F.leaky_relu(x)


def _reductions(_: Fn, x: torch.Tensor) -> torch.Tensor:
    total = x.var(1) + x.std((1,), unbiased=False) + x.norm(dim=1) + torch.linalg.vector_norm(x, ord=1, dim=1)
    total = total + x.amin(1) + x.max(1)[0] + x.min(1).values - x.amax((1,)) + torch.logsumexp(x, 1)
    return total + F.normalize(x + 1, dim=1).sum(1) + F.log_softmax(x, 2).mean(1)


def _movements(m: Fn, x: torch.Tensor) -> torch.Tensor:
    h = x.unsqueeze(1)
    parts = [
        F.unfold(h, 2), F.interpolate(h, scale_factor=2, mode="nearest-exact"), F.pad(h, (1, 1, 1, 1), mode="replicate"),
        x.repeat_interleave(2, 1), x.gather(1, m.rows.expand(x.shape[0], -1, -1)), x.movedim(1, 2), x.swapaxes(1, 2)[:, :2],
        x.diagonal(dim1=1, dim2=2), x.tile(1, 1, 2), x[:, ::2, -1], x[:, [2, 0]], torch.full_like(x, 0.3), x.rot90(1, (1, 2)),
        F.pixel_unshuffle(h[:, :, :2, :2], 2), torch.cat([x.new_ones(x.shape[0], 1, 4), x], 1),
    ]  # fmt: skip
    return m.head(torch.relu(torch.cat([part.flatten(1) for part in parts], 1)))


def _matrices(m: Fn, x: torch.Tensor) -> torch.Tensor:
    bias = torch.tensor([[0.0, 0.3, float("-inf")], [0.1, 0.2, 0.0], [float("-inf"), 0.0, 0.0]])
    h = torch.baddbmm(x, x, torch.relu(x.transpose(1, 2)) @ x) + m.left @ x
    h = h + torch.einsum("bik,bjk->bji", h, x).sum(2, keepdim=True) + torch.einsum("lk,bik->bil", m.square, x)
    h = F.scaled_dot_product_attention(h, x, x, attn_mask=bias, scale=0.5) + F.scaled_dot_product_attention(h, m.keys, m.keys)
    return h.sum((1,))


def _encoder(m: Fn, x: torch.Tensor) -> torch.Tensor:
    causal = nn.Transformer.generate_square_subsequent_mask(3)
    h = m.block(x) + m.attend(x, x, x, attn_mask=causal, need_weights=False)[0]
    return (h + m.attend(x, x, x, attn_mask=m.left_out, average_attn_weights=False)[0]).mean(1)


torch.manual_seed(0)
FORMS = {
    "arithmetic": (Fn(_arithmetic, mask=torch.tensor([True, False, True, False])), (4,)),
    "reductions": (Fn(_reductions), (3, 4)),
    "movements": (Fn(_movements, rows=torch.tensor([[[0, 1, 2, 0]]]), head=nn.Linear(229, 3)), (3, 4)),
    "matrices": (
        Fn(
            _matrices, square=torch.randn(4, 4), left=torch.randn(3, 3), keys=torch.randn(1, 5, 4),
        ),
        (3, 4),
    ),
    "encoder": (
        Fn(
            _encoder, block=nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, activation="gelu", norm_first=True),
            attend=nn.MultiheadAttention(4, 1, batch_first=True, bias=False), left_out=torch.eye(3).bool(),
        ),
        (3, 4),
    ),
    "rnn": (Fn(lambda m, x: m.rnn(x)[1][-1] + m.relu(x)[0][:, -1], rnn=nn.RNN(2, 3, 2, batch_first=True),
               relu=nn.RNN(2, 3, nonlinearity="relu", batch_first=True)), (3, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.slow
def test_bounds_hold_for_every_form(name):
    module, shape = FORMS[name]
    module = module.double().eval()
    network = Network.capture(module, shape)
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    box = Box(x, 0.05)
    generator = torch.Generator().manual_seed(2)
    outputs = [module(box.sample(generator)) for _ in range(100)] + [module(x + e) for e in (-0.05, 0.05)]
    with torch.no_grad():
        for method in ("ibp", "crown-ibp", "crown"):
            got = output_interval(bounders[method](), network.prepare(), box)
            assert bool(torch.isfinite(got.lower).all() & torch.isfinite(got.upper).all())
            for y in outputs:
                assert bool(got.contains(y, slack=1e-10).all())


@pytest.mark.slow
def test_capture_leaves_attention_as_it_was():
    module = nn.MultiheadAttention(4, 2, batch_first=True)
    Network.capture(Fn(lambda m, x: m.a(x, x, x)[0].sum(1), a=module), (3, 4))
    assert "forward" not in vars(module)


@pytest.mark.slow
@pytest.mark.parametrize("outside", [torch.log, torch.sqrt, torch.rsqrt, torch.reciprocal, lambda x: x**1.5, lambda x: x**-2])
@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_outside_its_domain_nothing_is_proven_and_other_samples_keep_their_bounds(outside, method):
    torch.manual_seed(0)
    first, last = nn.Linear(2, 2), nn.Linear(2, 2)
    with torch.no_grad():
        first.weight.copy_(torch.eye(2))
        first.bias.zero_()
    network = Network.capture(Fn(lambda m, x: m.last(outside(m.first(x))), first=first, last=last), (2,))
    got = output_interval(bounders[method](), network.prepare(), Box(torch.tensor([[0.05, 0.5], [0.6, 0.5]]), 0.1))
    assert bool((got.lower[0] == -torch.inf).all() & (got.upper[0] == torch.inf).all())
    assert bool(torch.isfinite(got.lower[1]).all() & torch.isfinite(got.upper[1]).all())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fn", "parts", "names"),
    [
        (lambda m, x: m.a(x, x, x)[0].sum(1), {"a": nn.MultiheadAttention(4, 2)}, "batch_first=True"),
        (lambda m, x: m.a(x.transpose(0, 1))[0][-1], {"a": nn.LSTM(4, 2)}, "batch"),
        (lambda _, x: torch.where(x > 0, x, -x).sum(1), {}, "comparisons"),
        (lambda _, x: x.max(1)[1].float() + x.sum(1), {}, "first result"),
        (lambda _, x: torch.cumprod(x, 1).sum(1), {}, "cumprod"),
        (lambda _, x: x.sum(1) ** x.mean(1), {}, "x \\*\\* number"),
        (lambda _, x: torch.einsum("bij,bkl->b", x, x)[:, None], {}, "einsum"),
        (lambda _, x: F.interpolate(x[:, None], scale_factor=2, mode="bicubic").flatten(1), {}, "upsample_bicubic2d"),
    ],
)
def test_what_is_refused_names_the_line_and_the_nearest_form(fn, parts, names):
    with pytest.raises(Exception, match=names) as caught:
        output_interval(bounders["ibp"](), Network.capture(Fn(fn, **parts), (3, 4)).prepare(), Box(torch.rand(2, 3, 4), 0.1))
    assert "  Fix: " in str(caught.value)
    assert type(caught.value).__module__ == UnsupportedOp.__module__


@pytest.mark.slow
@pytest.mark.parametrize("centred", [True, False])
def test_the_interval_of_a_normalised_tensor_is_that_of_its_corners(centred):
    """Exact without the centring: against a fine sample of the box; with it, never wider, and within sqrt(n - 1)."""
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    d = Interval(low, low + torch.rand(50, 3, generator=generator, dtype=torch.float64) * 2)
    unknown = Interval(torch.full_like(low, -100.0), torch.full_like(low, 100.0))
    got = Normalised((1,), 1e-3, centred).interval(unknown, d)
    shares = torch.cartesian_prod(*[torch.linspace(0, 1, 41, dtype=torch.float64)] * 3)[:, None]
    x = torch.lerp(d.lower, d.upper, shares)
    y = x / (x.square().mean(2, keepdim=True) + 1e-3).sqrt()
    if not centred:
        torch.testing.assert_close(got.lower, y.amin(0), atol=0.02, rtol=0.01)
        torch.testing.assert_close(got.upper, y.amax(0), atol=0.02, rtol=0.01)
        assert bool(got.contains(y, slack=1e-9).all())
    else:
        assert float(torch.maximum(got.upper, -got.lower).max()) <= 2**0.5
        moved = torch.lerp(d.lower, d.upper, torch.rand(20_000, 50, 3, generator=generator, dtype=torch.float64))
        moved = moved - moved.mean(2, keepdim=True)
        inside = ((moved >= d.lower) & (moved <= d.upper)).all(2, keepdim=True)
        quotient = moved / (moved.square().mean(2, keepdim=True) + 1e-3).sqrt()
        assert bool((got.contains(quotient, slack=1e-9) | ~inside).all())
        assert bool(inside.any())
