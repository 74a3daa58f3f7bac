"""What a recipe remembers from step to step: a row for each training example, and numbers that all of them share.

Perturbations that are gone on with, histories of losses, soft targets, the multipliers of a constraint: all are tensors by name,
written after a step, stored in every checkpoint, and the same in every process of a run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig, BadFile
from epsball.training.parallel import team

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.types import Int, Params, Tensor


@dataclass(frozen=True, eq=False)
class Memory:
    """Named tensors that live as long as a run.

    Attributes:
        each: (N, *n) one row an example, on the device of the data.
        shared: of any shape.

    Raises:
        BadConfig: a name stands in both.
    """

    each: dict[str, Tensor] = field(default_factory=dict)
    shared: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        both = self.each.keys() & self.shared.keys()
        if both:
            raise BadConfig(f"{min(both)!r} is remembered twice", where="recipe.memory", fix="choose another name")

    def rows(self, name: str, index: Int[Tensor, " B"]) -> Tensor:
        """What is remembered of some examples (B, *n); a copy, without gradient."""
        return self.each[name][index].detach()

    @torch.no_grad()
    def write(self, index: Int[Tensor, " B"], kept: Mapping[str, Tensor]) -> None:
        """Take the values of a step in.

        In a run of several processes each gives the rows of its own share of the batch, and gets those of the others; what is
        shared becomes the mean over processes.

        Args:
            index: the examples of this process's share.
            kept: by name: (B, *n) for `each`, or a whole tensor for `shared`.

        Raises:
            BadConfig: a name that is not remembered, or another shape.
        """
        for name, value in kept.items():
            old = self.shared[name] if name in self.shared else self.each[name][index] if name in self.each else None
            if old is None or old.shape != value.shape:
                found = "nothing" if old is None else f"{tuple(old.shape)}"
                raise BadConfig(
                    f"a loss keeps {name!r} of shape {tuple(value.shape)}, and the memory has {found}",
                    where="recipe.memory",
                    fix="give a value for what the recipe remembers, in its own shape",
                )
            if name in self.shared:
                self.shared[name].copy_(team().total(value.detach()) / team().size)
            elif team().size == 1:
                self.each[name][index] = value.detach().to(self.each[name].dtype)
            else:
                self._write_all(name, index, value.detach())

    def _write_all(self, name: str, index: Tensor, value: Tensor) -> None:
        """The rows of all processes: each adds its own change, which is 0 for the examples of the others."""
        change = torch.zeros_like(self.each[name])
        change[index] = value.to(change.dtype) - self.each[name][index]
        self.each[name] += team().total(change)

    def pack(self) -> Params:
        """Copies, by "each.name" and "shared.name"."""
        kinds = (("each", self.each), ("shared", self.shared))
        return {f"{kind}.{name}": value.detach().clone() for kind, values in kinds for name, value in values.items()}

    @torch.no_grad()
    def load(self, packed: Params) -> None:
        """Go on with what was remembered.

        Raises:
            BadFile: the state is of a recipe that remembers something else.
        """
        own = self.pack()
        if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in packed.items()}:
            raise BadFile(
                f"the checkpoint remembers {sorted(packed) or 'nothing'}, the recipe {sorted(own) or 'nothing'}",
                where="recipe.memory",
                fix="resume with the recipe and the data that the run was started with",
            )
        for name, value in packed.items():
            kind, _, key = name.partition(".")
            (self.each if kind == "each" else self.shared)[key].copy_(value)
