"""Each noun once: no two public classes of the package share their name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import epsball

ROOT = Path(epsball.__file__).parent


def _classes():
    """Every public class of every module, read from the source: nothing is imported."""
    found = defaultdict(list)
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(file.relative_to(ROOT)))
    return found


def test_no_two_public_classes_share_a_name():
    classes = _classes()
    assert len(classes) > 300
    assert {name: places for name, places in classes.items() if len(places) > 1} == {}
