"""A network from a Python file, `model.py:make`: its code runs, and only because the caller named it."""

from __future__ import annotations

import ast
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from epsball.errors import BadFile, EpsballError, did_you_mean
from epsball.evaluation import evaluate

if TYPE_CHECKING:
    from pathlib import Path


def made_by(path: Path, name: str | None) -> nn.Module:
    """The module that a function or class of a Python file makes, in evaluation mode; a module at its top is itself.

    The file is run as a script of its folder would be: it can import what lies beside it. The global random state stays.

    Args:
        path: of the file.
        name: of the function or class; it is called without arguments.

    Raises:
        BadFile: no such file or name, none was given, it raises, or it makes no module.
    """
    known = _names(path)
    if name is None or name not in known:
        what = "a Python file is run only for a name in it that you give" if name is None else f"the file has no {name!r}"
        hint = did_you_mean(name or "", known) or f"it has {', '.join(sorted(known)) or 'none'}"
        raise BadFile(what, where=str(path), fix=f"give {path.name}:NAME, a function or class without arguments; {hint}")
    with torch.random.fork_rng(devices=[]):
        made = _run(path, name)
    if not isinstance(made, nn.Module):
        raise BadFile(f"this makes a {type(made).__name__}", where=f"{path}:{name}", fix="return a torch.nn.Module")
    evaluate(made)
    return made


def _run(path: Path, name: str) -> object:
    """What the function returns."""
    module = ModuleType(f"epsball_named_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.resolve().parent))
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), vars(module))  # noqa: S102 - what the caller asked for
        make: Any = vars(module)[name]
        return make if isinstance(make, nn.Module) else make()
    except EpsballError:
        raise
    except (Exception, SystemExit) as error:
        what = f"the file raises {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise BadFile(what, where=f"{path}:{_line(error, path)}", fix="mend the file, or give another one") from error
    finally:
        sys.path.remove(str(path.resolve().parent))


def _names(path: Path) -> set[str]:
    """What a file defines at its top, or imports there. It is parsed, and not run."""
    try:
        tree = ast.parse(path.read_bytes())
    except OSError as error:
        raise BadFile(f"the file cannot be read: {error.strerror}", where=str(path), fix="give a Python file") from error
    except (SyntaxError, ValueError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else 1
        raise BadFile(f"not Python: {error}", where=f"{path}:{line}", fix="mend the file, or give another one") from error
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return names - {"annotations"}


def _line(error: BaseException, path: Path) -> int:
    """The last line of the file that an error passed through."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
