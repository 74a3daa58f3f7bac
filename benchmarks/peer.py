"""auto_LiRPA beside our methods, where it can be imported: same networks, inputs, specification and allocator.

Nothing of it is part of this project or of its dependencies. Version 0.7.1 comes from its repository; its folder, and that of
the packages it needs, are given by `--peer FOLDER[:FOLDER]`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from epsball.problem.sets import Box

NAME = "auto_LiRPA"
METHODS = {"ibp": "IBP", "crown-ibp": "CROWN-IBP", "crown": "CROWN", "alpha-crown": "CROWN-Optimized"}
STEPS = 20


def use(folders: str | None) -> bool:
    """Make the peer importable; whether it is."""
    sys.path.extend(folders.split(":") if folders else [])
    return find_spec(NAME) is not None


def calls(module: nn.Module, box: Box, y: Tensor, classes: int = 10) -> dict[str, Callable[[], Tensor]]:
    """By our own method's name: the peer's lower bounds of the margins over a box. The conversion is not part of a call."""
    warnings.filterwarnings("ignore")
    import auto_LiRPA as peer

    options = {"optimize_bound_args": {"iteration": STEPS, "lr_alpha": 0.1, "early_stop_patience": 1000}}
    x = box.centre
    with torch.no_grad():
        network = peer.BoundedModule(module, x[:1], bound_opts=options)
    network.eval()
    unit = torch.eye(classes, dtype=x.dtype)
    margins = unit[y][:, None] - unit[None]
    margins = margins[~unit[y].bool()].view(len(x), classes - 1, classes)
    ball = peer.PerturbationLpNorm(norm=float("inf"), x_L=box.lower, x_U=box.upper)
    given = peer.BoundedTensor(x, ball)

    def bound(method: str, **known: object) -> Tensor:
        return network.compute_bounds(x=(given,), C=margins, method=method, bound_upper=False, **known)[0]

    def fixed(method: str) -> Tensor:
        with torch.no_grad():
            return bound(method)

    def optimised() -> Tensor:
        """One CROWN pass for the hidden neurons, then the shares of the output's bound alone."""
        fixed("CROWN")
        known = {}
        for node in network.nodes():
            readers = [type(network[name]).__name__ for name in node.output_name]
            if getattr(node, "lower", None) is not None and "BoundRelu" in readers:
                known[node.name] = (node.lower.detach(), node.upper.detach())
        with torch.enable_grad():
            return network.compute_bounds(x=(given,), C=margins, method="CROWN-Optimized", bound_upper=False, interm_bounds=known)[
                0
            ]

    return {ours: (lambda m=theirs: bound(m)) for ours, theirs in METHODS.items() if ours != "alpha-crown"} | {
        "alpha-crown": optimised
    }
