"""Typical mistakes: each has the right answer, or one clear error whose printed fix is applied here and then works."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import epsball
from epsball.cli.app import run
from epsball.data.user import add
from epsball.errors import BadCapture, BadConfig, BadData, BadFile, BadShape, EpsballError, SoftmaxOutput, WideNoise

N, EPS = 3, 0.01
FLAT = torch.rand(N, 4, generator=torch.Generator().manual_seed(0))
PICTURES = FLAT.view(N, 1, 2, 2)


class Dictionary(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return {"logits": self.net(x)}


class Logits(Dictionary):
    def forward(self, x):
        return self.net(x)["logits"]


def mlp(outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, outputs))


class Given:
    """What the cases use: made once, and never changed by any of them."""

    def __init__(self, folder):
        self.mod, self.one, self.folder = mlp(), mlp(1), folder
        self.colour = nn.Sequential(nn.Conv2d(3, 2, 2), nn.Flatten(), nn.Linear(2, 3))
        self.net = epsball.Network.capture(self.mod, (4,))
        self.pictures = epsball.Network.capture(self.mod, (1, 2, 2))
        self.coloured = epsball.Network.capture(self.colour, (3, 2, 2))
        self.batch = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).train()
        self.y = self.mod(FLAT).argmax(1)

    def verify(self, x=FLAT, y=None, net=None, **options):
        y = self.y if y is None else y
        return epsball.verify(net or self.net, x, y, **({"eps": EPS} | options))

    def attack(self, x=FLAT, y=None, net=None, **options):
        y = self.y if y is None else y
        return epsball.attack(net or self.mod, x, y, **({"eps": EPS, "method": epsball.PGD(steps=2)} | options))


Step = Callable[[Given], Any]
CASES: dict[str, tuple[Step, type[EpsballError], str, Step]] = {
    # the mistake, its error, words of the printed fix, and that fix applied
    "one sample without its batch axis": (
        lambda g: g.verify(FLAT[0], g.y[:1]), BadShape, "x[None]", lambda g: g.verify(FLAT[0][None], g.y[:1]),
    ),
    "a wrong shape": (
        lambda g: g.verify(torch.rand(N, 5)), BadShape, "network's own input shape", lambda g: g.verify(torch.rand(N, 4)),
    ),
    "a wrong shape, attacked": (
        lambda g: g.attack(torch.rand(N, 5)), BadShape, "shape that the network takes", lambda g: g.attack(torch.rand(N, 4)),
    ),
    "NHWC": (
        lambda g: g.verify(torch.rand(N, 2, 2, 3), net=g.coloured), BadShape, "network's own input shape",
        lambda g: g.verify(torch.rand(N, 2, 2, 3).permute(0, 3, 1, 2), net=g.coloured),
    ),
    "NHWC, and a module": (
        lambda g: g.verify(torch.rand(N, 4, 4, 3), net=g.colour), BadShape, "shape that the network takes",
        lambda g: g.verify(torch.rand(N, 2, 2, 3).permute(0, 3, 1, 2), net=g.colour),
    ),
    "pixels from 0 to 255": (lambda g: g.verify(255 * FLAT), BadData, "scale the inputs", lambda g: g.verify(255 * FLAT / 255)),
    "bytes from 0 to 255": (
        lambda g: g.verify((255 * FLAT).to(torch.uint8)), BadShape, "x.float() / 255",
        lambda g: g.verify((255 * FLAT).to(torch.uint8).float() / 255),
    ),
    "an array of bytes": (
        lambda g: g.verify((255 * FLAT).numpy().astype(np.uint8)), BadData, "scale the inputs",
        lambda g: g.verify((255 * FLAT).numpy().astype(np.uint8) / 255),
    ),
    "normalised inputs": (lambda g: g.verify(FLAT - 0.5), BadData, "clip=None", lambda g: g.verify(FLAT - 0.5, clip=None)),
    "NaN inputs": (
        lambda g: g.verify(FLAT / 0 * 0), BadData, "replace the values",
        lambda g: g.verify((FLAT / 0 * 0).nan_to_num()),
    ),
    "infinite inputs, attacked": (
        lambda g: g.attack(FLAT / 0), BadData, "replace the values", lambda g: g.attack((FLAT / 0).nan_to_num(posinf=1.0)),
    ),
    "whole numbers": (
        lambda g: g.verify(torch.ones(N, 4, dtype=torch.long)), BadShape, "x.float()", lambda g: g.verify(torch.ones(N, 4).float()),
    ),
    "ragged lists": (lambda g: g.verify([[0.1] * 4, [0.2]]), BadData, "an array (B, *x)", lambda g: g.verify([[0.1] * 4] * N)),
    "a name for inputs": (
        lambda g: g.verify("digits"), BadData, "Box(x, 0.1)",
        lambda g: g.verify(epsball.Box(FLAT, 0.1), eps=None),
    ),
    "net and inputs swapped": (
        lambda g: epsball.verify(FLAT, g.net, g.y, eps=EPS), BadData, "an array (B, *x)",
        lambda g: epsball.verify(g.net, FLAT, g.y, eps=EPS),
    ),
    "eps 8": (lambda g: g.verify(eps=8), BadConfig, "8/255, not 8", lambda g: g.verify(eps="8/255")),
    "eps 8, attacked": (lambda g: g.attack(eps=8), BadConfig, "8/255, not 8", lambda g: g.attack(eps=8 / 255)),
    "a negative eps": (lambda g: g.verify(eps=-1), BadConfig, "such as 8/255", lambda g: g.verify(eps="8/255")),
    "eps is NaN": (lambda g: g.verify(eps=float("nan")), BadConfig, "such as 8/255", lambda g: g.verify(eps=8 / 255)),
    "no eps": (lambda g: g.verify(eps=None), BadConfig, "give eps", lambda g: g.verify(eps=EPS)),
    "eps is a word": (lambda g: g.verify(eps="8 / 25S"), BadConfig, "'8/255'", lambda g: g.verify(eps="8/255")),
    "eps is a dictionary": (lambda g: g.verify(eps={}), BadConfig, "give 0.1", lambda g: g.verify(eps=0.1)),
    "eps a channel": (
        lambda g: g.verify(torch.rand(N, 3, 2, 2), net=g.coloured, eps=torch.full((4,), EPS)), BadShape, "eps[:, None, None]",
        lambda g: g.verify(torch.rand(N, 3, 2, 2), net=g.coloured, eps=torch.full((3,), EPS)[:, None, None]),
    ),
    "eps of several radii in l2": (
        lambda g: g.verify(eps=[EPS] * 4, norm="l2"), BadConfig, 'norm="linf"', lambda g: g.verify(eps=[EPS] * 4, norm="linf"),
    ),
    "eps beside a set": (
        lambda g: g.verify(epsball.Box(FLAT, EPS)), BadConfig, "a set without eps",
        lambda g: g.verify(epsball.Box(FLAT, EPS), eps=None),
    ),
    "one-hot labels": (
        lambda g: g.verify(y=nn.functional.one_hot(g.y, 3)), BadShape, "y.argmax(1)",
        lambda g: g.verify(y=nn.functional.one_hot(g.y, 3).argmax(1)),
    ),
    "float labels": (lambda g: g.verify(y=g.y.float()), BadShape, "y.long()", lambda g: g.verify(y=g.y.float().long())),
    "labels in a column": (
        lambda g: g.verify(y=g.y[:, None]), BadShape, "y.flatten()",
        lambda g: g.verify(y=g.y[:, None].flatten()),
    ),
    "labels from 1": (
        lambda g: g.verify(y=torch.tensor([1, 2, 3])), BadData, "from 0", lambda g: g.verify(y=torch.tensor([1, 2, 3]) - 1),
    ),
    "a label of -1": (
        lambda g: g.attack(y=torch.tensor([0, 1, -1])), BadData, "from 0",
        lambda g: g.attack(y=torch.tensor([0, 1, 2])),
    ),
    "labels that are words": (
        lambda g: g.verify(y=["cat", "dog", "cat"]), BadData, "number the classes",
        lambda g: g.verify(y=[0, 1, 0]),
    ),
    "one label for all": (lambda g: g.verify(y=1), BadShape, "one a sample", lambda g: g.verify(y=torch.tensor([1] * N))),
    "too few labels": (lambda g: g.verify(y=g.y[:2]), BadShape, "one label for each input", lambda g: g.verify(FLAT[:2], g.y[:2])),
    "a dict": (
        lambda g: g.verify(net=Dictionary(g.mod)), BadCapture, "out['logits']", lambda g: g.verify(net=Logits(Dictionary(g.mod))),
    ),
    "a dict, attacked": (
        lambda g: g.attack(net=Dictionary(g.mod)), BadCapture, "out['logits']", lambda g: g.attack(net=Logits(Dictionary(g.mod))),
    ),
    "a name for a network": (
        lambda g: g.verify(net="w.pt"), BadConfig, "epsball.load('w.pt')",
        lambda g: g.verify(net=epsball.load(g.folder / "w.pt", arch="mlp:hidden=[5]", shape=(4,))),
    ),
    "weights for a network": (
        lambda g: g.verify(net=g.mod.state_dict()), BadConfig, "torch.nn.Module",
        lambda g: g.verify(net=g.mod),
    ),
    "a network in half precision": (
        lambda g: g.attack(net=mlp().half()), BadData, "precision of the inputs", lambda g: g.attack(net=mlp().half().float()),
    ),
    "inputs of another precision": (
        lambda g: epsball.bounds(g.net, epsball.Box(FLAT.double(), EPS)), BadData, "x.to(torch.float32)",
        lambda g: epsball.bounds(g.net, epsball.Box(FLAT.double().to(torch.float32), EPS)),
    ),
    "batch norm in training mode, smoothed": (
        lambda g: epsball.smooth(g.batch, sigma=0.1, classes=3).predict(FLAT), BadConfig, "network.eval()",
        lambda g: epsball.smooth(g.batch.eval(), sigma=0.1, classes=3).predict(FLAT),
    ),
    "norm l7": (lambda g: g.verify(norm="l7"), BadConfig, "'l2'", lambda g: g.verify(norm="l2")),
    "a norm of None": (lambda g: g.verify(norm=None), BadConfig, "linf", lambda g: g.verify(norm="linf")),
    "a mistyped method": (lambda g: g.verify(method="crwon"), BadConfig, "'crown'", lambda g: g.verify(method="crown")),
    "a mistyped attack": (lambda g: g.attack(method="pdg"), BadConfig, "'pgd'", lambda g: g.attack(method="pgd")),
    "a mistyped bounder": (
        lambda g: epsball.bounds(g.net, epsball.Box(FLAT, EPS), "corwn"), BadConfig, "'crown'",
        lambda g: epsball.bounds(g.net, epsball.Box(FLAT, EPS), "crown"),
    ),
    "an attack to verify by": (
        lambda g: g.verify(method=epsball.PGD()), BadConfig, "Ladder()",
        lambda g: g.verify(method=epsball.Ladder()),
    ),
    "a class of an attack": (
        lambda g: g.attack(method=epsball.FGSM), BadConfig, "FGSM()",
        lambda g: g.attack(method=epsball.FGSM()),
    ),
    "an attack without steps": (
        lambda g: g.attack(method=epsball.PGD(steps=0)), BadConfig, "steps >= 1", lambda g: g.attack(method=epsball.PGD(steps=1)),
    ),
    "bounds of inputs": (
        lambda g: epsball.bounds(g.net, FLAT), BadConfig, "epsball.Box(x, 0.1)",
        lambda g: epsball.bounds(g.net, epsball.Box(FLAT, 0.1)),
    ),
    "a range from high to low": (lambda g: g.verify(clip=(1, 0)), BadConfig, "clip=(0, 1)", lambda g: g.verify(clip=(0, 1))),
    "a range of one number": (lambda g: g.attack(clip=1.0), BadConfig, "clip=(0, 1)", lambda g: g.attack(clip=(0, 1))),
    "a timeout below 0": (lambda g: g.verify(timeout=-1), BadConfig, "seconds > 0", lambda g: g.verify(timeout=60)),
    "a threshold of several outputs": (lambda g: g.verify(threshold=0.5), BadConfig, "leave it out", lambda g: g.verify()),
    "a seed of 0.5": (lambda g: g.attack(seed=0.5), BadConfig, "a whole number", lambda g: g.attack(seed=5)),
    "radii in l1": (
        lambda g: epsball.radius(g.net, FLAT, g.y, norm="l1"), BadConfig, "linf or l2",
        lambda g: epsball.radius(g.net, FLAT, g.y, norm="l2", method="ibp"),
    ),
    "sigma 0": (lambda g: epsball.smooth(g.net, sigma=0), BadConfig, "0.25", lambda g: epsball.smooth(g.net, sigma=0.25)),
    "smoothing an array": (
        lambda g: epsball.smooth(g.net, sigma=0.1).predict(FLAT.numpy()), BadShape, "torch.as_tensor(x)",
        lambda g: epsball.smooth(g.net, sigma=0.1).predict(torch.as_tensor(FLAT.numpy())),
    ),
    "smoothing without classes": (
        lambda g: epsball.smooth(g.mod, sigma=0.1), BadConfig, "classes=", lambda g: epsball.smooth(g.mod, sigma=0.1, classes=3),
    ),
    "a shape that is a number": (
        lambda g: epsball.Network.capture(g.mod, 4), BadShape, "tuple(x.shape[1:])",
        lambda g: epsball.Network.capture(g.mod, tuple(FLAT.shape[1:])),
    ),
    "a batch in the shape": (
        lambda _: epsball.Network.capture(nn.Linear(4, 3), (N, 4)), BadCapture, "logits (B, K)",
        lambda _: epsball.Network.capture(nn.Linear(4, 3), (4,)),
    ),
    "a mistyped data set": (lambda _: epsball.load_data("digts"), BadConfig, "'digits'", lambda _: epsball.load_data("digits")),
    "a mistyped recipe": (
        lambda _: epsball.train(mlp(), _few(), recipe="standrad"), BadConfig, "'standard'",
        lambda _: epsball.train(mlp(), _few(), recipe="standard", epochs=1, batch=4),
    ),
    "a mistyped option of training": (
        lambda _: epsball.train(mlp(), _few(), recipe="standard", epochs=1, bacth=4), BadConfig, "'batch'",
        lambda _: epsball.train(mlp(), _few(), recipe="standard", epochs=1, batch=4),
    ),
    "a missing file": (
        lambda g: epsball.load(g.folder / "v.pt"), BadFile, "weights",
        lambda g: epsball.load(g.folder / "w.pt", arch="mlp:hidden=[5]", shape=(4,)),
    ),
    "weights alone": (
        lambda g: epsball.load(g.folder / "w.pt"), BadConfig, "arch='NAME'",
        lambda g: epsball.load(g.folder / "w.pt", arch="mlp:hidden=[5]", shape=(4,)),
    ),
    "a pickled module": (
        lambda g: epsball.load(g.folder / "whole.pt", arch="mlp", shape=(4,)), BadFile, "torch.save(module.state_dict(), path)",
        lambda g: epsball.load(g.folder / "w.pt", arch="mlp:hidden=[5]", shape=(4,)),
    ),
    "a Python file without a name": (
        lambda g: epsball.load(g.folder / "net.py", shape=(4,)), BadFile, "make",
        lambda g: epsball.load(f"{g.folder}/net.py:make", shape=(4,)),
    ),
}  # fmt: skip


def _few():
    """A data set of a few pictures of 4 pixels."""
    return epsball.load_data("few")


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    found = Given(folder)
    torch.save(found.mod.state_dict(), folder / "w.pt")
    torch.save(nn.Linear(2, 2), folder / "whole.pt")
    (folder / "net.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(4, 3)\n")
    x = torch.rand(12, 1, 2, 2, generator=torch.Generator().manual_seed(2)).numpy()
    y = found.mod(torch.from_numpy(x)).argmax(1).numpy()
    np.savez(folder / "few.npz", x_train=x, y_train=np.arange(12) % 3, x_test=x, y_test=y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        add("few", folder / "few.npz")
        yield found


def test_there_are_forty():
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_has_one_clear_error_and_its_fix_works(given, name):
    mistake, kind, fix, mended = CASES[name]
    with pytest.raises(kind) as caught:
        mistake(given)
    assert fix in (caught.value.fix or ""), str(caught.value)
    assert type(caught.value) is kind
    mended(given)


RIGHT: dict[str, Step] = {
    "lists": lambda g: g.verify(FLAT.tolist(), g.y.tolist()),
    "arrays of float64": lambda g: g.verify(FLAT.numpy().astype(np.float64), g.y.numpy().astype(np.int16)),
    "a number of numpy for eps": lambda g: g.verify(eps=np.float64(EPS)),
    "an array of radii": lambda g: g.verify(eps=np.full((1, 4), EPS)),
    "a tensor of one number for eps": lambda g: g.verify(eps=torch.tensor(EPS, dtype=torch.float64)),
    "a range in a list": lambda g: g.verify(clip=[0, 1]),
    "inputs that want a gradient": lambda g: g.verify(FLAT.clone().requires_grad_()),
    "a module in training mode": lambda g: g.verify(net=g.mod.train()),
    "a data-parallel module": lambda g: g.verify(net=nn.DataParallel(g.mod)),
    "pictures": lambda g: g.verify(PICTURES, net=g.pictures),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_no_mistake_has_the_right_answer(given, name):
    wanted = [(v.status, v.margin) for v in given.verify()]
    found = RIGHT[name](given)
    assert [v.status for v in found] == [status for status, _ in wanted]
    assert [v.margin for v in found] == pytest.approx([margin for _, margin in wanted], abs=1e-6)
    given.mod.eval()


def test_no_inputs_have_no_verdicts(given):
    assert list(given.verify(FLAT[:0], given.y[:0])) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is said about the outputs of none
        assert given.attack(FLAT[:0], given.y[:0]).margin.shape == (0,)


def test_one_logit_is_two_classes(given):
    y = (given.one(FLAT)[:, 0] > 0).long()
    assert {v.status for v in epsball.verify(given.one, FLAT, y, eps=1e-4)} <= {"verified", "unknown"}
    with pytest.raises(BadData, match=r"0\.\.1"):
        epsball.attack(given.one, FLAT, y + 1, eps=EPS)


def test_what_is_seldom_meant_is_a_warning(given):
    with pytest.warns(SoftmaxOutput):
        given.attack(net=nn.Sequential(mlp(), nn.Softmax(1)))
    with pytest.warns(WideNoise):
        epsball.smooth(given.mod, sigma=64.0, classes=3)


def test_a_mistyped_function_has_the_nearest():
    with pytest.raises(AttributeError, match="verify"):
        _ = epsball.verfy


COMMANDS: dict[str, tuple[list[str], str, list[str]]] = {
    # arguments that are wrong, words of the fix, and the arguments that it makes of them
    "a mistyped verb": (["verfy"], "--help", ["--help"]),
    "a mistyped option": (["verify", "MODEL", "--esp", "0.1"], "verify --help", ["verify", "--help"]),
    "eps 8": (["verify", "MODEL", "--eps", "8"], "8/255, not 8", ["verify", "MODEL", "--eps", "8/255"]),
    "a norm": (["verify", "MODEL", "--norm", "l7"], "'l2'", ["verify", "MODEL", "--norm", "l2", "--eps", "0.01"]),
    "a method": (["verify", "MODEL", "--method", "crwon"], "'crown'", ["verify", "MODEL", "--method", "crown"]),
    "an attack": (["attack", "MODEL", "--attack", "pdg"], "'pgd'", ["attack", "MODEL", "--attack", "pgd"]),
    "an empty slice": (["verify", "MODEL", "--index", "5:2"], "0:200", ["verify", "MODEL", "--index", "0:2"]),
    "an index past the end": (["attack", "MODEL", "--index", "999"], "give 7", ["attack", "MODEL", "--index", "7"]),
    "a shard": (["verify", "MODEL", "--shard", "0/2"], "from 1 to n", ["verify", "MODEL", "--shard", "1/2"]),
    "a device": (["verify", "MODEL", "--device", "cuda:99"], "--device cpu", ["verify", "MODEL", "--device", "cpu"]),
    "an architecture": (["verify", "w.pt"], "--arch NAME", ["verify", "MODEL"]),
    "another architecture": (
        ["verify", "w.pt", "--arch", "mpl:hidden=[5]"],
        "'mlp'",
        ["verify", "w.pt", "--arch", "mlp:hidden=[5]"],
    ),
    "a folder in a file": (["verify", "MODEL", "--out", "w.pt/run"], "another folder", ["verify", "MODEL", "--out", "run"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistake_on_the_command_line(given, name, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pt").write_bytes((given.folder / "w.pt").read_bytes())
    wrong, fix, mended = COMMANDS[name]

    def filled(arguments):
        if arguments[0] not in {"verify", "attack"} or "--help" in arguments:
            return arguments
        model = [part for word in arguments for part in (["w.pt", "--arch", "mlp:hidden=[5]"] if word == "MODEL" else [word])]
        return (
            [*model, "--data", "few", "--json"] if "--index" in arguments else [*model, "--data", "few", "--index", ":2", "--json"]
        )

    assert run(filled(wrong)) == 2
    told = capsys.readouterr()
    said = json.loads(told.out)["error"]["fix"] if "--json" in filled(wrong) else told.err
    assert fix in said
    assert "Traceback" not in told.err
    assert run(filled(mended)) == 0, capsys.readouterr().out
