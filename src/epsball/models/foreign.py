"""Weights that others saved: state dicts in .pt, .pth and .safetensors files. Reading them never executes anything."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from epsball.errors import BadFile
from epsball.models.base import Architecture, Shape, architecture
from epsball.models.store import misfit

if TYPE_CHECKING:
    from pathlib import Path

_NESTED = ("state_dict", "model_state_dict", "model")
_COUNTER = "num_batches_tracked"


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a foreign file by name, on the CPU; the prefixes of data-parallel and compiled modules are taken off.

    Raises:
        BadFile: missing, truncated, or holding more than tensors and plain values (which could execute code).
    """
    if not path.is_file():
        raise BadFile("no such file", where=str(path), fix="give a .pt, .pth or .safetensors file of weights")
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadFile(
            "the file holds more than weights, or is no checkpoint: it was refused unread, for it could execute code",
            where=str(path),
            fix="where you trust it, save module.state_dict() alone: torch.save(module.state_dict(), path)",
        ) from error
    except Exception as error:  # torch's reader raises whatever a damaged file leads it into
        raise BadFile(
            f"the weights are truncated or damaged: {_first_line(error)}", where=str(path), fix="copy or save them again"
        ) from error
    for key in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise BadFile("the file holds no state dict", where=str(path), fix="save module.state_dict() alone")
    return {str(name).removeprefix("_orig_mod.").removeprefix("module."): tensor for name, tensor in found.items()}


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
    with torch.random.fork_rng(devices=[]):
        module = described.build()
    body = module if described.mean is None else module.get_submodule("body")
    ours, theirs = _without_counters(body.state_dict()), _without_counters(read_state_dict(path))
    if misfit(ours, theirs):
        if _signature(ours) != _signature(theirs):
            raise BadFile(
                f"the weights do not fit the model {name_of_model!r}, by name or by order: {_difference(ours, theirs)}",
                where=f"{path}\n      the file has {_listed(theirs)}\n      the model {_listed(ours)}",
                fix="choose the model and options the weights were trained with",
            )
        theirs = dict(zip(ours, theirs.values(), strict=True))
    body.load_state_dict(theirs, strict=False)
    return module.eval(), described


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
