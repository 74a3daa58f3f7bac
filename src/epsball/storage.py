"""Tensors on disk: safetensors files with a JSON header, written whole and then renamed. No pickle, ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from epsball.errors import BadFile
from epsball.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.types import Tensor

__all__ = ["read_description", "read_tensors", "write_bytes", "write_tensors"]
_KEY = "epsball"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write named tensors and a JSON description as one safetensors file, whole and then renamed.

    Raises:
        DiskFull: see `write_bytes`.
    """
    flat = {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in tensors.items()}
    write_bytes(path, save(flat, {_KEY: json.dumps(dict(metadata), sort_keys=True)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Named tensors and their description. The file is data only: reading it executes nothing.

    Raises:
        BadFile: no such file, truncated, malformed, or not written by this package.
    """
    if not path.is_file():
        raise BadFile("no such checkpoint", where=str(path), fix="give a run folder or a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            described = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise BadFile(
            f"the checkpoint is truncated or malformed: {error}", where=str(path), fix="use an older checkpoint of the run"
        ) from error
    if described is None:
        raise BadFile(
            "a safetensors file that epsball did not write",
            where=str(path),
            fix="say what its weights are of, --arch NAME; or load them into your own module, and pass the module",
        )
    try:
        metadata = json.loads(described)
    except ValueError as error:
        raise BadFile(
            "the checkpoint's description is malformed", where=str(path), fix="use an older checkpoint of the run"
        ) from error
    return tensors, metadata


def read_description(path: Path) -> object:
    """What `write_tensors` was given beside the tensors, which are left unread; None for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {}).get(_KEY, "null"))
    except (SafetensorError, OSError, ValueError):
        return None
