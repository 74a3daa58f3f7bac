"""Which network, property, data and code a record is of: hashed in its header, and compared before anything is added to it.

Every verb that writes a record does it through a `Heading`, so a record is continued by the same rule whatever it is of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from epsball.errors import BadConfig
from epsball.record.code import code, named
from epsball.record.journal import FORMAT, Record, digest, read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from epsball.graph.graph import Graph
    from epsball.ops.network import Network
    from epsball.record.journal import Line

_CALLED = {"weights": "network", "property": "property", "data": "data", "precision": "precision"}
_SHOWN = 4  # differences that a message names


def hashed(*values: object) -> str:
    """SHA-256 of tensors, mappings, sequences and plain values, types and shapes included."""
    total = hashlib.sha256()
    for value in values:
        _add(total, value)
    return total.hexdigest()


def _add(total: hashlib._Hash, value: object) -> None:
    if isinstance(value, torch.Tensor):
        total.update(f"tensor {value.dtype} {tuple(value.shape)};".encode())
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        total.update(f"mapping {len(value)};".encode())
        for key in sorted(value, key=repr):
            _add(total, key)
            _add(total, value[key])
    elif isinstance(value, (list, tuple)):
        total.update(f"sequence {len(value)};".encode())
        for part in value:
            _add(total, part)
    else:
        text = repr(value)
        total.update(f"{type(value).__name__} {len(text)};{text}".encode())


def weights_of(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers, as they are in memory."""
    return hashed(dict(module.state_dict()))


def network_of(network: Network) -> str:
    """SHA-256 of a network as it was loaded: its parameters and buffers, and the operations between them."""
    return hashed(dict(network.module.state_dict()), dict(network.params()), _operations(network.graph))


def _operations(graph: Graph) -> list[object]:
    """The graph without names and source lines, which say nothing of what it computes."""
    number = {node.name: i for i, node in enumerate(graph.nodes)}
    return [[node.op, [number[name] for name in node.inputs], node.attrs, node.shape, node.varies] for node in graph.nodes]


@dataclass(frozen=True)
class Identity:
    """What the numbers of a record depend on besides its options. None: the run has no such thing.

    Attributes:
        weights: SHA-256 of the network as loaded.
        property: SHA-256 of what is asked: the kind and size of the sets, the valid range, and the labels.
        data: SHA-256 of the examples that are looked at.
        precision: of the arithmetic: "float32" or "float64".
    """

    weights: str | None
    property: str | None
    data: str | None
    precision: str


def precision(dtype: torch.dtype) -> str:
    """A dtype's name without torch's."""
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True, eq=False)
class Heading:
    """What stands in the header of a record.

    Attributes:
        verb: the command.
        config: every option.
        identity: network, property, data and precision.
        seed: of everything random.
        device: where it runs.
        arithmetic: what was and what was not proven about rounding.
        sources: files of code besides the package.
    """

    verb: str
    config: Mapping[str, Any]
    identity: Identity
    seed: int
    device: str
    arithmetic: str
    sources: tuple[Path, ...] = ()

    def known(self, path: Path, *, anyway: bool = False) -> list[Line]:
        """The lines that a record holds already; none if it is new.

        Args:
            path: of the record.
            anyway: go on although the code has changed since.

        Raises:
            BadFile: it is no record of this package.
            BadConfig: it is of another configuration, network, property, data, precision or code, or of an older format without
                hashes; the message names what differs, and the record is not touched.
        """
        if not path.exists() or b"\n" not in path.read_bytes():
            return []
        lines = read(path)
        if lines[0]["format"] != FORMAT:
            raise BadConfig(
                f"a record of format {lines[0]['format']} says of no network, data or code which one it is of",
                where=str(path),
                fix="report it as it is, and begin again in another folder",
            )
        header = _last(lines)
        self._check(header, path)
        if not anyway and header["code"]["sources"] != self._code["sources"]:
            raise BadConfig(
                f"the run was started by another version of the code: {named(header['code'])} there and {named(self._code)} here",
                where=str(path),
                fix="go on with that version, begin again in another folder, or add --anyway: the record will say so",
            )
        return lines

    def open(self, record: Record, *, anyway: bool = False) -> list[Line]:
        """Make a record ready to be appended to: a header if it is new, or if its code is another one and that is accepted.

        Args:
            record: open.
            anyway: go on although the code has changed since; a second header says so.

        Returns:
            The lines that it held before.

        Raises:
            BadFile, BadConfig: as `known`.
        """
        lines = self.known(record.path, anyway=anyway)
        if not lines:
            record.header(self.verb, self.config, **self._rest)
        elif _last(lines)["code"]["sources"] != self._code["sources"]:
            record.header(self.verb, self.config, **self._rest, anyway=["code"])
        return lines

    @property
    def _code(self) -> dict[str, Any]:
        return code(*self.sources)

    @property
    def _rest(self) -> dict[str, Any]:
        told = {"seed": self.seed, "device": self.device, "arithmetic": self.arithmetic}
        return {**told, "identity": asdict(self.identity), "code": self._code}

    def _check(self, header: Line, path: Path) -> None:
        """Name everything in which the options or the hashes differ."""
        options = list(_differences(header["config"], self.config))
        hashes = list(_differences(header["identity"], asdict(self.identity)))
        if not options and not hashes:
            return
        kinds = (["configuration"] if options else []) + [_CALLED[name] for name, _, _ in hashes]
        told = [f"{name} = {_short(there)} there and {_short(here)} here" for name, there, here in (*options, *hashes)]
        raise BadConfig(
            f"the run was started with another {' and another '.join(kinds)}: {'; '.join(told[:_SHOWN])}",
            where=str(path),
            fix="resume with the same options, network and data, or name another folder",
        )


def _last(lines: Iterable[Line]) -> Line:
    """The last header of a record: it names the code that wrote what comes after it."""
    return [line for line in lines if line["type"] == "header"][-1]


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    """Names and both values of what differs, nested tables by dotted names."""
    one, two = _flat(there), _flat(here)
    for name in sorted({*one, *two}):
        if digest({"": one.get(name)}) != digest({"": two.get(name)}):
            yield name, one.get(name), two.get(name)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        found.update(_flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return found


def _short(value: Any) -> str:
    """A hash by its first digits, another value as it is."""
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 and " " not in text else text
