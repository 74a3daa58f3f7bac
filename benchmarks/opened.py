"""A benchmark's record: begun with the hashes of network, images and code, and gone on with only where they are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from epsball.record.hashes import hashed
from epsball.record.heading import Heading, Identity, precision
from epsball.record.journal import Journal
from epsball.rounding import Rounding
from epsball.run.identity import weights_of

Line = dict[str, Any]


def opened(
    record: Journal,
    config: Line,
    module: nn.Module,
    examples: tuple[torch.Tensor, torch.Tensor],
    dtype: torch.dtype,
    source: str,
    *,
    anyway: bool = False,
) -> list[Line]:
    """The lines after the header that a record holds already; a new one gets its header.

    Args:
        record: open.
        config: the options.
        module: the network.
        examples: images and labels.
        dtype: of the bounds.
        source: the benchmark's own `__file__`.
        anyway: go on though the code has changed; the record says so.

    Raises:
        BadConfig: the record is of other options, another network, other images or another version of the code.
    """
    identity = Identity(weights_of(module), hashed(examples[1]), hashed(*examples), precision(dtype))
    claim = Rounding(dtype, next(module.parameters()).dtype).describe()
    heading = Heading("benchmark", config, identity, 0, "cpu", claim, (Path(source),))
    return [line for line in heading.open(record, anyway=anyway) if line["type"] != "header"]
