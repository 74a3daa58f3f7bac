"""Certificates without chance, against every perturbed input there is; and ablation against enumeration of all pixel choices."""

from __future__ import annotations

import math
from itertools import combinations, product

import pytest
import torch

from epsball.errors import BadConfig, BadData, BadShape
from epsball.smoothing.core import Smoothed
from epsball.smoothing.noises.ablation import Ablation, BlockAblation, hide
from epsball.smoothing.noises.exact import count_all, lead
from epsball.smoothing.noises.splitting import SplittingNoise
from epsball.smoothing.statistics.procedures import Fixed


def step_at(threshold):
    """Class 1 above the threshold in the first coordinate."""

    def f(x):
        above = (x.flatten(1)[:, 0] > threshold).to(x)
        return torch.stack((1 - above, above), 1)

    return f


@pytest.mark.parametrize("width", [0.1, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("threshold", [0.3, 0.52])
def test_step_function_is_exact(width, threshold):
    """In one dimension every grid input is tried: the class never changes within the steps."""
    noise = SplittingNoise(width, levels=20)
    grid = torch.arange(21).view(-1, 1).double() / 20
    f = step_at(threshold)
    certificates = noise.certify(f, grid, 2)
    labels = [c.label for c in certificates]
    for k, certificate in enumerate(certificates):
        flips = [abs(j - k) for j in range(21) if labels[j] != labels[k]]
        nearest = min(flips, default=math.inf)
        assert certificate.steps < nearest
        assert certificate.radius * 20 <= nearest
        assert abs(certificate.radius * 20 - certificate.steps) <= 1
    if width == 0.5:  # one cut on average: the certificate is the distance to the flip, less rounding, near the flip
        flip = next(k for k in range(20) if labels[k] != labels[k + 1])
        for k in (flip - 1, flip, flip + 1, flip + 2):
            away = flip - k if k <= flip else k - flip - 1
            assert certificates[k].steps == away


def test_share_of_offsets_that_separate_two_inputs():
    """Two values differ in their piece for exactly |a - b| / (2 w) of all offsets."""
    noise = SplittingNoise(0.3, levels=10, seed=3)
    grid = torch.arange(11).double() / 10
    copies = torch.stack([noise.copies(v.view(1), 0, noise.offsets) for v in grid])
    for a, b in product(range(11), repeat=2):
        assert int((copies[a] != copies[b]).sum()) == min(abs(a - b), noise.offsets)


def test_two_coordinates_never_change_within_the_radius():
    noise, levels = SplittingNoise(0.75, levels=8), 8

    def net(x):
        return torch.nn.functional.one_hot((x.sum(1) > 0.75).long() + (x.sum(1) > 1.25).long(), 3).to(x)

    grid = torch.tensor(list(product(range(levels + 1), repeat=2))).double() / levels
    certificates = noise.certify(net, grid, 3)
    assert len({c.label for c in certificates}) > 1
    assert max(c.steps for c in certificates) > 1
    distance = (torch.cdist(grid, grid, p=1) * levels).round().long()
    for k, certificate in enumerate(certificates):
        near = [certificates[j].label for j in range(len(grid)) if distance[k, j] <= certificate.steps]
        assert set(near) == {certificate.label}
        strictly = [certificates[j].label for j in range(len(grid)) if distance[k, j] < certificate.radius * levels]
        assert set(strictly) <= {certificate.label}


def test_both_probabilities_beat_one():
    counts = [30, 10, 10]
    label, margin = lead(torch.tensor([*counts, 0]).numpy())
    assert (label, margin) == (0, 20)
    assert lead(torch.tensor([10, 10, 30, 0]).numpy()) == (2, 19)  # an equal count would go to the smaller number
    assert lead(torch.tensor([10, 10, 5, 9]).numpy()) == (0, 0)


def test_splitting_refuses_what_is_not_on_its_grid():
    with pytest.raises(BadData, match="k/20"):
        SplittingNoise(0.5, levels=20).certify(step_at(0.5), torch.tensor([[0.513]]), 2)
    with pytest.raises(BadConfig, match="whole number of steps"):
        SplittingNoise(0.513, levels=20)
    with pytest.raises(BadShape, match="5 classes"):
        SplittingNoise(0.5, levels=20).certify(step_at(0.5), torch.tensor([[0.5]]), 5)


def test_ablation_sees_exactly_so_many_pixels_of_both_channels():
    x = torch.rand(3, 4, 5)
    out = torch.empty(500, *Ablation(6).shape((3, 4, 5)))
    Ablation(6).fill(out, x, torch.Generator().manual_seed(0))
    seen = (out[:, :3] + out[:, 3:]).round().bool()
    assert bool((seen.flatten(2).sum(2) == 6).all())
    torch.testing.assert_close(out[:, :3], torch.where(seen, x, 0.0))
    frequency = seen[:, 0].float().mean(0)
    assert float((frequency - 6 / 20).abs().max()) < 0.1


def test_ablation_probability_of_a_touch_by_enumeration():
    noise, pixels = Ablation(3), 8
    for changed in range(pixels + 1):
        touched = sum(min(c) < changed for c in combinations(range(pixels), 3)) / math.comb(pixels, 3)
        assert noise.touched(pixels, changed) == pytest.approx(touched, abs=1e-12)
        assert noise.touched(784, changed) == pytest.approx(1 - math.comb(784 - changed, 3) / math.comb(784, 3), abs=1e-12)


def test_ablation_radius_and_need_are_inverse():
    noise, inputs = Ablation(45), (1, 28, 28)
    for p in (0.6, 0.9, 0.999):
        radius = noise.radii(p, 1 - p, inputs)["l0"]
        assert noise.needed(radius, inputs) < p
        assert 0.5 + noise.touched(784, int(radius) + 1) >= p
    assert noise.radii(0.999, 0.001, inputs)["l0"] == 11  # largest rho with 1 - C(784 - rho, 45) / C(784, 45) < .499


def test_ablation_certifies_by_sampling():
    def f(x):  # a bright picture: any seen pixel above one half
        bright = (x[:, 0] > 0.5).flatten(1).sum(1) - (x[:, 1] > 0.5).flatten(1).sum(1)
        return torch.stack((-bright, bright), 1).float()

    (certificate,) = Smoothed(f, Ablation(5), 2).certify(torch.full((1, 1, 6, 6), 0.9), procedure=Fixed(2000))
    assert (certificate.label, certificate.norm) == (1, "l0")
    assert certificate.radius == 4.0  # 1 - C(31, 5) / C(36, 5) = .549 >= .4966 > 1 - C(32, 5) / C(36, 5) = .466


@pytest.mark.parametrize("shape", ["block", "columns"])
def test_no_patch_changes_a_certified_class(shape):
    """Votes of a linear map on what is seen, against every placement of random and of worst patches."""
    torch.manual_seed(1)
    ablation = BlockAblation(2, shape)
    weight = torch.rand(2, 6, 6, 2)

    def f(x):
        return torch.einsum("nchw,chwk->nk", x, weight + torch.tensor([0.0, 0.25]))

    x = torch.rand(2, 1, 6, 6)
    certificates = ablation.certify(f, x, 2)
    assert max(c.steps for c in certificates) >= 1
    for certificate, picture in zip(certificates, x, strict=True):
        side = certificate.steps
        for top, left, value in product(range(7 - side), range(7 - side), (0.0, 1.0, 50.0, -50.0)):
            changed = picture.clone()
            changed[:, top : top + side, left : left + side] = value
            label, _ = lead(count_all(f, ablation, changed[None], 2)[0])
            assert label == certificate.label


def test_positions_touched_by_a_patch():
    ablation, inputs = BlockAblation(2), (1, 6, 6)
    x = torch.zeros(1, 6, 6)
    seen = ablation.copies(x, 0, 36).sum(1) > 0
    assert bool((seen.flatten(1).sum(1) == 4).all())
    patch = torch.zeros(6, 6, dtype=torch.bool)
    patch[2:5, 1:4] = True
    assert int((seen & patch).flatten(1).any(1).sum()) == ablation.touched(3, inputs) == 16
    assert BlockAblation(2, "columns").touched(3, inputs) == 4


def test_hidden_is_not_black():
    x = torch.zeros(1, 2, 2)
    seen = torch.tensor([[[True, False], [False, False]]])
    assert hide(x, seen)[0, 1].tolist() == [[1.0, 0.0], [0.0, 0.0]]
    with pytest.raises(BadShape, match="pictures"):
        Ablation(3).shape((10,))
    with pytest.raises(BadConfig, match="keeps 50 of 36"):
        Ablation(50).shape((1, 6, 6))


@pytest.mark.parametrize("noise", [SplittingNoise(0.5, levels=4), BlockAblation(2, hidden=0.5)])
def test_a_network_that_answers_nan_has_no_class(noise):
    """Class 0 would be the first of equals: an error must not be counted as an answer."""
    (nothing,) = noise.certify(lambda x: torch.full((len(x), 3), math.nan), torch.full((1, 1, 4, 4), 0.5), 3)
    assert (nothing.label, nothing.radius, nothing.steps) == (None, 0, 0)
    assert nothing.counts[:-1] == (0, 0, 0)
    assert nothing.line()["label"] is None
    assert nothing.line()["lower"] == 0

    def some(x):  # NaN for all copies but those that are bright at one place
        return torch.where((x[:, :, 0, 0] >= 0.5)[..., 0:1], torch.tensor([0.0, 1.0, 0.0]), math.nan)

    (found,) = noise.certify(some, torch.full((1, 1, 4, 4), 0.75), 3)
    assert found.label == 1
    assert found.counts[1] > 0
