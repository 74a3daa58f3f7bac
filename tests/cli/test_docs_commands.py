"""Every `$ epsball ...` line of the documentation names a verb, arguments and options that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from epsball.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for line in page.read_text().splitlines():
            match = re.match(r"\s*\$ (?:\.venv/bin/)?(?:python -m )?epsball (.*)", line)
            if match:
                found.append((page.name, re.split(r"  #| [|>] ", match[1])[0]))
    return found


def test_there_are_commands_to_check():
    assert len(commands()) > 10


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_documented_command_parses(page, line):
    group = typer.main.get_command(app)
    words = shlex.split(re.sub(r"\[[^\]]*\]", "", line).replace("...", "x"))
    name, rest = words[0], words[1:]
    if name == "--help":
        return
    assert name in group.commands, f"{page}: no verb {name!r}"
    command = group.commands[name]
    if hasattr(command, "commands"):
        assert rest[0] in command.commands, f"{page}: no {name} {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    if "--help" not in rest:
        command.make_context(name, list(rest), resilient_parsing=False).close()
