"""Weights that others saved: state dicts in .pt, .pth and .safetensors files. Reading them never executes anything."""

from __future__ import annotations

import pickle
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from epsball.errors import BadConfig, BadFile
from epsball.models.base import Architecture, Shape, architecture, models
from epsball.models.recognised import refuse_foreign
from epsball.models.store import misfit

if TYPE_CHECKING:
    from pathlib import Path

_NESTED = ("state_dict", "model_state_dict", "model")
_COUNTER = "num_batches_tracked"


def read_state_dict(path: Path, part: str | None = None) -> dict[str, Tensor]:
    """The tensors of a foreign file by name, on the CPU; the prefixes of data-parallel and compiled modules are taken off.

    Args:
        path: of the file. A list of one state dict, as the files of Wong and Kolter hold, is that one.
        part: which one of a list of several, from 0.

    Raises:
        BadFile: missing, truncated, of a kind that is not read, or holding more than tensors and plain values (which could execute
            code); a list of several without a part.
    """
    if not path.is_file():
        raise BadFile("no such file", where=str(path), fix="give a .pt, .pth or .safetensors file of weights")
    refuse_foreign(path)
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        held = re.search(r"GLOBAL (\S+)", str(error))
        what = f"the file holds a pickled object ({held[1]}) beside weights" if held else "the file is no checkpoint"
        raise BadFile(
            f"{what}: it was refused unread, for it could execute code",
            where=str(path),
            fix="where you trust it, save the weights alone, torch.save(module.state_dict(), path), and say --arch NAME; or name "
            "a Python file that builds the module: model.py:make",
        ) from error
    except Exception as error:  # torch's reader raises whatever a damaged file leads it into
        raise BadFile(
            f"the weights are truncated or damaged: {_first_line(error)}", where=str(path), fix="copy or save them again"
        ) from error
    for key in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), (Mapping, list, tuple)):
            found = found[key]
    found = _one_of(found, part, path)
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise BadFile("the file holds no state dict", where=str(path), fix="save module.state_dict() alone")
    return {str(name).removeprefix("_orig_mod.").removeprefix("module."): tensor for name, tensor in found.items()}


def _one_of(found: object, part: str | None, path: Path) -> object:
    """The part of a list that was asked for; what is no list is itself."""
    parts = found if isinstance(found, (list, tuple)) and all(isinstance(one, Mapping) for one in found) else [found]
    if part is None and len(parts) == 1:
        return parts[0]
    if not parts:
        return None
    if part is None or not part.isdecimal() or int(part) >= len(parts):
        raise BadFile(
            f"the file holds {len(parts)} state dict{'s' if len(parts) > 1 else ''}" + (f", and none is {part!r}" if part else ""),
            where=str(path),
            fix="say which one, from 0: " + ", ".join(f"{path.name}:{i}" for i in range(min(3, len(parts)))),
        )
    return parts[int(part)]


def load_state_dict_file(module: nn.Module, path: Path) -> nn.Module:
    """Load foreign weights into a module, by name; the module is returned.

    Raises:
        BadFile: see `read_state_dict`; or a tensor does not fit, and the module is as it was.
    """
    state = read_state_dict(path)
    wrong = misfit(*(_without_counters(s) for s in (module.state_dict(), state)))
    if wrong:
        raise BadFile(f"the weights do not fit the module: {wrong}", where=str(path), fix="build the module they were saved from")
    module.load_state_dict(state, strict=False)
    return module


def load_foreign(
    name_of_model: str,
    path: Path,
    input_shape: Shape,
    classes: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **options: object,
) -> tuple[nn.Module, Architecture]:
    """A registered model with foreign weights: by name if the names agree, else by order.

    By order, each pair of tensors must agree in shape and in the last part of its name (weight, bias, running_mean, ...); nothing
    is guessed beyond that. The normalisation layer takes its numbers from `mean` and `std`, never from the file.

    Args:
        name_of_model: of a registered model.
        path: a .pt, .pth or .safetensors file.
        input_shape: of one sample.
        classes: how many.
        mean: per channel, if the network was trained on normalised inputs.
        std: likewise.
        **options: of the model.

    Returns:
        The module in evaluation mode, and its architecture.

    Raises:
        BadConfig: an unknown model or option.
        BadFile: the tensors do not fit; the message lists the shapes of both sides.
    """
    described = architecture(name_of_model, input_shape, classes, mean, std, **options)
    return _filled(described, read_state_dict(path), path), described


def load_weights(path: Path, part: str | None, arch: str, input_shape: Shape) -> nn.Module:
    """The network of a state dict and of what it does not say, its architecture.

    Args:
        path: see `read_state_dict`.
        part: likewise.
        arch: a registered model and its options, "cnn-small" or "mlp:hidden=[20,20],batch_norm=true". How many classes it has is
            the length of the file's last tensor, or its option `classes`.
        input_shape: of one sample.

    Raises:
        BadConfig, BadShape: an architecture that does not exist, or not for such inputs.
        BadFile: see `read_state_dict`; or the tensors do not fit.
    """
    state = read_state_dict(path, part)
    name, options = _parsed(arch)
    last = list(_without_counters(state).values())[-1:]
    classes = options.pop("classes", len(last[0]) if last and last[0].dim() else 0)
    if isinstance(classes, bool) or not isinstance(classes, int):
        raise BadConfig(f"{classes!r} classes", where=f"--arch {arch}", fix="give a whole number: classes=10")
    return _filled(architecture(name, input_shape, classes, **options), state, path)


def arch_name(arch: str) -> str:
    """The model of an architecture with options."""
    return arch.partition(":")[0].strip()


def _parsed(arch: str) -> tuple[str, dict[str, Any]]:
    name, text = arch_name(arch), arch.partition(":")[2]
    models[name]  # an unknown name fails here, with the nearest
    try:
        return name, dict(tomllib.loads(f"options = {{ {text} }}")["options"])
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(
            f"not options of a model: {text!r}",
            where=f"--arch {arch}",
            fix="write NAME:option=value,option=value: mlp:hidden=[20,20]",
        ) from error


def _filled(described: Architecture, state: Mapping[str, Tensor], path: Path) -> nn.Module:
    """A described network with weights, by name or by order."""
    with torch.random.fork_rng(devices=[]):
        module = described.build()
    body = module if described.mean is None else module.get_submodule("body")
    ours, theirs = _without_counters(body.state_dict()), _without_counters(state)
    if misfit(ours, theirs):
        if _signature(ours) != _signature(theirs):
            raise BadFile(
                f"the weights do not fit the model {described.name!r}, by name or by order: {_difference(ours, theirs)}",
                where=f"{path}\n      the file has {_listed(theirs)}\n      the model {_listed(ours)}",
                fix="choose the model and options the weights were trained with",
            )
        theirs = dict(zip(ours, theirs.values(), strict=True))
    body.load_state_dict(theirs, strict=False)
    return module.eval()


def _without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Batch norm's counters have no part in evaluation, and old files lack them."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(_COUNTER)}


def _signature(state: Mapping[str, Tensor]) -> list[tuple[str, Shape]]:
    return [(name.rpartition(".")[2], tuple(tensor.shape)) for name, tensor in state.items()]


def _difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    for (name, tensor), (other, found) in zip(ours.items(), theirs.items(), strict=False):
        if tensor.shape != found.shape or name.rpartition(".")[2] != other.rpartition(".")[2]:
            return f"{other!r} {tuple(found.shape)} stands where {name!r} {tuple(tensor.shape)} belongs"
    return f"{len(theirs)} tensors for {len(ours)}"


def _listed(state: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in state.items())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
