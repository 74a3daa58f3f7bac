"""Where a record's numbers come from: the command, the versions, the machine, and hashes of what was given."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epsball.record.lines.base import plain

if TYPE_CHECKING:
    from collections.abc import Mapping


def digest(config: Mapping[str, Any]) -> str:
    """A short hash of a configuration, the same for equal values in any order."""
    text = json.dumps(plain(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def command() -> list[str]:
    """The command line of this process, as it can be typed again."""
    python, *rest = sys.orig_argv or [sys.executable]
    if rest[:2] == ["-m", "epsball"]:
        return ["epsball", *rest[2:]]
    if rest and Path(rest[0]).name == "epsball":
        return ["epsball", *rest[1:]]
    return [Path(python).name, *rest]


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    from importlib.metadata import version

    return {
        "epsball": version("epsball"),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
    }


def hardware(device: str) -> dict[str, Any]:
    """The machine, as far as numbers and seconds depend on it."""
    import torch

    found: dict[str, Any] = {
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def described(method: object) -> Any:
    """A method with its options, as JSON."""
    if is_dataclass(method) and not isinstance(method, type):
        return {"method": type(method).__name__, **{k: described(v) for k, v in asdict(method).items()}}
    if isinstance(method, (list, tuple)):
        return [described(m) for m in method]
    return method if isinstance(method, (str, int, float, bool, type(None))) else str(method)
