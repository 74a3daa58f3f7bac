"""Checkpoints: what is written comes back bit for bit; what is damaged or foreign is one error that names the place."""

from __future__ import annotations

import pickle
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

from epsball.errors import BadConfig, BadFile, BadShape, DiskFull
from epsball.models import store
from epsball.models.base import architecture, build
from epsball.models.foreign import load_foreign, load_state_dict_file, read_state_dict
from epsball.models.store import load_model, save_model
from epsball.storage import read_tensors, write_tensors

SMALL = architecture("cnn-small", (1, 8, 8), 10, [0.3], [0.4], batch_norm=True)


def trained(described=SMALL):
    torch.manual_seed(4)
    module = described.build()
    for _ in range(3):
        module(torch.rand(5, *described.input_shape))  # moves the running statistics
    return module.eval()


@pytest.mark.parametrize("where", ["run", "run/best.safetensors"])
def test_a_model_comes_back_bit_for_bit(tmp_path, where):
    module = trained()
    extra = {"recipe": "fast-ibp", "seed": 3, "eps": 0.1, "data": {"digest": "ab"}}
    file = save_model(tmp_path / where, module, SMALL, extra)
    assert file.name == ("best.safetensors" if "best" in where else "model.safetensors")
    before = torch.get_rng_state()
    again, described, told = load_model(tmp_path / where)
    assert torch.equal(torch.get_rng_state(), before)
    assert (described, told, again.training) == (SMALL, extra, False)
    assert list(again.state_dict()) == list(module.state_dict())
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in module.state_dict().items())
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(again(x), module(x))
    assert all(p.requires_grad for p in again.parameters())


def test_double_precision_and_wrappers_are_kept_and_taken_off(tmp_path):
    module = trained().double()
    save_model(tmp_path, torch.nn.DataParallel(module), SMALL, {})
    again = load_model(tmp_path)[0]
    assert {p.dtype for p in again.parameters()} == {torch.float64}
    assert torch.equal(again(torch.ones(2, 1, 8, 8).double()), module(torch.ones(2, 1, 8, 8).double()))


def test_a_module_of_another_architecture_is_not_saved(tmp_path):
    with pytest.raises(BadShape, match=r"'normalise.mean' \(1, 1, 1\) is missing"):
        save_model(tmp_path, build("cnn-small", (1, 8, 8), 10, batch_norm=True), SMALL, {})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path, monkeypatch):
    module = trained()
    save_model(tmp_path, module, SMALL, {"epoch": 1})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("epsball.files.os.fsync", full)
    with pytest.raises(DiskFull):
        save_model(tmp_path, module, SMALL, {"epoch": 2})
    assert load_model(tmp_path)[2] == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("cut", [0, 5, 300, 5000, -1])
def test_a_truncated_checkpoint_is_one_error(tmp_path, cut):
    file = save_model(tmp_path, trained(), SMALL, {})
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(BadFile, match="truncated or malformed") as caught:
        load_model(tmp_path)
    assert caught.value.where == str(file)


def test_missing_and_foreign_files(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "no.safetensors"):
        with pytest.raises(BadFile, match="no such checkpoint"):
            load_model(path)
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(BadFile, match="epsball did not write"):
        load_model(tmp_path / "other.safetensors")
    write_tensors(tmp_path / "data.safetensors", {"a": torch.zeros(2)}, {"format": "epsball.data/1"})
    with pytest.raises(BadFile, match="not a model checkpoint"):
        load_model(tmp_path / "data.safetensors")
    torch.save(trained().state_dict(), tmp_path / "model.pt")
    with pytest.raises(BadFile, match="truncated or malformed"):
        load_model(tmp_path / "model.pt")


MISFITS = {
    "missing": (lambda t: t.pop("body.0.weight"), r"'body.0.weight' \(16, 1, 4, 4\) is missing"),
    "shape": (lambda t: t.update({"body.3.bias": torch.zeros(31)}), r"'body.3.bias' has shape \(31,\) instead of \(32,\)"),
    "extra": (lambda t: t.update({"spare": torch.zeros(2)}), r"'spare' \(2,\) has no place"),
    "integers": (lambda t: t.update({"body.3.bias": torch.zeros(32, dtype=torch.int64)}), "'body.3.bias' holds torch.int64"),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_a_mismatch_names_the_first_tensor(tmp_path, kind):
    change, said = MISFITS[kind]
    file = save_model(tmp_path, trained(), SMALL, {})
    tensors, described = read_tensors(file)
    change(tensors)
    write_tensors(file, tensors, described)
    with pytest.raises(BadFile, match=said):
        load_model(tmp_path)


def test_an_architecture_that_this_version_does_not_know(tmp_path):
    file = save_model(tmp_path, trained(), SMALL, {})
    tensors, described = read_tensors(file)
    for change, said in (({"name": "cnn-8000"}, "unknown model 'cnn-8000'"), ({"options": 7}, "malformed description")):
        write_tensors(file, tensors, described | {"architecture": described["architecture"] | change})
        with pytest.raises(BadFile, match=said) as caught:
            load_model(tmp_path)
        assert caught.value.where == str(file)


class Evil:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_that_could_run_code_is_refused(tmp_path):
    evil = Evil(tmp_path / "was here")
    torch.save({"state_dict": {}, "more": evil}, tmp_path / "evil.pt")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(evil, protocol=2))
    (tmp_path / "text.pt").write_text("weights")
    for name in ("evil.pt", "raw.pth", "text.pt"):
        with pytest.raises(BadFile, match="refused unread"):
            read_state_dict(tmp_path / name)
    assert not (tmp_path / "was here").exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "was here").exists()  # the file would have run code


