"""What a section of the report is: one registered object, with its template beside it."""

from __future__ import annotations

import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from epsball.errors import BadConfig
from epsball.registry import Registry

if TYPE_CHECKING:
    from epsball.reporting.runs import Story

Content = Mapping[str, Any]


@dataclass(frozen=True)
class Section(ABC):
    """A part of the page. It is registered under its id, and stands on the page only where its content is not empty.

    Attributes:
        title: heading.
        short: name in the page's contents.
        place: sections stand by rising place; the built-in ones are 100 apart.
        missing: the sentence for runs that do not fill it.
        command: the command that would; `{model}`, `{data}` and `{eps}` stand for what the runs already say.
    """

    title: str
    short: str
    place: int
    missing: str
    command: str

    @abstractmethod
    def content(self, story: Story) -> Content:
        """What its template is rendered with; empty where the runs have nothing to show here."""

    def source(self) -> str:
        """The text of its template: the file beside its module that has the module's name. A plugin may give the text itself.

        Raises:
            BadConfig: there is no such file.
        """
        module = type(self).__module__
        package, _, name = module.rpartition(".")
        place = files(package) / f"{name}.html.jinja" if package else None
        if place is None or not place.is_file():
            where = sys.modules[module].__file__ if module in sys.modules else module
            fix = f"put {name}.html.jinja beside it in a package, or return the text of the template from source()"
            raise BadConfig(f"the section {self.title!r} has no template", where=str(where), fix=fix)
        return place.read_text("utf-8")


sections: Registry[Callable[[], Section]] = Registry("section", package="epsball.reporting.sections")
_NAME = re.compile("[a-z][a-z0-9-]*")
_TAKEN = ("claim", "contents", "main", "missing")  # ids of the page itself


def ordered() -> list[tuple[str, Section]]:
    """Every section with its id, as they stand on the page.

    Raises:
        BadConfig: a plugin's section has an id that no page can hold.
    """
    for name in sections:
        if not _NAME.fullmatch(name) or name in _TAKEN:
            fix = "use lower-case letters, digits and hyphens, and no id of the page itself"
            raise BadConfig(f"a section cannot be called {name!r}", fix=fix)
    made = [(name, make()) for name, make in sections.items()]
    return sorted(made, key=lambda part: part[1].place)


def given(**values: Any) -> Content:
    """The values, or nothing where every one of them is empty."""
    return values if any(values.values()) else {}
