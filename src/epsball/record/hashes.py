"""SHA-256 of what is in memory: tensors, mappings, sequences, plain values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType

import torch

from epsball.errors import BadConfig


def hashed(*values: object) -> str:
    """SHA-256 of tensors, mappings, sequences and plain values, types and shapes included."""
    total = hashlib.sha256()
    for value in values:
        _add(total, value)
    return total.hexdigest()


def _add(total: hashlib._Hash, value: object) -> None:
    if isinstance(value, torch.Tensor):
        total.update(f"tensor {value.dtype} {tuple(value.shape)};".encode())
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        total.update(f"mapping {len(value)};".encode())
        for key in sorted(value, key=repr):
            _add(total, key)
            _add(total, value[key])
    elif isinstance(value, (list, tuple)):
        total.update(f"sequence {len(value)};".encode())
        for part in value:
            _add(total, part)
    elif isinstance(value, partial):
        _add(total, ("partial", value.func, value.args, value.keywords))
    elif isinstance(value, FunctionType):  # by its name and what it holds: its address says nothing
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        _add(total, (f"function {value.__module__}.{value.__qualname__}", value.__defaults__ or (), held))
    elif isinstance(value, BuiltinFunctionType):
        _add(total, f"function {value.__qualname__}")
    else:
        text = repr(value)
        if " at 0x" in text:
            what = f"a {type(value).__name__} has no hash that another process would find, too"
            raise BadConfig(what, fix="report this with the network: a run of it could not be gone on with")
        total.update(f"{type(value).__name__} {len(text)};{text}".encode())
