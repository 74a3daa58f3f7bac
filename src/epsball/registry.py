"""One registry for everything that has a name: attacks, verifiers, recipes, operators, models, data sources.

A built-in registers itself where it is defined, in whichever file of its package; a plugin does the same from a module named by an
entry point:

    [project.entry-points."epsball.plugins"]
    my_attack = "my_package.attack"
"""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import walk_packages
from typing import TYPE_CHECKING, Generic, TypeVar

from epsball.errors import BadConfig, SkippedPlugin, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
_PLUGIN_GROUP = "epsball.plugins"


class Registry(Generic[T]):
    """Names to objects of one kind.

    Args:
        kind: the noun in error messages, such as "attack".
        package: where built-in entries register themselves: it and every module below it are imported at the first look-up.
        verb: what `epsball list` calls this registry; defaults to the kind with an s.
    """

    def __init__(self, kind: str, package: str = "", verb: str | None = None) -> None:
        self.kind = kind
        self.verb = verb or f"{kind}s"
        self._package = package
        self._entries: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that files its argument under a name; taking a name twice is an error."""

        def keep(entry: T) -> T:
            if name in self._entries:
                raise BadConfig(f"the {self.kind} {name!r} is registered twice", fix="choose another name")
            self._entries[name] = entry
            return entry

        return keep

    def __getitem__(self, name: str) -> T:
        """The entry of that name.

        Raises:
            BadConfig: no entry has this name; the message names the nearest ones.
        """
        self._load()
        try:
            return self._entries[name]
        except KeyError:
            hint = did_you_mean(name, self._entries)
            fix = f"{hint} " if hint else ""
            raise BadConfig(f"unknown {self.kind} {name!r}", fix=f"{fix}see: epsball list {self.verb}") from None

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def items(self) -> list[tuple[str, T]]:
        """All entries, ordered by name."""
        return [(name, self[name]) for name in self]

    def name_of(self, entry: T) -> str:
        """The name an entry is registered under.

        Raises:
            BadConfig: it is not registered.
        """
        for name, known in self.items():
            if known is entry:
                return name
        raise BadConfig(f"this {self.kind} is not registered: {entry!r}", fix="register it under a name first")

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        if self._package:
            _load_package(self._package)
        _load_plugins()


def _load_package(name: str) -> None:
    """Import a module, and where it is a package everything below it."""
    found = import_module(name)
    for module in walk_packages(getattr(found, "__path__", ()), f"{name}."):
        import_module(module.name)


_plugins_seen: set[str] = set()


def _load_plugins() -> None:
    for point in entry_points(group=_PLUGIN_GROUP):
        if point.value not in _plugins_seen:
            _plugins_seen.add(point.value)
            try:
                point.load()
            except Exception as error:  # noqa: BLE001 - somebody else's code: whatever it raises is named
                message = f"the plugin {point.name!r} ({point.value}) was skipped: it raised {type(error).__name__}: {error}"
                warnings.warn(message, SkippedPlugin, stacklevel=2)
