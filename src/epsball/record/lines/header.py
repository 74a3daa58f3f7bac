"""The first line of a record: what is needed to run it again, and of what it is."""

from __future__ import annotations

from typing import Any, ClassVar

from epsball.record.lines.base import Line


class HeaderLine(Line):
    """Command, options, hashes, code, machine. A run that another version of the code went on with has a second one.

    Attributes:
        identity: SHA-256 of network, property and data; a record of the first format has none.
        code: version, commit and hash of the sources.
        anyway: what had changed when the run was gone on with by `--anyway`.
    """

    kind: ClassVar[str] = "header"

    format: str
    verb: str
    command: list[str] = []
    config: dict[str, Any] = {}
    config_hash: str = ""
    identity: dict[str, str | None] = {}
    code: dict[str, str | bool | None] = {}
    anyway: list[str] = []
    versions: dict[str, str] = {}
    seed: int | None = None
    hardware: dict[str, Any] = {}
    arithmetic: str = ""
    time: str = ""
