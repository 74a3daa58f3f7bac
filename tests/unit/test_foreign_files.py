"""Networks in files that others made: weights with an architecture, lists of them, Python files, and what is refused by name."""

from __future__ import annotations

import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import epsball
from epsball.cli.app import run
from epsball.data.user import add
from epsball.errors import BadConfig, BadFile, BadShape
from epsball.models.base import build

X = torch.rand(4, 4, generator=torch.Generator().manual_seed(3))


class Small(nn.Module):
    """Not importable from anywhere a file could name."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)

    def forward(self, x):
        return self.body(x)


@pytest.fixture
def module():
    torch.manual_seed(0)
    return build("mlp", (4,), 3, hidden=(5,))


def test_weights_with_an_architecture_are_the_network(module, tmp_path):
    torch.save(module.state_dict(), tmp_path / "w.pt")
    for arch in ("mlp:hidden=[5]", "mlp: hidden=[5], batch_norm=false", "mlp:hidden=[5],classes=3"):
        net = epsball.load(tmp_path / "w.pt", arch=arch, shape=(4,))
        assert torch.equal(net.module(X), module(X))
    scaled = epsball.load(tmp_path / "w.pt", arch="mlp:hidden=[5]", shape=(4,), mean=[0.5], std=[0.25])
    assert torch.allclose(scaled.module(X), module((X - 0.5) / 0.25))


def test_a_list_of_one_is_that_one_and_of_several_is_asked_for(module, tmp_path):
    other = {name: 2 * tensor for name, tensor in module.state_dict().items()}
    torch.save({"state_dict": [module.state_dict()], "err": 0.1}, tmp_path / "one.pth")
    torch.save([module.state_dict(), other], tmp_path / "two.pth")
    assert torch.equal(epsball.load(tmp_path / "one.pth", arch="mlp:hidden=[5]", shape=(4,)).module(X), module(X))
    with pytest.raises(BadFile, match="holds 2 state dicts") as caught:
        epsball.load(tmp_path / "two.pth", arch="mlp:hidden=[5]", shape=(4,))
    assert "two.pth:1" in caught.value.fix
    found = epsball.load(f"{tmp_path}/two.pth:1", arch="mlp:hidden=[5]", shape=(4,)).module.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in other.items())
    for part in ("2", "-1", "x"):
        with pytest.raises(BadFile, match="none is"):
            epsball.load(f"{tmp_path}/two.pth:{part}", arch="mlp:hidden=[5]", shape=(4,))


def test_what_weights_alone_do_not_say_is_asked_for(module, tmp_path):
    path = tmp_path / "w.pt"
    torch.save(module.state_dict(), path)
    cases = [
        ({}, BadConfig, "--arch NAME"),
        ({"arch": "mlp"}, BadConfig, "shape="),
        ({"arch": "mpl:hidden=[5]", "shape": (4,)}, BadConfig, "'mlp'"),
        ({"arch": "mlp:hiden=[5]", "shape": (4,)}, BadConfig, "'hidden'"),
        ({"arch": "mlp:hidden", "shape": (4,)}, BadConfig, "option=value"),
        ({"arch": "mlp:classes=true", "shape": (4,)}, BadConfig, "classes=10"),
        ({"arch": "mlp:hidden=[6]", "shape": (4,)}, BadFile, "trained with"),
        ({"arch": "mlp:hidden=[5]", "shape": (5,)}, BadFile, "trained with"),
        ({"arch": "mlp:hidden=[5]", "shape": (4,), "layout": "nhwc"}, BadConfig, "leave it out"),
    ]
    for given, kind, fix in cases:
        with pytest.raises(kind) as caught:
            epsball.load(path, **given)
        assert fix in caught.value.fix


def test_a_safetensors_file_of_others(module, tmp_path):
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, tmp_path / "w.safetensors")
    with pytest.raises(BadFile, match="did not write") as caught:
        epsball.load(tmp_path / "w.safetensors")
    assert "--arch NAME" in caught.value.fix
    assert torch.equal(epsball.load(tmp_path / "w.safetensors", arch="mlp:hidden=[5]", shape=(4,)).module(X), module(X))


def _trap(tmp_path):
    """A pickle that opens a file when it is loaded."""

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "was here"), "w"))

    return Trap()


def _zipped(path, **entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)


def test_kinds_that_are_not_read_say_what_they_are_and_run_nothing(tmp_path):
    trap = pickle.dumps(_trap(tmp_path))
    torch.jit.script(nn.Linear(4, 3)).save(tmp_path / "script.pt")
    torch.jit.script(nn.Linear(4, 3)).save(tmp_path / "script.pth")
    torch.save(Small(), tmp_path / "whole.pt")
    torch.save(Small(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": _trap(tmp_path)}, tmp_path / "trap.pt")
    program = torch.export.export(nn.Linear(4, 3), (X,))
    torch.export.save(program, tmp_path / "program.pt2")
    _zipped(tmp_path / "trap.pt2", net__archive_format="pt2", net__data__sample_inputs__model_dot_pt=trap)
    _zipped(tmp_path / "net.keras", config_dot_json="{}", **{"model.weights.h5": b"\x89HDF\r\n\x1a\n"})
    (tmp_path / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    (tmp_path / "disguised.pth").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    np.savez(tmp_path / "arrays.npz", x=np.zeros(3))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    for name, says, fix in (
        ("script.pt", "TorchScript", "--arch"), ("script.pth", "TorchScript", "state_dict"),
        ("program.pt2", "unpickles", "net.py:make"), ("trap.pt2", "unpickles", "net.py:make"),
        ("net.keras", "Keras", "onnx"), ("net.h5", "Keras", "onnx"), ("disguised.pth", "Keras", "onnx"),
        ("whole.pt", "test_foreign_files.Small", "state_dict"), ("old.pth", "pickled object", "state_dict"),
        ("trap.pt", "pickled object", "state_dict"), ("arrays.npz", "numpy", "data add"), ("saved", "SavedModel", "tf2onnx"),
    ):  # fmt: skip
        with pytest.raises(BadFile) as caught:
            epsball.load(tmp_path / name, arch="mlp", shape=(4,))
        assert says in caught.value.what, name
        assert fix in caught.value.fix, name
        if not name.startswith(("whole", "old", "trap.pt")):
            with pytest.raises(BadFile, match=says):  # without an architecture, too
                epsball.load(tmp_path / name)
    assert not (tmp_path / "was here").exists()


def test_the_fix_for_each_kind_works(module, tmp_path):
    torch.jit.trace(module, X).save(tmp_path / "script.pt")
    torch.save(torch.jit.load(tmp_path / "script.pt").state_dict(), tmp_path / "weights.pt")
    assert torch.equal(epsball.load(tmp_path / "weights.pt", arch="mlp:hidden=[5]", shape=(4,)).module(X), module(X))
    batch = ({0: torch.export.Dim.AUTO},)
    torch.export.save(torch.export.export(module, (X,), dynamic_shapes=batch), tmp_path / "net.pt2")
    (tmp_path / "net.py").write_text(
        f"import torch\ndef make():\n    return torch.export.load({str(tmp_path / 'net.pt2')!r}).module()\n"
    )
    net = epsball.load(f"{tmp_path}/net.py:make", shape=(4,))
    assert torch.allclose(net.module(X), module(X))
    bounds = epsball.bounds(net, epsball.Box(X, 0.1))
    for _ in range(50):
        answer = module((X + 0.2 * torch.rand_like(X) - 0.1).clamp(0, 1))
        assert bool(((bounds.lower <= answer) & (answer <= bounds.upper)).all())


NETWORK = """
from dataclasses import dataclass
from torch import nn
from beside import WIDTH

