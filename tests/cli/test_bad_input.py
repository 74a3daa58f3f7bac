"""Bad input: one error that names the place and the fix, the documented exit code, nothing half-written, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import shutil

import numpy as np
import pytest
import torch
from test_verbs import call, trained  # noqa: F401 - a fixture

from epsball.models.store import load_model, save_model
from epsball.record.folder import RunFolder
from epsball.storage import read_tensors, write_tensors


def fails(capsys, code: int, says: str, *arguments: object) -> str:
    """One message with a place or a fix, on stderr as text and on stdout as JSON."""
    got, out, err = call(capsys, *arguments)
    assert got == code, out + err
    assert says in err
    assert err.count("Fix:") == 1
    assert "Traceback" not in err
    got, out, err = call(capsys, *arguments, "--json")
    assert got == code
    assert says in json.loads(out)["error"]["what"] + json.loads(out)["error"]["fix"]
    return err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--eps", "-0.1"), "negative"),
        (("--eps", "8"), "larger than the whole valid range"),
        (("--eps", "lots"), "is not a number"),
        (("--norm", "l7"), "unknown norm 'l7'"),
        (("--index", "5:2"), "names no examples"),
        (("--index", "99999"), "names no examples"),
        (("--index", "a"), "names no examples"),
        (("--shard", "3/2"), "does not exist"),
        (("--shard", "x"), "is not a shard"),
        (("--method", "crwon"), "did you mean 'crown'"),
        (("--data", "digts"), "did you mean 'digits'"),
        (("--device", "quantum"), "cannot be used"),
        (("--timeout", "-1"), "must be positive"),
        (("--no-such-option",), "No such option"),
    ],
)
def test_verify_refuses_bad_options(capsys, trained, tmp_path, options, says):  # noqa: F811
    out = tmp_path / "v"
    base = {"--data": "digits", "--eps": "1/16", "--index": ":5"} | dict([options] if len(options) == 2 else [])
    flat = [part for pair in base.items() for part in pair] + ([options[0]] if len(options) == 1 else [])
    fails(capsys, 2, says, "verify", trained, "--out", out, *flat)
    assert not (out / "record.jsonl").exists() or len((out / "record.jsonl").read_text().splitlines()) <= 1


NORMED = ("fast-ibp", "--eps", "0.1", "--model", "mlp", "--set", "model.batch_norm=true")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fast-ipb", "--eps", "0.1"), "did you mean 'fast-ibp'"),
        (("fast-ibp",), "needs 'eps'"),
        (("fast-ibp", "--eps", "-1"), "eps"),
        (("fast-ibp", "--eps", "3"), "eps"),
        (("fast-ibp", "--eps", "0.1", "--epochs", "2", "--set", "ramp=50"), "take"),
        (("fast-ibp", "--eps", "0.1", "--set", "recipe.tolerence=1"), "tolerance"),
        (("fast-ibp", "--eps", "0.1", "--model", "cnn-smal"), "did you mean 'cnn-small'"),
        (("fast-ibp", "--eps", "0.1", "--set", "model.widht=2"), "widht"),
        (("fast-ibp", "--eps", "0.1", "--batch", "0"), "batch"),
        (("fast-ibp", "--eps", "0.1", "--set", "milestones=[99]"), "after the run's end"),
        (("fast-ibp", "--eps", "0.1", "--set", "average=swa", "--set", "average_from=99"), "begins at epoch 99"),
        (("fast-ibp", "--eps", "0.1", "--set", "kappa_end=1.5"), "recipe.kappa_end must lie in [0, 1]"),
        (("crown-ibp", "--eps", "0.1", "--set", "beta_start=-1"), "recipe.beta_start must lie in [0, 1]"),
        (("mixture", "--eps", "0.1", "--set", "weight=2"), "recipe.weight must lie in [0, 1]"),
        (("fast-ibp", "--eps", "0.1", "--set", "target=2"), "target in [0, 1]"),
        ((*NORMED, "--batch", "1"), "more than one value a channel"),
        ((*NORMED, "--batch", "4", "--set", "accumulate=4"), "more than one value a channel"),
        (("fast-ibp", "--eps", "0.1", "--set", "data.splti=1"), "unknown option 'splti'"),
        (("fast-ibp", "--eps", "0.1", "--seeds", "0,0"), "stands twice"),
        (("fast-ibp", "--eps", "0.1", "--set", "optimizer=adamm"), "did you mean 'adam"),
        ((*NORMED, "--set", "precision=tf32"), "cannot train in tf32"),
        ((*NORMED, "--set", "cuda_graph=true"), "cannot record CUDA graphs"),
        (("missing.toml",), "cannot be read"),
        ((), "no recipe was named"),
    ],
)
def test_train_refuses_bad_configuration(capsys, tmp_path, arguments, says):
    out = tmp_path / "run"
    fails(capsys, 2, says, "train", *arguments, "--data", "digits", "--device", "cpu", "--out", out)
    assert not (out / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("[recipe]\nkapa_end = 0.5", "did you mean 'kappa_end'"),
        ("[train]\nepoch = 3", "did you mean 'epochs'"),
        ("[trian]\nepochs = 3", "did you mean 'train'"),
        ("[model]\nhiden = 3", "did you mean 'hidden'"),
        ("[data]\nnme = 3", "did you mean 'name'"),
    ],
)
def test_a_key_of_a_toml_file_that_does_not_exist(capsys, tmp_path, wrong, says):
    tables = {
        "recipe": 'name = "ibp"\neps = 0.1\nramp = 1',
        "train": "batch = 64",
        "model": 'name = "mlp"',
        "data": 'name = "digits"',
    }
    header, line = wrong.split("\n")
    tables[header[1:-1]] = f"{tables.get(header[1:-1], '')}\n{line}"
    (tmp_path / "c.toml").write_text("\n".join(f"[{name}]\n{text}" for name, text in tables.items()))
    fails(capsys, 2, says, "train", tmp_path / "c.toml", "--out", tmp_path / "run")
    assert not (tmp_path / "run" / "record.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--sigma", "0"), "sigma"), (("--sigma", "-1"), "sigma"), (("--alpha", "2"), "alpha"), (("--set", "cap=10"), "cap"),
        (("--noise", "gausian"), "did you mean 'gaussian'"), (("--procedure", "fixd"), "did you mean 'fixed'"),
        (("--radius", "9"), "ask for a radius inside"), (("--selection", "0"), "selection"),
        (("--shard", "3/2"), "shard"), (("--cluster", "127.0.0.1:1"), "no Ray cluster"), (("--cluster", "here"), "no Ray cluster"),
    ],
)  # fmt: skip
def test_certify_refuses_bad_options(capsys, trained, tmp_path, options, says):  # noqa: F811
    fails(capsys, 2, says, "certify", trained, "--data", "digits", "--index", ":3", "--out", tmp_path / "c", *options)


def test_certificates_of_another_sigma_are_not_continued(capsys, trained, tmp_path):  # noqa: F811
    options = ("certify", trained, "--data", "digits", "--index", ":2", "--set", "cap=1024", "--out", tmp_path / "c")
    assert call(capsys, *options, "--sigma", "0.1")[0] == 0
    before = (tmp_path / "c" / "record.jsonl").read_bytes()
    fails(
        capsys,
        2,
        "noise = Gaussian(sigma=0.1) there and Gaussian(sigma=0.2) here",
        *options,
        "--sigma",
        "0.2",
        "--resume",
    )
    assert (tmp_path / "c" / "record.jsonl").read_bytes() == before


def test_a_malformed_toml_names_the_line(capsys, tmp_path):
    (tmp_path / "c.toml").write_text('[recipe]\nname = "ibp\n')
    err = fails(capsys, 2, "not TOML", "train", tmp_path / "c.toml", "--out", tmp_path / "run")
    assert err == ""  # the JSON form says it on stdout
    assert "c.toml:2" in call(capsys, "train", tmp_path / "c.toml", "--out", tmp_path / "run")[2]


def test_checkpoints_that_are_truncated_foreign_or_missing(capsys, trained, tmp_path):  # noqa: F811
    whole = (trained / "model.safetensors").read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole[: len(whole) // 2])
    foreign = tmp_path / "foreign.safetensors"
    write_tensors(foreign, {"a": torch.zeros(2)}, {"format": "something else"})
    for path, says in ((cut, "truncated or malformed"), (tmp_path / "none", "no such checkpoint")):
        fails(capsys, 2, says, "verify", path, "--data", "digits", "--eps", "0.1")
    code, _, err = call(capsys, "verify", foreign, "--data", "digits", "--eps", "0.1")
    assert code == 2
    assert str(foreign) in err


def test_nan_weights_are_refused(capsys, trained, tmp_path):  # noqa: F811
    tensors, metadata = read_tensors(trained / "model.safetensors")
    name = next(k for k, v in tensors.items() if v.is_floating_point() and v.dim() > 1)
    tensors[name][0, 0] = float("nan")
    write_tensors(tmp_path / "model.safetensors", tensors, metadata)
    fails(capsys, 2, "holds NaN", "verify", tmp_path / "model.safetensors", "--data", "digits", "--eps", "0.1")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def _npz(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.random((40, 1, 4, 4), dtype=np.float32), "y_train": np.arange(40) % 10,
        "x_test": rng.random((20, 1, 4, 4), dtype=np.float32), "y_test": np.arange(20) % 10,
    } | changes  # fmt: skip
    np.savez(path, **arrays)
    return path


def test_data_of_another_shape_or_with_more_classes(capsys, cache, trained):  # noqa: F811
    assert call(capsys, "data", "add", "mine", _npz(cache / "mine.npz"))[0] == 0
    fails(capsys, 2, "the network takes", "verify", trained, "--data", "mine", "--eps", "0.1")
    wide = np.random.default_rng(0).random((40, 1, 8, 8), dtype=np.float32)
    many = _npz(cache / "many.npz", x_train=wide, x_test=wide[:20], y_train=np.arange(40) % 20, y_test=np.arange(20))
    assert call(capsys, "data", "add", "many", many)[0] == 0
    fails(capsys, 2, "label", "verify", trained, "--data", "many", "--eps", "0.1")


def test_a_run_does_not_go_on_with_data_of_another_shape(capsys, cache):
    assert call(capsys, "data", "add", "mine", _npz(cache / "mine.npz"))[0] == 0
    run = cache / "run"
    options = ("--model", "mlp", "--epochs", "1", "--batch", "8", "--set", "milestones=[]", "--out", run)
    assert call(capsys, "train", "standard", "--data", "mine", *options)[0] == 0
    (run / "model.safetensors").unlink()  # as if it had been stopped
    before = (run / "checkpoint.safetensors").read_bytes()
    wide = np.random.default_rng(0).random((40, 1, 8, 8), dtype=np.float32)
    shutil.rmtree(next((cache / "cache").rglob("mine")))
    assert call(capsys, "data", "add", "mine", _npz(cache / "mine.npz", x_train=wide, x_test=wide[:20]))[0] == 0
    fails(capsys, 2, "another data", "train", "--resume", run)
    assert (run / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"y_test": np.full(20, -1)}, "label"),
        ({"x_test": np.full((20, 1, 4, 4), np.nan, dtype=np.float32)}, "NaN"),
        ({"y_train": np.arange(39)}, "label"),
    ],
)
def test_bad_data_are_not_added(capsys, cache, changes, says):
    fails(capsys, 2, says, "data", "add", "mine", _npz(cache / "mine.npz", **changes))
    assert call(capsys, "data", "check", "mine")[0] == 2


def test_a_run_folder_in_use(capsys, trained, tmp_path):  # noqa: F811
    with RunFolder(tmp_path / "busy"):
        fails(capsys, 3, "is writing to this run", "verify", trained, "--data", "digits", "--eps", "0.1", "--index", ":5",
              "--out", tmp_path / "busy", "--resume")  # fmt: skip
        train = ("train", "standard", "--data", "digits", "--model", "mlp", "--out", tmp_path / "busy")
        fails(capsys, 3, "is writing to this run", *train)
        fails(capsys, 3, "is writing to this run", *train, "--seeds", "2")
    with RunFolder(trained, resume=True):
        fails(capsys, 3, "is writing to this run", "train", "--resume", trained)


def test_a_run_folder_that_exists_is_not_overwritten(capsys, trained, tmp_path):  # noqa: F811
    options = ("verify", trained, "--data", "digits", "--index", ":5", "--out", tmp_path / "v")
    assert call(capsys, *options, "--eps", "0.1")[0] == 0
    before = (tmp_path / "v" / "record.jsonl").read_bytes()
    fails(capsys, 2, "holds a run already", *options, "--eps", "0.1")
    fails(capsys, 2, "another configuration", *options, "--eps", "0.2", "--resume")
    assert (tmp_path / "v" / "record.jsonl").read_bytes() == before


def test_a_full_disk_loses_nothing(capsys, trained, tmp_path, monkeypatch):  # noqa: F811
    options = ("verify", trained, "--data", "digits", "--eps", "0.1", "--index", ":5")
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = call(capsys, *options, "--out", tmp_path / "v")
    assert code == 3
    assert "disk is full" in err
    monkeypatch.undo()
    for line in (tmp_path / "v" / "record.jsonl").read_text().splitlines():
        json.loads(line)
    assert call(capsys, *options, "--out", tmp_path / "v", "--resume")[0] == 0


def test_an_unsound_bound_is_exit_code_3(capsys, trained, tmp_path, monkeypatch):  # noqa: F811
    from epsball.bounding.ibp import Ibp

    monkeypatch.setattr(Ibp, "__call__", lambda *given: torch.full(given[3].values.shape[:2], 1e3))
    fails(capsys, 3, "found an input with", "verify", trained, "--data", "digits", "--eps", "0.1", "--index", ":5",
          "--method", "ibp", "--out", tmp_path / "v", "--resume")  # fmt: skip


def test_a_module_of_another_architecture_cannot_be_saved_under_this_one(trained, tmp_path):  # noqa: F811
    from epsball.errors import BadShape

    _, architecture, _ = load_model(trained)
    with pytest.raises(BadShape, match="not a 'mlp' as described"):
        save_model(tmp_path / "x.safetensors", torch.nn.Linear(2, 2), architecture, {})
