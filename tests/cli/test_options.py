"""Options that verbs share: dataclasses spread into options, and the sets that they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from epsball.cli.app import app as whole
from epsball.cli.spread import add, defaults
from epsball.cli.target import Balls, Sets
from epsball.errors import BadConfig


@dataclass(frozen=True)
class Pair:
    first: Annotated[int, typer.Option("--first", help="One.")]
    second: Annotated[str, typer.Option("--second")] = "b"


@dataclass(frozen=True)
class Triple(Pair):
    third: Annotated[str | None, typer.Option("--third")] = None


@dataclass(frozen=True)
class Fourth:
    fourth: Annotated[int, typer.Option("--fourth")] = 0


def _run(verb, *arguments: str) -> str:
    app = typer.Typer(rich_markup_mode=None)
    add(app, {"other": lambda: None, "verb": verb})
    result = CliRunner().invoke(app, ["verb", *arguments])
    return result.output if result.exit_code == 0 else f"failed: {result.output}"


def test_a_dataclass_is_spread_where_it_stands():
    def verb(got: Annotated[Triple, defaults(second="z")], *, own: bool = False, more: Fourth) -> None:
        typer.echo(f"{got} {own} {more}")

    assert _run(verb, "--first", "3", "--fourth", "4") == "Triple(first=3, second='z', third=None) False Fourth(fourth=4)\n"
    assert "second='y'" in _run(verb, "--first", "3", "--second", "y", "--own")
    assert "Missing option" in _run(verb)
    text = _run(verb, "--help")
    assert [text.index(name) for name in ("--first", "--second", "--third", "--own", "--fourth")] == sorted(
        text.index(name) for name in ("--first", "--second", "--third", "--own", "--fourth")
    )
    assert "[default: z]" in text


def test_a_default_of_no_option_is_refused_when_the_verb_is_registered():
    def verb(got: Annotated[Pair, defaults(secnod="z")]) -> None:
        raise AssertionError(got)

    with pytest.raises(TypeError, match="Pair has no option secnod"):
        _run(verb)


def test_two_options_of_one_name_are_refused():
    def verb(got: Pair, *, first: int = 0) -> None:
        raise AssertionError(got, first)

    with pytest.raises(ValueError, match="duplicate parameter name"):
        _run(verb)


def test_balls_and_sets_by_their_options():
    net = Path("net")
    assert Balls(net).around == ("linf", "0.1")
    assert Sets(net, norm="l2", eps="8/255").around == ("l2", "8/255")
    assert Sets(net, perturbation="rotation", size="2").around == ("rotation", "2")
    assert Sets(net, eps="8/255").title == "net  linf 8/255"


@pytest.mark.parametrize("given", [{"eps": "0.1"}, {"norm": "linf"}, {"eps": "0.2", "norm": "l2"}])
def test_a_ball_and_a_perturbation_are_two_sets(given):
    """Also where the value is the default one: it was silently ignored."""
    with pytest.raises(BadConfig, match="and a patch was asked for") as error:
        _ = Sets(Path("net"), perturbation="patch", size="2", **given).around
    assert error.value.where == f"--{next(iter(given))} {next(iter(given.values()))}"
    assert error.value.fix


@pytest.mark.parametrize("verb", ["attack", "bounds", "verify"])
def test_every_verb_over_sets_refuses_both(verb, capsys):
    from epsball.cli.app import run

    assert run([verb, "none", "--perturbation", "patch", "--size", "2", "--eps", "0.1"]) == 2
    err = capsys.readouterr().err
    assert "--eps is of balls" in err
    assert err.count("Fix:") == 1


@pytest.mark.parametrize("verb", ["attack", "bounds", "verify"])
def test_help_shows_the_defaults_of_a_ball(verb):
    text = CliRunner().invoke(whole, [verb, "--help"]).output
    assert "[default: 0.1]" in text
    assert "[default: linf]" in text
