"""What a verb judges: a network beside the data, the sets and the precision it is judged in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from epsball.errors import BadShape
from epsball.examples import Examples
from epsball.models.adapters import of_classes
from epsball.models.opened import Reading, architecture_of, open_model
from epsball.ops.network import Network
from epsball.problem.labels import as_labels
from epsball.problem.sets import InputSet
from epsball.problem.sets.base import around, sets
from epsball.record.hashes import hashed
from epsball.record.heading import Heading, Identity, precision
from epsball.record.origin import digest
from epsball.rounding import Rounding
from epsball.run.identity import network_of
from epsball.run.subject import subject
from epsball.run.word_sets import KIND, Words
from epsball.values import plain

if TYPE_CHECKING:
    from pathlib import Path

    from epsball.data.base import Dataset
    from epsball.problem.threat import Threat
    from epsball.types import Tensor


@dataclass(frozen=True)
class Shard:
    """One of several parts of an index, each judged on its own.

    Attributes:
        part: from 1.
        parts: how many.
        index: hash of the whole index.
    """

    part: int
    parts: int
    index: str


@dataclass(frozen=True, eq=False)
class Case:
    """What is judged.

    Attributes:
        model: the checkpoint or run folder it came from, for the record.
        network: loaded and captured, on its device.
        data: the data set; its test examples are judged.
        index: (N,) which of them.
        eps: size of the sets: for norms the radius, in units of the inputs.
        norm: the kind of the sets: a key of `sets`.
        seed: of everything random.
        dtype: arithmetic of the bounds.
        words: the sentences and synonyms, where the sets are of words.
        reading: what the network's file did not say, for the record.
        shard: which part of the index this is, where it was split.
        architecture: what the network is called; "" where its file does not say.
        threat: what may happen to an input, where a size and a kind do not say it.
    """

    model: Path
    network: Network
    data: Dataset
    index: Tensor
    eps: float
    norm: str = "linf"
    seed: int = 0
    dtype: torch.dtype = torch.float32
    words: Words | None = None
    reading: Reading = field(default_factory=Reading)
    shard: Shard | None = None
    architecture: str = ""
    threat: Threat | None = None

    def __post_init__(self) -> None:
        if self.data.test.shape != self.network.input_shape:
            raise BadShape(
                f"the inputs of {self.data.name!r} have shape {self.data.test.shape}, the network takes {self.network.input_shape}",
                where=str(self.model),
                fix="name the data set that the network was trained on",
            )
        as_labels(self.data.test.y, self.network.classes, what="test label")

    @property
    def device(self) -> torch.device:
        return self.network.prepare().device

    def in_precision(self, dtype: torch.dtype) -> Case:
        """The same, bounded in another arithmetic."""
        return replace(self, dtype=dtype)

    def ball(self, x: Tensor, index: Tensor) -> InputSet:
        """The set around some test inputs, cut to the data's valid range; `index` says which ones they are."""
        if self.words is not None:
            return self.words.around(x, index.tolist(), self.eps)
        if self.threat is not None:
            return self.threat.around(x)
        return around(self.norm, x, self.eps, self.data.clip)

    def described(self, **more: object) -> dict[str, Any]:
        """The configuration, for the record: a resumed run must have the same."""
        chosen = [int(i) for i in self.index]
        shard = {} if self.shard is None else {"shard": asdict(self.shard)}
        return {
            "model": str(self.model),
            "data": self.data.name,
            "data_digest": self.data.digest,
            "index": {"count": len(chosen), "first": chosen[0], "last": chosen[-1], "digest": digest({"index": chosen})},
            "eps": self.eps,
            "norm": self.norm,
            **({} if self.threat is None else {"threat": plain(self.threat)}),
            **self.reading.given(),
            **shard,
            **more,
        }

    @property
    def arithmetic(self) -> str:
        """What bounds of this case hold for."""
        return Rounding(self.dtype, self.network.dtype).describe()

    def heading(self, verb: str, config: Mapping[str, Any], claim: str | None = None) -> Heading:
        """The header of a record about this case; `claim`: what its numbers hold up to, if not the bounds' arithmetic."""
        return Heading(verb, config, self._identity(), self.seed, str(self.device), claim or self.arithmetic, subject=subject(self))

    def _identity(self) -> Identity:
        """Hashes of what is in memory: a file or a data set of the same name may hold something else by now."""
        test, words = self.data.test, self.words
        synonyms = None if words is None else (words.tokens, words.synonyms)
        more = () if self.threat is None else (repr(self.threat),)
        asked = hashed(self.norm, float(self.eps), self.data.clip, self.network.classes, test.y, synonyms, *more)
        looked_at = hashed(self.index, test.x[self.index], test.y[self.index])
        return Identity(network_of(self.network), asked, looked_at, precision(self.dtype))


def open_case(  # noqa: PLR0913 - what a verb's options say
    model: Path,
    data: Dataset,
    index: Tensor,
    eps: float,
    *,
    norm: str,
    seed: int,
    device: torch.device,
    reading: Reading | None = None,
    threat: Threat | None = None,
) -> Case:
    """Load a network and put it beside the data it is judged on.

    Raises:
        BadFile: the model is missing, truncated or foreign.
        BadShape, BadData: the data do not fit it.
        BadConfig: an unknown kind of set, or a size that it cannot have.
    """
    if threat is None:
        sets[norm]  # an unknown name fails here, before the model is read
    else:
        threat = threat.of(data.columns).within(data.clip)
    reading = reading or Reading()
    module, shape = open_model(model, data.test.shape, reading)
    network = of_classes(Network.capture(module.to(device), shape), reading.threshold)
    words = Words.of(network, data) if norm == KIND else None
    data = _embedded(network, data)
    called = architecture_of(model, reading)
    case = Case(model, network, data, index, eps, norm, seed, words=words, reading=reading, architecture=called, threat=threat)
    case.ball(data.test.inputs(index[:1]), index[:1])  # a size that the set cannot have fails here, too
    return case


def _embedded(network: Network, data: Dataset) -> Dataset:
    """The data where the network's graph begins: test sentences of words as vectors."""
    if data.test.shape == network.input_shape or data.test.shape != network.data_shape:
        return data
    with torch.no_grad():
        vectors = network.embed(data.test.x.to(network.prepare().device)).cpu()
    return replace(data, test=Examples(vectors, data.test.y))


def headline(case: Case) -> dict[str, Any]:
    """What every summary says of its case."""
    return {"model": str(case.model), "data": case.data.name, "eps": case.eps, "norm": case.norm}
