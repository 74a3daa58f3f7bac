"""Which network, property, data and code a record is of: hashed in its header, and compared before anything is added to it.

Every verb that writes a record does it through a `Heading`, so a record is continued by the same rule whatever it is of.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epsball.errors import BadConfig
from epsball.record.code import code, named
from epsball.record.journal import FORMAT, Journal, read
from epsball.record.lines import HeaderLine
from epsball.record.origin import command, digest, hardware, versions

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from epsball.record.journal import Raw

_CALLED = {"weights": "network", "property": "property", "data": "data", "precision": "precision"}
_SHOWN = 4  # differences that a message names


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
        subject: what is judged, for a reader; it is never compared.
        grown: options, by dotted names, whose numbers may be larger than those that the run was begun with: the record says so.
    """

    verb: str
    config: Mapping[str, Any]
    identity: Identity
    seed: int
    device: str
    arithmetic: str
    sources: tuple[Path, ...] = ()
    subject: Mapping[str, Any] = field(default_factory=dict)
    grown: tuple[str, ...] = ()

    def known(self, path: Path, *, anyway: bool = False) -> list[Raw]:
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

    def open(self, journal: Journal, *, anyway: bool = False) -> list[Raw]:
        """Make a record ready to be appended to: a header if it is new, or if what changed since is accepted.

        Args:
            journal: open.
            anyway: go on although the code has changed since; a second header says so.

        Returns:
            The lines that it held before.

        Raises:
            BadFile, BadConfig: as `known`.
        """
        lines = self.known(journal.path, anyway=anyway)
        if not lines:
            journal.append(self.line())
            return lines
        last = _last(lines)
        changed = [name for name, _, _ in _differences(last["config"], self.config)]
        changed += ["code"] if last["code"]["sources"] != self._code["sources"] else []
        if changed:
            journal.append(self.line(*changed))
        return lines

    def line(self, *changed: str) -> HeaderLine:
        """The header: everything that is needed to run this again; `changed`: what has, where the run is gone on with anyway."""
        told: dict[str, Any] = {"anyway": list(changed)} if changed else {}
        return HeaderLine(
            format=FORMAT,
            verb=self.verb,
            command=command(),
            config=dict(self.config),
            config_hash=digest(self.config),
            versions=versions(),
            seed=self.seed,
            hardware=hardware(self.device),
            arithmetic=self.arithmetic,
            time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            identity=asdict(self.identity),
            code=self._code,
            subject=dict(self.subject),
            **told,
        )

    @property
    def _code(self) -> dict[str, Any]:
        return code(*self.sources)

    def _check(self, header: Raw, path: Path) -> None:
        """Name everything in which the options or the hashes differ."""
        differing = _differences(header["config"], self.config)
        options = [(name, there, here) for name, there, here in differing if not (name in self.grown and here > there)]
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


def _last(lines: Iterable[Raw]) -> Raw:
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
