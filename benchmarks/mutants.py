"""Mutants: small changes to what `verified` trusts, one at a time. Which of them does no test notice?

    nice -n 5 python -m benchmarks.mutants --count 400 --seed 0 --out mutants.jsonl

The changes are mutmut's. Left out are those of strings and of what is raised: the words of an error are no answer. A mutant is run
against the tests that call its function, the fastest first, on a copy of the tree. `--out` is gone on with if it exists.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import Mutation, create_mutations

from benchmarks.mutant_server import Test, run, watch

TARGETS = (
    "rounding.py", "bounding/base.py", "bounding/linear/losses.py", "verification/*.py", "verification/programs/verifier.py",
    "verification/semidefinite/*.py", "problem/sets/*.py", "smoothing/statistics/procedures.py",
    "smoothing/statistics/boundary.py", "smoothing/statistics/martingale.py", "smoothing/statistics/sequential.py",
)  # fmt: skip
TESTS = (
    "tests/unit/test_rounding_units.py", "tests/oracle/test_rounding_orders.py", "tests/unit/test_verification_*.py",
    "tests/unit/test_smoothing_*.py", "tests/oracle/test_smoothing_*.py", "tests/unit/test_output_interval.py",
    "tests/unit/test_doubts.py", "tests/unit/test_training_evaluate.py", "tests/oracle/test_set*.py", "tests/oracle/test_sdp*.py",
    "tests/oracle/test_lp.py", "tests/unit/test_solver_presolve.py", "tests/contract/test_set_contracts.py",
    "tests/contract/test_bounders_on_sets.py", "tests/unit/test_sets_*.py", "tests/unit/test_bounding_losses.py",
)  # fmt: skip
RESULTS = ("killed", "timeout", "survived", "unreached")
TALLY = ("folder", "mutants", *RESULTS, "share killed")
LEFT = ("where", "function", "before", "after")
READERS = ("tests/unit/test_default_dtype.py::test_no_tensor_takes_the_default_dtype",)  # they read the code, and call none of it
LIMIT = 25  # CPU seconds a mutant
_SHARE = 0.4  # of the limit, for the tests as they were timed


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        file: in `src/epsball`.
        line: where it begins.
        number: among the mutants of its file.
        function: qualified name, or that of the class, or nothing for the module's own statements.
        before: the changed code.
        after: what it was changed to.
    """

    file: str
    line: int
    number: int
    function: str
    before: str
    after: str

    @property
    def key(self) -> tuple[str, int]:
        return self.file, self.number


class _InRaise(cst.CSTVisitor):
    """Nodes of `raise` statements."""

    def __init__(self) -> None:
        self.depth, self.found = 0, set[int]()

    def on_visit(self, node: cst.CSTNode) -> bool:
        self.depth += isinstance(node, cst.Raise)
        if self.depth:
            self.found.add(id(node))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        self.depth -= isinstance(original_node, cst.Raise)


@dataclass(frozen=True)
class Source:
    """A file and all its mutations."""

    module: cst.Module
    mutations: list[Mutation]

    def write(self, mutant: Mutant) -> str:
        """The file with one of them."""
        change = self.mutations[mutant.number]
        return cst.ensure_type(self.module.deep_replace(change.original_node, change.mutated_node), cst.Module).code


def mutants_of(root: Path, file: str) -> tuple[Source, list[Mutant]]:
    """All mutants of a file that are asked about."""
    code = (root / file).read_text()
    module, mutations, _, _ = create_mutations(file, code)
    raised = _InRaise()
    module.visit(raised)
    places = MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
    where, found, empty = _functions(code), [], cst.Module([])
    for number, change in enumerate(mutations):
        node = change.original_node
        if isinstance(node, cst.BaseString) or id(node) in raised.found:
            continue
        line = places[node].start.line
        before, after = (" ".join(empty.code_for_node(n).split()) for n in (node, change.mutated_node))
        found.append(Mutant(file, line, number, where.get(line, ""), before, after))
    return Source(module, mutations), found


def _functions(code: str) -> dict[int, str]:
    """The function or class that each line belongs to."""
    found: dict[int, str] = {}

    def walk(body: Sequence[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.update(dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), prefix + node.name))
                if isinstance(node, ast.ClassDef):
                    walk(node.body, f"{prefix}{node.name}.")

    walk(ast.parse(code).body, "")
    return found


def tests_for(mutant: Mutant, tests: Sequence[Test]) -> list[str]:
    """The tests that call its function, the fastest first, as many as fit."""
    name = f"{mutant.file}:{mutant.function}"
    ours = [t for t in tests if any(r == name or r.startswith(name + "." if mutant.function else name) for r in t.reached)]
    chosen, left = [], _SHARE * LIMIT
    for test in sorted(ours, key=lambda t: t.seconds):
        left -= test.seconds
        if left < 0:
            break
        chosen.append(test.name)
    return [*READERS, *chosen] if chosen else []


