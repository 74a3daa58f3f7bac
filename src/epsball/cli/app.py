"""`epsball`: one verb a file. Nothing here imports torch, so `--help` answers at once."""

from __future__ import annotations

import functools
import json
import os
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any

import typer
from rich.console import Console

from epsball.cli import analyse, data
from epsball.cli.attack import attack
from epsball.cli.bounds import bounds
from epsball.cli.certify import certify
from epsball.cli.demo import demo
from epsball.cli.doctor import doctor
from epsball.cli.predict import predict
from epsball.cli.report import report
from epsball.cli.show import list_, show
from epsball.cli.spread import add
from epsball.cli.tables import TableForm
from epsball.cli.train import train
from epsball.cli.verify import verify
from epsball.errors import EpsballError, EpsballWarning

# typer carries its own copy of click, whose base error it does not export under a name
CommandLineError: Any = typer.BadParameter.__mro__[2]

_INTERRUPTED = 130  # exit code of Ctrl-C

app = typer.Typer(
    name="epsball",
    help="Robust training and certification of neural networks: verified <= true robust <= attacked accuracy.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        sys.stdout.write(f"epsball {version('epsball')}\n")
        raise typer.Exit


@app.callback()
def _epsball(
    *,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and end.")] = False,
) -> None:
    """Robust training and certification of neural networks: verified <= true robust <= attacked accuracy."""


add(app, {"doctor": doctor, "list": list_, "show": show})
app.add_typer(data.app, name="data")
add(
    app,
    {
        "demo": demo,
        "train": train,
        "attack": attack,
        "bounds": bounds,
        "verify": verify,
        "certify": certify,
        "predict": predict,
        "report": report,
    },
)
app.add_typer(analyse.app, name="analyse")


def main() -> None:
    """Run a verb. Exit codes: 0 done, 2 for what the caller can mend, 3 for what went wrong while running, 130 for Ctrl-C."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a verb and return its exit code; every error is one message, and so is a warning of this package, unless quiet."""
    with warnings.catch_warnings():
        if {"--quiet", "-q"}.isdisjoint(arguments):
            warnings.simplefilter("always", EpsballWarning)
        else:
            warnings.simplefilter("ignore")
        warnings.showwarning = functools.partial(_warn, warnings.showwarning)
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    try:
        code = app(arguments or ["--help"], standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except CommandLineError as error:
        return _fail(arguments, "BadConfig", error.format_message(), None, "see: epsball " + _usage(arguments), 2)
    except EpsballError as error:
        return _fail(arguments, type(error).__name__, error.what, error.where, error.fix, error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    if code == _INTERRUPTED:  # typer makes this of a KeyboardInterrupt, by raising or by returning; no verb ends so by itself
        what = "interrupted; what was recorded so far is whole"
        return _fail(arguments, "Interrupted", what, None, "run again with --resume", _INTERRUPTED)
    return int(code or 0)


def _warn(otherwise: Callable[..., None], message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
    if not issubclass(category, EpsballWarning):
        otherwise(message, category, *rest, **more)
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"{category.__name__}:", style="bold yellow", end=" ", markup=False)
    console.print(str(message), markup=False)


def _usage(arguments: list[str]) -> str:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    if arguments and not arguments[0].startswith("-") and arguments[0] not in verbs:
        return "--help"
    return f"{arguments[0]} --help" if arguments and not arguments[0].startswith("-") else "--help"


def _as_json(arguments: list[str]) -> bool:
    """Whether the result was to be JSON: options that could not be read are known by their text alone."""
    formats = [*pairwise(arguments), *(tuple(argument.split("=", 1)) for argument in arguments)]
    return "--json" in arguments or ("--format", TableForm.JSON) in formats


def _fail(arguments: list[str], kind: str, what: str, where: str | None, fix: str | None, code: int) -> int:
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return code  # under torchrun one process of a machine tells for all
    if _as_json(arguments):
        body = {"schema": "epsball.error/1", "error": {"kind": kind, "what": what, "where": where, "fix": fix}, "exit_code": code}
        sys.stdout.write(json.dumps(body) + "\n")
        return code
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"{kind}:", style="bold red", end=" ", markup=False)
    console.print(what, markup=False)
    if where:
        console.print(f"  at  {where}", markup=False)
    if fix:
        console.print(f"  Fix: {fix}", markup=False)
    return code
