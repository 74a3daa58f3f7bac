"""Networks that others wrote, and what is odd about them: each works as the module itself does, or the error names the cause."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import epsball
from epsball.errors import BadCapture, BadConfig, BadData, BadShape, EpsballError
from epsball.models.base import build

X = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
EPS = 0.02


class Net(nn.Module):
    """Two layers, and what a case does around them."""

    def __init__(self, forward, outputs=3):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.around = nn.Linear(4, 5), nn.Linear(5, outputs), forward

    def body(self, x):
        return self.last(torch.relu(self.first(x)))

    def forward(self, x):
        return self.around(self, x)


def _subtracts(net, x):
    x -= 0.5
    return net.body(x)


def _behind_autograd(net, x):
    x.data.mul_(2)
    return net.body(x)


def perturbed(x, count=50):
    """Points of the balls around inputs, cut to [0, 1]."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        yield (x + EPS * (2 * torch.rand(x.shape, generator=generator) - 1)).clamp(0, 1)


def works(net, x=X, threshold=0.0):
    """Every verb answers, the caller's inputs stay, and what is proven holds for the module itself."""
    kept = x.clone()
    with torch.no_grad():
        raw = net(x.clone())
        y = raw.argmax(1) if raw.shape[1] > 1 else (raw[:, 0] > threshold).long()
    verdicts = epsball.verify(net, x, y, eps=EPS)
    network = epsball.Network.capture(net, (4,))
    interval = epsball.bounds(network, epsball.Box(x, EPS, (0.0, 1.0)))
    radii = epsball.radius(network, x, y, high=EPS, method="ibp")
    result = epsball.attack(net, x, y, eps=EPS, method=epsball.PGD(steps=5))
    if raw.shape[1] > 1:
        epsball.smooth(net, sigma=0.1, classes=raw.shape[1]).predict(x[:1], 100)
    assert torch.equal(x, kept)
    proven = torch.tensor([v.status == "verified" for v in verdicts])
    assert proven.any()
    assert not (proven & result.success).any()
    for points in perturbed(x):
        with torch.no_grad():
            answer = net(points.clone())
        assert bool(((interval.lower <= answer) & (answer <= interval.upper)).all())
        said = answer.argmax(1) if answer.shape[1] > 1 else (answer[:, 0] > threshold).long()
        assert torch.equal(said[proven], y[proven])
        assert torch.equal(said[radii >= EPS], y[radii >= EPS])


@pytest.mark.parametrize("forward", [_subtracts, lambda net, x: net.body(x.mul_(2)), lambda net, x: net.body(torch.relu_(x))])
def test_a_module_that_writes_its_own_input(forward):
    works(Net(forward))


def test_an_in_place_layer_at_the_start():
    works(nn.Sequential(nn.ReLU(inplace=True), Net(Net.body)))


def test_a_write_behind_autograds_back_is_seen():
    kept = X.clone()
    for verb in (epsball.verify, epsball.attack):
        with pytest.raises(EpsballError):
            verb(Net(_behind_autograd), X, torch.zeros(6, dtype=torch.long), eps=float("nan"))
        try:
            verb(Net(_behind_autograd), X, torch.zeros(6, dtype=torch.long), eps=EPS)
        except EpsballError as error:
            assert error.fix  # noqa: PT017 - either is fine, as long as the inputs stay
        assert torch.equal(X, kept)


def test_training_and_parameters_stay_the_callers():
    net = Net(_subtracts)
    network = epsball.Network.capture(net, (4,))
    before = network.prepare().forward(X).clone()
    with torch.no_grad():
        net.last.bias += 1
    assert torch.allclose(network.prepare().forward(X), before + 1)


