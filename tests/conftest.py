"""Shared settings: one torch thread a worker, shapes checked, and what is left out named in the summary."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import settings

import capture_cache
import shape_checks

settings.register_profile("shared machine", deadline=None)  # a slow minute of a busy machine is no failure
settings.load_profile("shared machine")

# the shapes of the layers that everything else calls are checked here, and nowhere else
jaxtyping.jaxtyped = shape_checks.jaxtyped
jaxtyping.install_import_hook(["epsball.forms.rows", "epsball.problem.property"], "beartype.beartype")

torch.set_num_threads(1)
TESTS = Path(__file__).resolve().parent
SHARED = TESTS.parents[1] / "shared"
QUICK = ("mlp", "conv", "pools")  # the networks of the zoo that `--quick` keeps
WORDNET = (Path("/usr/share/wordnet"), Path("/usr/local/WordNet-3.0/dict"))
_left_out: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help=f"unit and contract tests, on {', '.join(QUICK)}, without those marked slow"
    )


def _is_quick(item: pytest.Item) -> bool:
    """Not marked slow, and of the zoo's networks only the chosen ones."""
    name = item.callspec.params.get("name") if isinstance(item, pytest.Function) and "callspec" in vars(item) else None
    contract = item.path.is_relative_to(TESTS / "contract")
    return not item.get_closest_marker("slow") and not (contract and name in zoo_names() and name not in QUICK)


def zoo_names() -> frozenset[str]:
    """Not before the import hook above: the zoo imports the package."""
    import zoo

    return frozenset(zoo.NETWORKS)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Whole folders and files are left unread: importing them takes longer than their quick tests."""
    if not config.getoption("--quick") or collection_path.is_dir():
        return None
    inside = collection_path.resolve().is_relative_to
    return None if inside(TESTS / "unit") or inside(TESTS / "contract") else True


def _missing(item: pytest.Item) -> str | None:
    if item.get_closest_marker("shared") and not (SHARED / "data").is_dir():
        return "needs ../shared"
    if item.get_closest_marker("wordnet") and not any(map(Path.is_dir, WORDNET)):
        return "needs the system's WordNet (Debian: wordnet-base)"
    if item.get_closest_marker("browser") and not (shutil.which("chromium") and find_spec("selenium")):
        return "needs chromium and the extra [browser]"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this machine cannot run, by name and never silently. CI sets EPSBALL_TEST_ALL and leaves out nothing."""
    if config.getoption("--quick"):
        slow = [item for item in items if not _is_quick(item)]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)
    if os.environ.get("EPSBALL_TEST_ALL"):
        return
    out = [item for item in items if _missing(item)]
    _left_out.extend(f"{item.nodeid} ({_missing(item)})" for item in out)
    items[:] = [item for item in items if item not in out]
    config.hook.pytest_deselected(items=out)


def pytest_collection_finish() -> None:
    from epsball.ops import network

    network.capture = capture_cache.remembering(network.capture)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist tells its controller what it left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = _left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    _left_out[:] = sorted({*_left_out, *getattr(node, "workeroutput", {}).get("left_out", [])})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _left_out:
        terminalreporter.section("left out on this machine")
        for line in _left_out:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True, scope="module")
def _captures(request: pytest.FixtureRequest) -> Iterator[None]:
    """A graph is made once, but where the capture is what is tested."""
    from epsball.graph.capture import capture

    with pytest.MonkeyPatch.context() as patch:
        if request.path.stem.startswith("test_capture"):
            patch.setattr("epsball.ops.network.capture", capture)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real data and networks beside the project."""
    return SHARED
