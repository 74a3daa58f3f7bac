"""`epsball doctor`: versions, device, threads, solvers, data, disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epsball.cli.common import Output

if TYPE_CHECKING:
    from collections.abc import Callable

_OPTIONAL = {
    "report": ("jinja2", "matplotlib"),
    "demo": ("scikit-learn",),
    "sdp": ("cvxpy", "clarabel"),
    "verify": ("highspy",),
}


def doctor(*, output: Output) -> None:
    """Show what this machine has: versions, device, threads, solvers, data and disk."""
    import torch

    from epsball.data.base import sources
    from epsball.data.find import where

    found: dict[str, Any] = {
        "versions": {name: _version(name) for name in ("epsball", "torch", "numpy", "scipy")},
        "device": "cuda: " + torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "extras": {extra: {name: _version(name) for name in names} for extra, names in _OPTIONAL.items()},
        "data": {name: _place(name, where) for name in sources},
        "disk_free_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
    }
    output.result("doctor", found)
    rows = [(name, value) for name, value in found["versions"].items()]
    rows += [("device", found["device"]), ("threads", str(found["threads"])), ("disk", f"{found['disk_free_gib']} GiB free")]
    for extra, packages in found["extras"].items():
        have = ", ".join(f"{name} {v}" for name, v in packages.items())
        rows.append((f"extra [{extra}]", have))
    rows += [(f"data {name}", place) for name, place in found["data"].items()]
    output.table("", ("what", "here"), rows)
    if "torchvision" in _installed():
        output.say("torchvision is installed; epsball does not use it, and beside a CPU build of torch it does not import")


def _place(name: str, where: Callable[[str], Path | None]) -> str:
    from epsball.data.base import sources

    return str(where(name) or "not here") if sources[name].places else "inside its own package"


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _installed() -> set[str]:
    from importlib.metadata import distributions

    return {d.metadata["Name"].lower() for d in distributions() if d.metadata["Name"]}
