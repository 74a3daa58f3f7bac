"""Table 3.1 and Figure 3.1 of the thesis: how initialisations make interval bounds grow from layer to layer."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.bounding.ibp import intervals
from epsball.errors import BadConfig
from epsball.models.base import build
from epsball.ops.network import Network
from epsball.training.distributions import Drawn
from epsball.training.initialise import IbpInitialisation, initialisations, initialise
from epsball.training.interval_pass import Bounded, training_box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epsball.types import Tensor

FAN_INS = (27, 576, 1152, 32768)  # the layers of CNN-7 on CIFAR-10
TABLE = ("xavier-uniform", "xavier-gaussian", "kaiming-uniform", "kaiming-gaussian", "orthogonal", "ibp")
_ROWS = 64


@dataclass(frozen=True)
class Gain:
    """The difference gain of an initialisation at one fan-in: `(n / 2) E|W|`.

    Attributes:
        name: of the initialisation.
        fan_in: n.
        closed: in closed form.
        trials: mean over random trials.
        error: standard error of that mean.
    """

    name: str
    fan_in: int
    closed: float
    trials: float
    error: float


def difference_gains(trials: int = 100, seed: int = 0, fan_ins: Sequence[int] = FAN_INS) -> list[Gain]:
    """Every entry of Table 3.1 (Shi et al. 2021, Table 1), in the table's order, and a row for the IBP initialisation.

    Args:
        trials: random weights of up to 64 neurons each.
        seed: of the trials; the global random state is left alone.
        fan_ins: the columns.

    Raises:
        BadConfig: fewer than two trials.
    """
    if trials < 2:
        raise BadConfig(f"{trials} trials have no deviation", where="trials", fix="use 2 or more")
    found = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in TABLE:
            for fan_in in fan_ins:
                each = [fan_in / 2 * _weights(name, fan_in).abs().mean().item() for _ in range(trials)]
                error = statistics.stdev(each) / math.sqrt(trials)
                found.append(Gain(name, fan_in, initialisations[name]().gain(fan_in), statistics.fmean(each), error))
    return found


def widths(name: str, *, seed: int = 0, eps: float = 8 / 255, width: int = 64, trials: int = 5) -> list[float]:
    """The mean width of each hidden layer's bounds in an untrained CNN-7 without batch norm: the bars of Figure 3.1.

    Args:
        name: of an initialisation.
        seed: of weights and inputs; the global random state is left alone.
        eps: radius around random pictures of CIFAR-10's shape, cut to [0, 1].
        width: of the network.
        trials: weights to average over.

    Returns:
        The input's width, then one for each layer before its ReLU; the classification layer is left out.
    """
    shape = (3, 32, 32)
    totals: list[Tensor] = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        net = Network.capture(build("cnn-7", shape, 10, width=width, batch_norm=False), shape)
        box = training_box(torch.rand(2, *shape), eps, (0.0, 1.0))
        for _ in range(trials):
            initialise(name)(net)
            prepared = net.prepare(covers="nothing")
            found = Bounded(prepared, intervals(prepared, box))
            totals.append(torch.stack([box.width.mean(), *(pre.width.mean() for _, pre in found.relus)]))
    return [float(value) for value in torch.stack(totals).double().mean(0)]


def _weights(name: str, fan_in: int) -> Tensor:
    weight = torch.empty(min(_ROWS, fan_in), fan_in)
    method = initialisations[name]()
    if isinstance(method, Drawn):
        method.draw(weight, fan_in)
    elif isinstance(method, IbpInitialisation):
        weight.normal_(0.0, method.deviation(fan_in))
    else:
        raise BadConfig(f"the initialisation {name!r} has no distribution", fix=f"use one of {', '.join(TABLE)}")
    return weight