def copy(tree: Path, there: Path) -> None:
    """What the tests need of a tree."""
    for name in ("src", "tests", "benchmarks", "docs", "examples"):
        if (tree / name).is_dir():
            shutil.copytree(tree / name, there / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in tree.glob("*.*"):
        if path.is_file():
            shutil.copy(path, there)
    compileall.compile_dir(str(there / "src"), quiet=1)


def draw(root: Path, count: int, seed: int) -> tuple[dict[str, Source], list[Mutant]]:
    """So many mutants, in an order of which any beginning is a fair draw."""
    files = sorted({str(p.relative_to(root)) for pattern in TARGETS for p in root.glob(pattern)})
    made = {file: mutants_of(root, file) for file in files}
    every = [mutant for _, mutants in made.values() for mutant in mutants]
    print(f"{len(every)} mutants of {len(files)} files", flush=True)
    random.Random(seed).shuffle(every)  # noqa: S311
    return {file: source for file, (source, _) in made.items()}, every[:count]


def judge(sources: dict[str, Source], mutants: Sequence[Mutant], tests: Sequence[Test], tree: Path) -> Iterator[dict[str, Any]]:
    """Run each mutant; the tree is as it was after each."""
    for mutant in mutants:
        path = tree / "src/epsball" / mutant.file
        original, changed = path.read_text(), sources[mutant.file].write(mutant)
        chosen = tests_for(mutant, tests)
        if not chosen:
            yield {**asdict(mutant), "result": "unreached", "tests": 0, "seconds": 0.0, "by": ""}
            continue
        for cached in path.parent.glob(f"__pycache__/{path.stem}.*"):
            cached.unlink()
        path.write_text(changed)
        try:
            ended = run(tree, chosen, LIMIT)
            while ended.status == "timeout" and len(chosen) > 1:  # the mutant's doing only if the code as it is takes less
                path.write_text(original)
                if run(tree, chosen, LIMIT).status == "passed":
                    break
                chosen = chosen[: len(chosen) // 2]
                path.write_text(changed)
                ended = run(tree, chosen, LIMIT)
        finally:
            path.write_text(original)
        result = {"passed": "survived", "failed": "killed", "timeout": "timeout"}[ended.status]
        by = next((line.split()[1] for line in ended.output.splitlines() if line.startswith(("FAILED ", "ERROR tests"))), "")
        yield {**asdict(mutant), "result": result, "tests": len(chosen), "seconds": round(ended.seconds, 2), "by": by}


def tally(lines: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """By folder: mutants, how they ended, and the share killed."""
    rows = []
    for name in (*sorted({Path(line["file"]).parts[0] for line in lines}), "all"):
        counts = Counter(line["result"] for line in lines if name in ("all", Path(line["file"]).parts[0]))
        total, killed = sum(counts.values()), counts["killed"] + counts["timeout"]
        rows.append((name, str(total), *(str(counts[r]) for r in RESULTS), f"{killed / max(total, 1):.1%}"))
    return rows


def survivors(lines: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Each that no test noticed: where, and what was changed to what."""
    left = [line for line in lines if line["result"] in ("survived", "unreached")]
    left.sort(key=lambda line: (line["file"], line["line"]))
    return [
        (f"{line['file']}:{line['line']}", line["function"], *(f"`{line[k]}`".replace("|", "or") for k in ("before", "after")))
        for line in left
    ]


def record(columns: tuple[str, ...], rows: list[tuple[str, ...]], args: argparse.Namespace, path: Path) -> None:
    """A small table beside the others."""
    from benchmarks.tables import Table, save  # it imports epsball, which the server must not have

    command = f"OMP_NUM_THREADS=1 python -m benchmarks.mutants --count {args.count} --seed {args.seed} --out mutants.jsonl"
    head = {
        "section": "Mutants",
        "command": command,
        "code": code(args.tree),
        "date": str(datetime.now(UTC).date()),
        "origin": "measured",
    }
    save(Table(head, columns, tuple(rows)), path)


def code(tree: Path) -> str:
    """The commit of a tree, if it is one."""
    git = shutil.which("git") or "git"
    found = subprocess.run([git, "-C", str(tree), "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("mutants.jsonl"))
    parser.add_argument("--tree", type=Path, default=Path(), help="of the project, to mutate a copy of")
    parser.add_argument("--tables", type=Path, help="a folder for the tally and the survivors as tables")
    args = parser.parse_args()
    known = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, args.out.open("a") as out:
        tree = Path(folder).resolve()
        sources, mutants = draw(args.tree / "src/epsball", args.count, args.seed)
        done = {(line["file"], line["number"], line["before"], line["after"]) for line in known}
        left = [m for m in mutants if (m.file, m.number, m.before, m.after) not in done]
        if left:
            copy(args.tree, tree)
            paths = sorted({str(p.relative_to(tree)) for pattern in TESTS for p in tree.glob(pattern)})
            tests = watch(tree, paths)
            print(f"{len(tests)} tests, mutmut {version('mutmut')}", flush=True)
            for line in judge(sources, left, tests, tree):
                known.append(line)
                out.write(json.dumps(line) + "\n")
                out.flush()
                print(line["result"], f"{line['file']}:{line['line']}", line["seconds"], flush=True)
    from benchmarks.tables import markdown

    print(markdown(TALLY, tally(known)), markdown(LEFT, survivors(known)), sep="\n\n")
    if args.tables:
        record(TALLY, tally(known), args, args.tables / "mutants.csv")
        record(LEFT, survivors(known), args, args.tables / "mutants-survivors.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