@dataclass
class Size:
    width: int = WIDTH

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, Size().width)

    def forward(self, x):
        return self.body(x)

def make():
    return Net().train()

def takes(width):
    return Net()

def nothing():
    return 3

def fails():
    raise KeyError("weights")

def leaves():
    raise SystemExit(1)

net = Net()
open("was here", "w").close()
"""


def test_a_python_file_runs_only_for_a_name_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("WIDTH = 3\n")
    path = tmp_path / "mine.py"
    path.write_text(NETWORK)
    before = torch.random.get_rng_state()
    for name, says in ((None, "only for a name"), ("mak", "no 'mak'")):
        with pytest.raises(BadFile, match=says) as caught:
            epsball.load(path if name is None else f"{path}:{name}", shape=(4,))
        assert "make" in caught.value.fix
    assert not (tmp_path / "was here").exists()
    for name in ("make", "Net", "net"):
        module = epsball.load(f"{path}:{name}", shape=(4,)).module
        assert not module.training
        assert module(X).shape == (4, 3)
    for name, says in (("takes", "TypeError"), ("nothing", "makes a int"), ("fails", "KeyError"), ("leaves", "SystemExit")):
        with pytest.raises(BadFile, match=says) as caught:
            epsball.load(f"{path}:{name}", shape=(4,))
    assert caught.value.where == f"{path}:{NETWORK.splitlines().index('    raise SystemExit(1)') + 1}"
    with pytest.raises(BadConfig, match="input looks like"):
        epsball.load(f"{path}:make")
    with pytest.raises(BadConfig, match="says its own"):
        epsball.load(f"{path}:make", arch="mlp", shape=(4,))
    assert torch.equal(before, torch.random.get_rng_state())
    path.write_text("def make(:\n")
    with pytest.raises(BadFile, match="not Python") as caught:
        epsball.load(f"{path}:make", shape=(4,))
    assert f"{path}:1" in caught.value.where


def test_verbs_take_weights_and_python_files(module, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    y = module(X).argmax(1).numpy()
    np.savez(tmp_path / "d.npz", x_train=X.numpy(), y_train=np.arange(4) % 3, x_test=X.numpy(), y_test=y)
    add("four", tmp_path / "d.npz")
    torch.save({"state_dict": [module.state_dict()]}, tmp_path / "w.pth")
    load = f"epsball.load({str(tmp_path / 'w.pth')!r}, arch='mlp:hidden=[5]', shape=(4,))"
    (tmp_path / "m.py").write_text(f"import epsball\ndef make():\n    return {load}.module\n")
    options = ["--data", "four", "--eps", "0.01", "--device", "cpu"]
    said = []
    for name, more in (("w.pth", ["--arch", "mlp:hidden=[5]"]), ("m.py:make", [])):
        out = tmp_path / f"out-{len(said)}"
        assert run(["verify", str(tmp_path / name), *more, *options, "--out", str(out / "run"), "--json"]) == 0
        capsys.readouterr()
        lines = [json.loads(line) for line in (out / "run" / "record.jsonl").read_text().splitlines()]
        assert lines[0]["config"].get("arch") == (more[1] if more else None)
        assert lines[0]["subject"]["architecture"] == ("mlp" if more else "Sequential")
        said.append([(line["status"], line["margin"]) for line in lines if line["type"] == "instance"])
    assert said[0] == said[1]
    assert len(said[0]) == 4
    assert run(["verify", str(tmp_path / "w.pth"), *options]) == 2
    assert "--arch NAME" in capsys.readouterr().err


def test_a_shape_that_a_checkpoint_denies(tmp_path):
    from epsball.models.base import Architecture
    from epsball.models.store import save_model

    described = Architecture("mlp", (4,), 3, options={"hidden": (5,)})
    save_model(tmp_path / "m.safetensors", described.build(), described, {})
    assert epsball.load(tmp_path / "m.safetensors", shape=(4,)).input_shape == (4,)
    with pytest.raises(BadShape, match="takes inputs"):
        epsball.load(tmp_path / "m.safetensors", shape=(5,))
    with pytest.raises(BadConfig, match="says its own"):
        epsball.load(tmp_path / "m.safetensors", arch="mlp")


@pytest.mark.shared
@pytest.mark.parametrize("file", ["mnist.pth", "fashion_mnist.pth"])
def test_wong_and_kolters_files_open_by_their_names(shared, file, tmp_path):
    path = shared / "data/models/wong-kolter-certified" / file
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    torch.save({"state_dict": [theirs], "err": 0.1, "epoch": 9}, tmp_path / file)  # as their training script writes them
    for place in (path, tmp_path / file):
        found = epsball.load(place, arch="cnn-small", shape=(1, 28, 28)).module.state_dict()
        assert all(torch.equal(a, b) for a, b in zip(found.values(), theirs.values(), strict=True))
