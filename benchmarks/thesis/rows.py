"""What each cell trains: a published setting of this package, and what is overridden in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.thesis.published import LONG, MNIST, NETWORKS, SHORT, Schedule
from epsball.config import RunConfig, load
from epsball.errors import BadConfig, did_you_mean
from epsball.training.settings import text

Scale = Literal["full", "miniature"]

_SETTINGS = {MNIST: "thesis-mnist-0.4", SHORT: "thesis-cifar10-8-255-short", LONG: "thesis-cifar10-8-255"}
BLOCKS = {"mnist": MNIST, "cifar10-short": SHORT, "cifar10": LONG}

# every arm is vanilla IBP, CROWN-IBP with loss fusion or ours, or between the first and the last
ARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ours": ("", ()),
    "ibp": ("-ibp", ()),
    "crown-ibp": ("-crown-ibp", ()),
    "no-batch-norm": ("-ibp", ("model.batch_norm=false",)),
    "initialisation": ("", ("recipe.regularisation=0",)),
    "regularisers": ("", ("recipe.initialisation=default",)),
}

# CNN-7 at an eighth of its width; 10,000 training images and 1,000 more that are held out. MNIST's batch is halved with its
# images, so that an epoch has the 78 steps that 20,000 images in batches of 256 have: a run must end inside a session.
_MINIATURE = {
    "mnist": ("model.width=8", "data.examples=11000", "train.validation=1/11", "train.batch=128"),
    "cifar10": ("model.width=8", "data.examples=11000", "train.validation=1/11"),
}


@dataclass(frozen=True)
class Row:
    """One run of one cell.

    Attributes:
        block: of the table: data, radius and length.
        arm: of ARMS.
        network: of NETWORKS.
        seed: of everything random.
        scale: "full", or "miniature": see the docs for what is smaller.
        protocol: on what the epoch is selected.
        eps: another radius than the block's; said in its name.
    """

    block: Schedule
    arm: str
    network: str = "cnn-7"
    seed: int = 0
    scale: Scale = "full"
    protocol: Literal["validation", "literature"] = "validation"
    eps: str = ""

    def __post_init__(self) -> None:
        if self.arm not in ARMS:
            raise BadConfig(f"no row {self.arm!r}", where="--rows", fix=did_you_mean(self.arm, ARMS) or f"use {', '.join(ARMS)}")
        if self.network not in NETWORKS:
            raise BadConfig(f"no network {self.network!r}", where="--networks", fix=f"use {', '.join(NETWORKS)}")
        if self.scale == "miniature" and self.network != "cnn-7":
            raise BadConfig(f"no miniature of {self.network}", where="--networks", fix="the miniature is CNN-7's: use --scale full")
        if self.arm == "no-batch-norm" and self.network != "cnn-7":
            raise BadConfig("the ablation is CNN-7's", where="--rows no-batch-norm", fix="use --networks cnn-7")

    @property
    def cell(self) -> str:
        """Its name without the seed: runs of one name are repeats of each other."""
        block = next(name for name, block in BLOCKS.items() if block == self.block)
        eps = f"-{self.eps.replace('/', '-')}" if self.eps else ""
        return "-".join((self.scale, block + eps, self.arm, self.network, self.protocol))

    @property
    def name(self) -> str:
        return f"{self.cell}-seed{self.seed}"

    def config(self) -> RunConfig:
        """The run's whole configuration."""
        suffix, overrides = ARMS[self.arm]
        more = [f"train.seed={self.seed}", f"train.protocol={self.protocol}"]
        if self.network != "cnn-7":
            more.append(f"model.name={self.network}")
        if self.scale == "miniature":
            more += _MINIATURE[self.block.data]
        if self.eps:
            more.append(f"recipe.eps={self.eps}")
        return load(text(_SETTINGS[self.block] + suffix), [*overrides, *more])
