"""The first line of a record: what is needed to run it again, and of what it is."""

from __future__ import annotations

from typing import Any, ClassVar

from epsball.record.lines.base import Line


class HeaderLine(Line):
    """Command, options, hashes, code, machine. A run that another version of the code went on with has a second one.

    Attributes:
        format: `epsball.run/2`.
        verb: `train`, `seeds`, `attack`, `verify`, `certify`, `bounds`, `radius`, `analyse` or `demo`.
        command: the command line as it was typed.
        config: every option, resolved.
        config_hash: the first 12 hex digits of the SHA-256 of `config`.
        identity: `weights`: SHA-256 of the network as loaded, tensors and operations; `property`: of the kind and size of the sets,
            the valid range and the labels; `data`: of the examples that are looked at, or trained on; `precision`: `float32` or
            `float64`. Null where a run has no such thing; a record of the first format has none at all.
        code: `version`; `commit` and whether it is `changed`, where the package runs from a checkout; `sources`: SHA-256 of every
            source file.
        subject: what is judged, in words for a reader and never compared: `architecture`, `parameters` (how many), `input` and
            `classes`; `threat` as a formula and `clip`, the valid range; `chosen`: which of how many test examples.
        anyway: only in a later header of a run that was resumed with `--anyway`: what had changed.
        versions: of epsball, torch, numpy and Python.
        seed: of everything random.
        hardware: machine, system, cores, threads, device, and the GPU's name where there is one.
        arithmetic: what the bounds hold for: `float32, any order of sums` or `real`, and the dtype they were computed in.
        time: when it began, UTC, ISO 8601.
    """

    kind: ClassVar[str] = "header"

    format: str
    verb: str
    command: list[str] = []
    config: dict[str, Any] = {}
    config_hash: str = ""
    identity: dict[str, str | None] = {}
    code: dict[str, str | bool | None] = {}
    subject: dict[str, Any] = {}
    anyway: list[str] = []
    versions: dict[str, str] = {}
    seed: int | None = None
    hardware: dict[str, Any] = {}
    arithmetic: str = ""
    time: str = ""
