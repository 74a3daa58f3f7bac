"""The smoothed classifier: independence of batches and order, exact distances, sequential = fixed, bad input, memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from epsball.errors import BadConfig, BadData, BadShape
from epsball.smoothing.core import Smoothed
from epsball.smoothing.noises.continuous import Gaussian
from epsball.smoothing.sampling.sampler import Sampler, Stream, blocks_of
from epsball.smoothing.statistics.procedures import Fixed, Staged, TwoSided
from epsball.smoothing.statistics.sequential import Sequential, Ville


class HalfSpace(nn.Module):
    """Class 0 where the first coordinate is above 0.2; three classes, the last of which never wins."""

    def forward(self, x):
        move = x.flatten(1)[:, 0] - 0.2
        return torch.stack((move, -move, torch.full_like(move, -9.0)), 1)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).eval()


@pytest.fixture
def x():
    return torch.rand(7, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
@pytest.mark.parametrize("procedure", [Fixed(1000), Sequential(cap=3000), Staged((256, 1024, 2000))], ids=repr)
def test_counts_do_not_depend_on_batch_or_order(network, x, procedure):
    reference = Smoothed(network, 0.25, 10, batch=1024).certify(x, procedure=procedure)
    for batch in (50, 128, 300, 5000):
        assert Smoothed(network, 0.25, 10, batch=batch).certify(x, procedure=procedure) == reference
    order = [4, 2, 6, 0, 5, 1, 3]
    shuffled = Smoothed(network, 0.25, 10).certify(x[order], procedure=procedure, images=order)
    assert shuffled == [reference[k] for k in order]
    alone = Smoothed(network, 0.25, 10).certify(x[3:4], procedure=procedure, images=[3])
    assert alone == [reference[3]]


def test_another_seed_or_number_gives_other_noise(network, x):
    same = x[:1].repeat(2, 1, 1, 1)
    a, b = Smoothed(network, 0.5, 10).certify(same, procedure=Fixed(2000))
    c = Smoothed(network, 0.5, 10, seed=1).certify(same[:1], procedure=Fixed(2000))[0]
    assert len({a.counts, b.counts, c.counts}) == 3


def test_noise_of_different_streams_and_blocks_differs(x):
    sampler = Sampler(nn.Flatten(), Gaussian(1.0), 64, 512, 0, (1, 8, 8), x.device, x.dtype)
    found = set()
    for stream in Stream:
        for block in blocks_of(x[0], 0, stream, 0, 256):
            sampler.count([block])
            found.add(float(sampler._buffer[:128].sum()))
    assert len(found) == 2 * len(Stream)


def test_no_noise_is_used_twice_where_a_stage_cuts_a_block(network, x, monkeypatch):
    seen = []
    count = Sampler.count

    def spy(self, blocks):
        seen.extend((b.image, b.stream, b.number, b.size) for b in blocks)
        return count(self, blocks)

    monkeypatch.setattr(Sampler, "count", spy)
    for certificate in Smoothed(network, 0.25, 10).certify_at(x, 0.06, procedure=Staged((200, 300, 1000))):
        mine = [(stream, number, size) for image, stream, number, size in seen if image == certificate.image]
        assert len({(stream, number) for stream, number, _ in mine}) == len(mine)
        assert sum(size for _, _, size in mine) == certificate.samples
    assert len({image for image, *_ in seen}) == 7
    assert any(size not in (100, 128) for *_, size in seen)


@pytest.mark.slow
def test_linear_classifier_gets_its_distance():
    x = torch.tensor([[0.6, 0.3]])  # 0.4 from the plane
    smoothed = Smoothed(HalfSpace(), 0.25, 3)
    (largest,) = smoothed.certify(x, procedure=Fixed(1_000_000))
    assert largest.label == 0
    assert 0.395 < largest.radius <= 0.4
    assert largest.radii["l1"] == largest.radius
    assert largest.radii["linf"] == pytest.approx(largest.radius / 2**0.5)
    (inside,) = smoothed.certify_at(x, 0.37)
    (outside,) = smoothed.certify_at(x, 0.43)
    assert (inside.label, inside.radius, inside.norm) == (0, 0.37, "l2")
    assert outside.abstained
    assert max(inside.samples, outside.samples) < 20_000


@pytest.mark.slow
def test_radius_zero_certifies_the_prediction():
    clear, tie = Smoothed(HalfSpace(), 0.25, 3).certify_at(torch.tensor([[0.6, 0.3], [0.2, 0.3]]), 0.0)
    assert (clear.label, clear.radius) == (0, 0.0)
    assert tie.abstained


@pytest.mark.slow
def test_sequential_agrees_with_fixed(network, x):
    smoothed = Smoothed(network, 0.25, 10)
    fixed = smoothed.certify(x, procedure=Fixed(20_000))
    sequential = smoothed.certify(x, procedure=Sequential(cap=20_000))
    for a, b in zip(fixed, sequential, strict=True):
        assert a.label == b.label
        assert abs(a.radius - b.radius) < (0.05 + 0.05) * 0.25  # the tolerance, and 3 standard errors of the rate when it stops
        assert b.samples <= a.samples
    radius = 0.1
    at = smoothed.certify_at(x, radius, procedure=Sequential(cap=20_000))
    assert [c.radius > 0 for c in at] == [c.radius > radius for c in fixed]
    assert sum(c.samples for c in at) < sum(c.samples for c in fixed) / 5


def test_all_hits_stop_at_the_ceiling():
    x = torch.tensor([[1.0, 0.5]])
    (certificate,) = Smoothed(HalfSpace(), 0.1, 3).certify(x, procedure=Ville(cap=5000, tolerance=0.1))
    assert certificate.samples < 5100
    assert certificate.radius > 0.1 * 2.8


def test_two_sided_certifies_below_one_half():
    class Three(nn.Module):
        def forward(self, x):
            z = x[:, 0]
            bin_of = (z > 0.5 - 0.11).long() - (z > 0.5 + 0.11).long() + 2 * (z > 0.5 + 0.11).long()
            return nn.functional.one_hot(bin_of, 3).to(z)  # 0 below, 1 in the middle, 2 above

    x = torch.tensor([[0.5]])
    smoothed = Smoothed(Three(), 0.2, 3)
    (one,) = smoothed.certify(x, procedure=Fixed(20_000))
    (two,) = smoothed.certify(x, procedure=TwoSided(20_000))
    assert one.abstained
    assert two.label == 1
    assert 0 < two.radius < 0.11
    assert two.lower < 0.5


def test_predict_abstains_on_a_tie():
    near = Smoothed(HalfSpace(), 0.25, 3)
    on, off = near.predict(torch.tensor([[0.2, 0.5], [0.6, 0.5]]), n=200, alpha=0.001)
    assert on.abstained
    assert off.label == 0
    assert sum(off.counts) == off.samples == 200


def test_nan_outputs_count_for_no_class():
    class Nan(nn.Module):
        def forward(self, x):
            return torch.full((len(x), 3), float("nan"))

    (certificate,) = Smoothed(Nan(), 0.25, 3).certify(torch.rand(1, 4), procedure=Fixed(256))
    assert certificate.abstained
    assert certificate.counts == (0, 0, 0, 256)


def test_votes_and_probabilities_are_different_functions(network, x):
    smoothed = Smoothed(network, 0.25, 10)
    votes, soft = smoothed.votes(x, 500), smoothed.probabilities(x, 500)
    for shares in (votes, soft):
        torch.testing.assert_close(shares.sum(1), torch.ones(7))
    assert not torch.allclose(votes, soft, atol=0.05)
    assert torch.equal(smoothed.probabilities(x, 32), smoothed.probabilities(x, 32))
    assert not torch.equal(smoothed.probabilities(x, 32), smoothed.probabilities(x, 32, draw=1))


def test_gradient_of_the_soft_expectation_of_a_linear_map():
    """With logits (s z, -s z) and small s, softmax is linear: the gradient at any noise is s / 2 times the weights."""
    weight = torch.tensor([3.0, -4.0])

    def f(x):
        z = 1e-3 * (x @ weight)
        return torch.stack((z, -z), 1)

    x = torch.rand(2, 2, requires_grad=True)
    Smoothed(f, 0.1, 2, clip=None).probabilities(x, 16)[:, 0].sum().backward()
    torch.testing.assert_close(x.grad, (weight * 1e-3 / 2).expand(2, 2), rtol=1e-4, atol=0)


def test_the_ledger_and_the_line():
    (certificate,) = Smoothed(HalfSpace(), 0.25, 3).certify_at(torch.tensor([[0.9, 0.5]]), 0.3)
    assert sum(certificate.ledger.values()) <= 0.001
    line = certificate.line()
    assert line["samples"] == certificate.samples
    assert isinstance(line["ledger"], dict)


def test_the_global_random_state_is_left_alone(network, x):
    state = torch.get_rng_state()
    Smoothed(network, 0.25, 10).certify(x, procedure=Fixed(300))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(BadConfig, match="sigma must be a positive number"):
        Smoothed(HalfSpace(), sigma, 3)


def test_bad_input_is_a_clear_error(network, x):
    smoothed = Smoothed(network, 0.25, 10)
    with pytest.raises(BadConfig, match="alpha"):
        smoothed.certify(x, alpha=1.0)
    with pytest.raises(BadConfig, match="alpha"):
        smoothed.predict(x, alpha=0.0)
    with pytest.raises(BadConfig, match="selection sample of 100 with a cap of 50"):
        smoothed.certify(x, procedure=Fixed(50))
    with pytest.raises(BadConfig, match="a radius must be"):
        smoothed.certify_at(x, -0.5)
    with pytest.raises(BadConfig, match="no outcome certifies"):
        smoothed.certify_at(x, 0.25 * 4)
    with pytest.raises(BadConfig, match="no sample decides"):
        smoothed.certify_at(x, 1000.0)
    with pytest.raises(BadConfig, match="numbers"):
        smoothed.certify(x, images=[0, 0, 1, 2, 3, 4, 5])
    with pytest.raises(BadData, match="outside the valid range"):
        smoothed.certify(x * 255)
    with pytest.raises(BadData, match="NaN"):
        smoothed.certify(x * float("nan"))
    with pytest.raises(BadShape, match="floating-point"):
        smoothed.certify((x * 255).to(torch.uint8))
    with pytest.raises(BadShape, match="outputs of shape"):
        Smoothed(network, 0.25, 4).certify(x)
    with pytest.raises(BadConfig, match="classes"):
        Smoothed(network, 0.25, 1)


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm2d(1), nn.Dropout(0.5), nn.BatchNorm2d(1, track_running_stats=False).eval()], ids=repr
)
def test_layers_that_mix_the_batch_are_refused(network, x, layer):
    module = nn.Sequential(layer, network)
    with pytest.raises(BadConfig, match="training mode"):
        Smoothed(module, 0.25, 10).predict(x)
    if layer.training:
        Smoothed(module.eval(), 0.25, 10).predict(x, 20)


CHILD = """
import resource, torch
from torch import nn
from epsball.smoothing.core import Smoothed
from epsball.smoothing.statistics.procedures import Fixed
torch.set_num_threads(1)
net = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10)).eval()
x = torch.rand(1, 3, 32, 32)
Smoothed(net, 0.25, 10, batch=128).certify(x, procedure=Fixed(128))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(c,) = Smoothed(net, 0.25, 10, batch=1000).certify(x, procedure=Fixed(100_000))
print(sum(c.counts), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_samples():
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True, timeout=300)
    samples, mebibytes = map(int, done.stdout.split())
    assert samples == 100_000
    assert mebibytes <= 150
