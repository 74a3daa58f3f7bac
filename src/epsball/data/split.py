"""A training and a test part of what came in one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig, BadData
from epsball.examples import Examples

if TYPE_CHECKING:
    from epsball.types import Tensor


@dataclass(frozen=True)
class Split:
    """Of each class the same share.

    Attributes:
        test: the part of each class that goes to the test set.
        seed: of the choice.

    Raises:
        BadConfig: a part that leaves nothing.
    """

    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.test < 1:
            raise BadConfig(f"a test part of {self.test:g}", where="test", fix="give a number between 0 and 1, such as 0.2")

    def __call__(self, x: Tensor, y: Tensor, where: str) -> tuple[Examples, Examples]:
        """Training and test examples, each in the order in which they came.

        Raises:
            BadData: a class with one example.
        """
        random = torch.Generator().manual_seed(self.seed)
        train, test = [], []
        for label in sorted(set(y.tolist())):
            members = torch.nonzero(y == label)[:, 0]
            if len(members) < 2:
                raise BadData("a class with one example", where=where, fix="give two examples a class or more")
            members = members[torch.randperm(len(members), generator=random)]
            count = min(max(1, round(self.test * len(members))), len(members) - 1)
            test.append(members[:count])
            train.append(members[count:])
        first, second = (torch.cat(part).sort().values for part in (train, test))
        return Examples(x[first], y[first]), Examples(x[second], y[second])
