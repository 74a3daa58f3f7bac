"""Checkpoints: weights, architecture and whatever else describes them, in one safetensors file that executes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from epsball.errors import BadFile, BadShape, EpsballError
from epsball.graph.capture import unwrap
from epsball.models.base import Architecture
from epsball.storage import read_tensors, write_tensors

FORMAT = "epsball.model/1"
FILE = "model.safetensors"


def save_model(path: Path, module: nn.Module, architecture: Architecture, extra: Mapping[str, Any]) -> Path:
    """Write a checkpoint, whole and then renamed.

    Args:
        path: a file that ends in .safetensors, or a run folder.
        module: what `architecture.build()` builds, trained; compiled and data-parallel wrappers are taken off.
        architecture: its description.
        extra: what else belongs to it (recipe, data digest, seed, figures): anything that JSON can hold.

    Returns:
        The file.

    Raises:
        BadShape: the module is not of this architecture, so the checkpoint could never be loaded.
        DiskFull: an older checkpoint of that name is still there, whole.
    """
    state = unwrap(module).state_dict()
    wrong = misfit(_skeleton(architecture).state_dict(), state)
    if wrong:
        raise BadShape(f"the module is not a {architecture.name!r} as described: {wrong}", fix="give its own architecture")
    file = path if path.suffix == ".safetensors" else path / FILE
    write_tensors(file, state, {"format": FORMAT, "architecture": architecture.as_dict(), "extra": dict(extra)})
    return file


def load_model(path: Path) -> tuple[nn.Module, Architecture, dict[str, Any]]:
    """A network from a checkpoint, on the CPU and in evaluation mode.

    Args:
        path: a checkpoint, or a run folder that holds one.

    Returns:
        The module, its architecture, and what `save_model` was given as `extra`.

    Raises:
        BadFile: missing, truncated, foreign, or tensors that do not fit; the message names the first one.
    """
    file = path / FILE if path.is_dir() else path
    tensors, described = read_tensors(file)
    found = described.get("format") if isinstance(described, Mapping) else described
    if found != FORMAT:
        raise BadFile(
            f"not a model checkpoint of format {FORMAT}: found {found!r}",
            where=str(file),
            fix="give a run folder or its model.safetensors",
        )
    architecture = Architecture.from_dict(described.get("architecture"), str(file))
    module = _built(architecture, file)
    wrong = misfit(module.state_dict(), tensors)
    if wrong:
        raise BadFile(f"the checkpoint does not fit its own architecture: {wrong}", where=str(file), fix="use another checkpoint")
    module.load_state_dict(tensors, assign=True)
    return module.eval(), architecture, {**described["extra"]} if isinstance(described.get("extra"), Mapping) else {}


def misfit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    """What is wrong with the first tensor that does not fit, or None."""
    for name, tensor in wanted.items():
        if name not in found:
            return f"{name!r} {tuple(tensor.shape)} is missing"
        if found[name].shape != tensor.shape:
            return f"{name!r} has shape {tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
        if found[name].is_floating_point() != tensor.is_floating_point():
            return f"{name!r} holds {found[name].dtype} instead of {tensor.dtype}"
    for name in found:
        if name not in wanted:
            return f"{name!r} {tuple(found[name].shape)} has no place in the network"
    return None


def _skeleton(architecture: Architecture) -> nn.Module:
    with torch.device("meta"):
        return architecture.build()


def _built(architecture: Architecture, file: Path) -> nn.Module:
    try:
        with torch.random.fork_rng(devices=[]):  # the weights that building draws are thrown away
            return architecture.build()
    except EpsballError as error:
        raise BadFile(f"the checkpoint's architecture cannot be built: {error.what}", where=str(file), fix=error.fix) from error