def test_a_lazy_network_works_after_one_input():
    torch.manual_seed(0)
    net = nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(3))
    y = torch.zeros(6, dtype=torch.long)
    for ask in (
        lambda: epsball.verify(net, X, y, eps=EPS), lambda: epsball.attack(net, X, y, eps=EPS), lambda: epsball.radius(net, X, y),
        lambda: epsball.bounds(net, epsball.Box(X, EPS)), lambda: epsball.smooth(net, sigma=0.1, classes=3).predict(X),
        lambda: epsball.Network.capture(net, (4,)),
    ):  # fmt: skip
        with pytest.raises(BadCapture, match="lazy layer that has seen no input") as caught:
            ask()
        assert "net(x[:1])" in caught.value.fix
    net(X[:1])
    works(net)


def _body(net, x):
    return net.body(x)


REFUSED = {  # what a network does, the error, what it says, and its fix: what the network should do instead, or a module around it
    "two outputs": (lambda net, x: (net.body(x), x), BadCapture, r"out\[0\]", lambda net, x: net(x)[0]),
    "a dict": (lambda net, x: {"logits": net.body(x)}, BadCapture, r"out\['logits'\]", lambda net, x: net(x)["logits"]),
    "nothing": (lambda net, _: net.last and None, BadCapture, "returns a NoneType", _body),
    "view": (lambda net, x: net.body(x).view(3, 3), BadCapture, "literal batch size", lambda net, x: net.body(x).view(-1, 3)),
    "squeeze": (
        lambda net, x: net.body(x.unsqueeze(1)).squeeze(),
        BadCapture,
        r"\.flatten\(1\)",
        lambda net, x: net.body(x.unsqueeze(1)).flatten(1),
    ),
    "NaN": (
        lambda net, x: net.body(torch.log(x - 2)),
        BadData,
        "NaN or infinite",
        lambda net, x: net.body(torch.log((x + 2).clamp(min=1e-6))),
    ),
    "sometimes infinite": (lambda net, x: net.body(x) / (x[:, :1] > 0.5).to(x.dtype), BadData, "NaN or infinite", _body),
    "a branch": (lambda net, x: net.body(x if x.sum() > 3 else -x), BadCapture, "Python control flow", _body),
    "numpy": (lambda net, x: torch.from_numpy(net.body(x).detach().numpy()), BadCapture, "cannot trace", _body),
    "no axis of classes": (lambda net, x: net.body(x)[:, 0], BadCapture, r"out\[:, None\]", lambda net, x: net(x)[:, None]),
    "its own error": (lambda net, x: net.body(x) + {}["weights"], BadShape, "KeyError 'weights'", _body),
}


class Around(nn.Module):
    """What the fix of an error says: a module around the refused one."""

    def __init__(self, net, forward):
        super().__init__()
        self.net, self.own = net, forward

    def forward(self, x):
        return self.own(self.net, x)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why_and_what_to_do(name):
    forward, kind, says, mended = REFUSED[name]
    net, y = Net(forward), torch.zeros(6, dtype=torch.long)
    for ask in (
        lambda: epsball.verify(net, X, y, eps=EPS), lambda: epsball.bounds(net, epsball.Box(X, EPS, (0.0, 1.0))),
    ):  # fmt: skip
        with pytest.raises(kind, match=says):
            ask()
    for ask in (lambda: epsball.attack(net, X, y, eps=EPS), lambda: epsball.smooth(net, sigma=0.1, classes=3).predict(X[:1], 10)):
        try:
            ask()
        except EpsballError as error:
            assert error.fix  # noqa: PT017 - an attack needs no graph: it answers, or says as much
    works(Around(net, mended))


def test_attacks_and_smoothing_refuse_what_is_no_tensor_or_no_batch_by_the_same_names():
    y = torch.zeros(6, dtype=torch.long)
    for name, kind in (("two outputs", BadCapture), ("a dict", BadCapture), ("view", BadShape), ("its own error", BadShape)):
        net = Net(REFUSED[name][0])
        with pytest.raises(kind):
            epsball.attack(net, X, y, eps=EPS)
        with pytest.raises(kind):
            epsball.smooth(net, sigma=0.1, classes=3).predict(X[:1], 10)
    with pytest.raises(BadShape, match=r"squeeze\(\) eats it"):
        epsball.attack(Net(REFUSED["squeeze"][0]), X, y, eps=EPS)


