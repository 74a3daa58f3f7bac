"""Decision boundaries before and after robust training, in a plane through three test inputs: lines of a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from epsball.analysis.plane import Plane, classes
from epsball.config import load
from epsball.data.find import load as load_data
from epsball.device import exact_arithmetic
from epsball.errors import BadConfig, BadShape
from epsball.examples import Examples
from epsball.models.store import load_model
from epsball.ops.network import Network
from epsball.record.continued import continued
from epsball.record.folder import is_run
from epsball.record.hashes import hashed
from epsball.record.heading import Heading, Identity, precision
from epsball.record.lines import PlaneLine
from epsball.run.identity import network_of
from epsball.run.train import describe
from epsball.training.evaluate import IbpAccuracy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from epsball.data.base import Dataset


@dataclass(frozen=True, eq=False)
class Shown:
    """A network to draw: its name in the figure, where it came from, and itself."""

    name: str
    source: str
    network: Network


@dataclass(frozen=True, eq=False)
class Planar:
    """What is drawn.

    Attributes:
        shown: the networks, in order.
        data: the data set; three of its test examples span the plane.
        index: which three.
        eps: linf radius of the traces.
        resolution: cells a side.
    """

    shown: Sequence[Shown]
    data: Dataset
    index: tuple[int, ...]
    eps: float
    resolution: int = 120

    def __post_init__(self) -> None:
        if len(self.index) != 3 or len(set(self.index)) != 3:
            raise BadConfig(
                f"{len(set(self.index))} inputs span no plane", where="--index", fix="name three different test examples: 0,1,2"
            )
        for each in self.shown:
            if each.network.input_shape != self.data.test.shape:
                raise BadShape(
                    f"the inputs of {self.data.name!r} have shape {self.data.test.shape}, the network takes "
                    f"{each.network.input_shape}",
                    where=each.source,
                    fix="name networks and the data set that they were trained on",
                )

    def lines(self) -> Iterator[PlaneLine]:
        """A `plane` line for each network.

        Raises:
            BadData: the three inputs lie on one line.
        """
        x, y = self.data.test.inputs(torch.tensor(self.index)), self.data.test.y[list(self.index)]
        plane, clip = Plane.through(x), self.data.clip
        shared: dict[str, Any] = {
            "data": self.data.name,
            "index": list(self.index),
            "labels": y.tolist(),
            "eps": self.eps,
            "points": plane.points.tolist(),
            "window": list(plane.window()),
            "resolution": self.resolution,
            "traces": [plane.trace(point, self.eps, clip) for point in plane.points],
            "valid": plane.trace(plane.points[0], float("inf"), clip) if clip else None,
        }
        judge = IbpAccuracy(self.eps, clip)
        for each in self.shown:
            with exact_arithmetic():
                prepared = each.network.prepare()
                cells = classes(prepared, plane, self.resolution)
                device = prepared.device
                with torch.no_grad():
                    predicted = prepared.forward(x.to(device, prepared.dtype)).argmax(1).tolist()
            ones = [Examples(x[i : i + 1].to(device), y[i : i + 1].to(device)) for i in range(3)]
            verified = [judge(each.network, one).verified == 1 for one in ones]
            found: dict[str, Any] = {"predicted": predicted, "verified": verified, "verifier": judge.verifier}
            yield PlaneLine(network=each.name, model=each.source, **shared, **found, classes=cells)

    def write(self, path: Path, *, seed: int = 0) -> list[PlaneLine]:
        """Write a run folder with one line a network, and return the lines.

        Raises:
            BadConfig: the folder holds something already.
        """
        if is_run(path):
            raise BadConfig("these inputs have a plane already", where=str(path), fix="remove it, or give another --out")
        prepared = self.shown[0].network.prepare()
        config = {
            "networks": [each.source for each in self.shown],
            "data": self.data.name,
            "data_digest": self.data.digest,
            "index": list(self.index),
            "eps": self.eps,
            "resolution": self.resolution,
        }
        index = torch.tensor(self.index)
        x, y = self.data.test.x[index], self.data.test.y[index]
        networks = hashed([network_of(each.network) for each in self.shown])
        identity = Identity(networks, hashed("linf", float(self.eps), y), hashed(index, x, y), precision(prepared.dtype))
        heading = Heading("analyse", config, identity, seed, str(prepared.device), prepared.arithmetic)
        found = list(self.lines())  # what cannot be drawn fails before a folder is made
        with continued(path, heading) as record:
            record.append(*found)
        return found


def trained(path: Path, device: torch.device) -> tuple[Shown, dict[str, Any]]:
    """A trained network, and what its training says of itself (data set and radius among it).

    Raises:
        BadFile: see `epsball.models.store.load_model`.
    """
    module, architecture, extra = load_model(path)
    told = extra.get("training")
    shown = Shown(named(path), str(path), Network.capture(module.to(device), architecture.input_shape))
    return shown, told if isinstance(told, dict) else {}


def initial(run: Path, device: torch.device) -> Shown:
    """The network that a run started from: the same seed, model and initialisation (exactly the same on the same device).

    Raises:
        BadConfig: no run folder, but a lone checkpoint: nothing says what it started from.
    """
    toml = run / "config.toml"
    if not toml.is_file():
        raise BadConfig(
            "only a run folder says which network training started from",
            where=str(run),
            fix="give two networks: epsball analyse plane BEFORE AFTER",
        )
    config = load(toml)
    described = describe(config.model, load_data(config.data.name))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.train.seed)
        network = Network.capture(described.build().to(device), described.input_shape)
        torch.manual_seed(config.train.seed)
        config.recipe.initialise(network)
    return Shown(f"{named(run)}, untrained", f"{run} (untrained)", network)


def three(data: Dataset) -> tuple[int, ...]:
    """The first test example, and the first ones of two other classes."""
    found: dict[int, int] = {}
    for index, label in enumerate(data.test.y.tolist()):
        found.setdefault(label, index)
        if len(found) == 3:
            return tuple(found.values())
    return tuple(range(min(3, len(data.test))))


def named(path: Path) -> str:
    """What a figure calls a network: the name of its run folder or checkpoint."""
    return path.resolve().stem if path.suffix == ".safetensors" else path.resolve().name