def test_foreign_weights_by_name(tmp_path):
    module = trained()
    state = module.state_dict()
    torch.save({"state_dict": OrderedDict((f"module.{k}", v) for k, v in state.items()), "epoch": 3}, tmp_path / "a.pth")
    save_file({k: v.contiguous() for k, v in state.items() if "num_batches" not in k}, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        again = load_state_dict_file(SMALL.build(), tmp_path / name).eval()
        assert torch.equal(again(torch.ones(1, 1, 8, 8)), module(torch.ones(1, 1, 8, 8)))
    other = build("cnn-small", (1, 8, 8), 10)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(BadFile, match=r"'0.weight' \(16, 1, 4, 4\) is missing"):
        load_state_dict_file(other, tmp_path / "a.pth")
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())


@pytest.mark.parametrize("cut", [0, 10, 500, 5000, -300])
def test_truncated_foreign_weights(tmp_path, cut):
    for new in (True, False):
        torch.save(trained().state_dict(), tmp_path / "a.pt", _use_new_zipfile_serialization=new)
        (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:cut])
        with pytest.raises(BadFile) as caught:
            read_state_dict(tmp_path / "a.pt")
        assert caught.value.where == str(tmp_path / "a.pt")


def test_files_that_hold_no_state_dict(tmp_path):
    for value in ([1, 2], {}, {"a": 3}, torch.zeros(2)):
        torch.save(value, tmp_path / "a.pt")
        with pytest.raises(BadFile, match="no state dict"):
            read_state_dict(tmp_path / "a.pt")
    with pytest.raises(BadFile, match="no such file"):
        read_state_dict(tmp_path / "b.pt")


def test_foreign_weights_by_order(tmp_path):
    module = trained().get_submodule("body")
    renamed = OrderedDict((f"layer{i}.{k.rpartition('.')[2]}", v) for i, (k, v) in enumerate(module.state_dict().items()))
    torch.save(renamed, tmp_path / "a.pt")
    again, described = load_foreign("cnn-small", tmp_path / "a.pt", (1, 8, 8), 10, [0.3], [0.4], batch_norm=True)
    assert described == SMALL
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(again(x), trained()(x))
    renamed["layer2.bias"] = renamed.pop("layer2.weight")  # batch norm's weight: same shape, another role and place
    torch.save(renamed, tmp_path / "b.pt")
    with pytest.raises(BadFile, match="by name or by order") as caught:
        load_foreign("cnn-small", tmp_path / "b.pt", (1, 8, 8), 10, batch_norm=True)
    assert "layer0.weight (16, 1, 4, 4)" in caught.value.where
    assert "10.weight (10, 100)" in caught.value.where
    with pytest.raises(BadFile, match="by name or by order"):
        load_foreign("cnn-small", tmp_path / "a.pt", (1, 8, 8), 10)
    with pytest.raises(BadConfig, match="unknown model"):
        load_foreign("cnn-smal", tmp_path / "a.pt", (1, 8, 8), 10)


@pytest.mark.shared
@pytest.mark.parametrize(("file", "classes"), [("mnist.pth", 10), ("fashion_mnist.pth", 10)])
def test_wong_and_kolters_networks_load(shared, file, classes):
    path = shared / "data/models/wong-kolter-certified" / file
    module, described = load_foreign("cnn-small", path, (1, 28, 28), classes)
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), theirs.values(), strict=True))
    assert described.name == "cnn-small"


@pytest.mark.slow
@pytest.mark.shared
def test_wong_and_kolters_mnist_network_has_its_published_error(shared, monkeypatch):
    from epsball.data.find import load

    monkeypatch.setenv("EPSBALL_DATA", str(shared / "data"))
    test = load("mnist").test
    module, _ = load_foreign("cnn-small", shared / "data/models/wong-kolter-certified/mnist.pth", (1, 28, 28), 10)
    with torch.no_grad():
        wrong = int((module(test.inputs()).argmax(1) != test.y).sum())
    assert wrong == 180  # 1.80 % of 10,000


def test_misfit_of_equal_states_is_none():
    state = trained().state_dict()
    assert store.misfit(state, state) is None