def test_a_function_is_attacked_and_smoothed_and_has_no_bounds():
    net = Net(Net.body)
    y = net(X).argmax(1)
    plain = lambda x: 1 * net(x)  # noqa: E731 - what the test is about
    assert torch.equal(epsball.attack(plain, X, y, eps=EPS).x, epsball.attack(net, X, y, eps=EPS).x)
    assert epsball.smooth(plain, sigma=0.1, classes=3).predict(X) == epsball.smooth(net.eval(), sigma=0.1, classes=3).predict(X)
    for ask in (lambda: epsball.verify(plain, X, y, eps=EPS), lambda: epsball.bounds(plain, epsball.Box(X, EPS))):
        with pytest.raises(BadCapture, match=r"torch\.nn\.Module"):
            ask()
    for wrong, fix in (
        ("runs/mine", "epsball.load('runs/mine')"),
        (net.state_dict(), "torch.nn.Module"),
        (None, "torch.nn.Module"),
    ):
        for ask in (epsball.verify, epsball.attack):
            with pytest.raises(BadConfig, match="is no network") as caught:
                ask(wrong, X, y, eps=EPS)
            assert fix in caught.value.fix


def test_a_script_module_is_attacked_and_has_no_bounds():
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    y = net(X).argmax(1)
    for script in (torch.jit.script(net), torch.jit.trace(net, X)):
        assert torch.allclose(epsball.attack(script, X, y, eps=EPS).margin, epsball.attack(net, X, y, eps=EPS).margin, atol=1e-5)
        with pytest.raises(BadCapture, match="TorchScript") as caught:
            epsball.verify(script, X, y, eps=EPS)
        assert "the Python module it was made from" in caught.value.fix
    works(net)


def test_one_output_is_two_classes():
    works(Net(Net.body, outputs=1))


def test_inputs_of_another_precision_are_named():
    net, y = Net(Net.body).double(), torch.zeros(6, dtype=torch.long)
    for ask in (
        lambda x: epsball.attack(net, x, y, eps=EPS), lambda x: epsball.radius(net, x, y),
        lambda x: epsball.bounds(net, epsball.Box(x, EPS)),
        lambda x: epsball.smooth(net.eval(), sigma=0.1, classes=3).predict(x, 99),
    ):  # fmt: skip
        with pytest.raises(BadData, match=r"give x\.to\(torch\.float64\)"):
            ask(X)
        ask(X.to(torch.float64))


def test_a_radius_a_channel_and_normalisation_by_argument(tmp_path):
    torch.manual_seed(0)
    module = build("mlp", (3, 2, 2), 3, hidden=(6,))
    torch.save(module.state_dict(), tmp_path / "w.pt")
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    net = epsball.load(tmp_path / "w.pt", arch="mlp:hidden=[6]", shape=(3, 2, 2), mean=mean, std=std)
    x = torch.rand(5, 3, 2, 2)
    scaled = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.allclose(net.module(x), module(scaled))
    eps = torch.tensor([0.03, 0.0, 0.01]).view(1, 3, 1, 1)
    y = module(scaled).argmax(1)
    verdicts = epsball.verify(net, x, y, eps=eps)
    result = epsball.attack(net, x, y, eps=eps)
    assert bool(((result.x - x).abs() <= eps + 1e-6).all())
    proven = torch.tensor([v.status == "verified" for v in verdicts])
    assert proven.any()
    for _ in range(200):
        points = (x + eps * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
        assert torch.equal(net.module(points).argmax(1)[proven], y[proven])
    with pytest.raises(EpsballError, match=r"broadcast|shape|radi"):
        epsball.verify(net, x, y, eps=torch.full((1, 4, 1, 1), 0.01))
