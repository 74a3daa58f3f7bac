"""The red team at length: random networks, networks that fool floats, and corpora with known answers (docs/explanation/testing.md).

    OMP_NUM_THREADS=1 python -m benchmarks.redteam --cases 5000 [--seed 0] [--shard 1/2] [--out FILE] [--resume]
    OMP_NUM_THREADS=1 python -m benchmarks.redteam --corpora 1000
    OMP_NUM_THREADS=1 python -m benchmarks.redteam --fooling 200
    OMP_NUM_THREADS=1 python -m benchmarks.redteam --tally FILE [FILE ...]

One JSON line a case is appended to FILE; `--resume` goes on where it ended, and counts a case that took the process along as a
finding. Ends with 1 if anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tests.red.runs import LINES, tally, told

import epsball
from benchmarks.command import ended
from epsball.errors import BadConfig, BadFile

VERSION = 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=0, help="random networks")
    parser.add_argument("--corpora", type=int, default=0, help="networks with known radius, and as many planted counterexamples")
    parser.add_argument("--fooling", type=int, default=0, help="networks that fool floating point")
    parser.add_argument("--planted", type=int, default=0, help="planted counterexamples alone")
    parser.add_argument("--pictures", type=int, default=0, help="pictures under sets that are cut into cells")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--quick", action="store_true", help="as in the tests: not every method on every case")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--tally", type=Path, nargs="+", help="only add up what files hold")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    lines = [line for path in args.tally for line in kept(path)] if args.tally else list(played(args))
    print(tally(lines))
    print(told(lines) or "nothing found")
    return int(any(line["findings"] for line in lines))


def jobs(args: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Kind and seed of every case of this shard."""
    wanted = {
        "red": args.cases,
        "known": args.corpora,
        "planted": args.corpora or args.planted,
        "fooling": args.fooling,
        "pictures": args.pictures,
    }
    part, _, parts = args.shard.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise BadConfig(f"{args.shard!r} is no shard", where="--shard", fix="write 2/4 for the second of four")
    for kind, count in wanted.items():
        for seed in range(args.seed, args.seed + count):
            if seed % int(parts) == int(part) - 1:
                yield kind, seed


def played(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Lines of all cases: those that are kept already, then the others, each written when it is done."""
    done = _opened(args.out, resume=args.resume) if args.out else []
    yield from done
    have = {(line["kind"], line["seed"]) for line in done}
    for kind, seed in jobs(args):
        if (kind, seed) in have:
            continue
        if args.out:
            _now(args.out).write_text(json.dumps({"kind": kind, "seed": seed}))
        line = LINES[kind](seed, whole=not args.quick)
        _append(args.out, line)
        for finding in line["findings"][:3]:
            print(kind, seed, line["family"], *finding, file=sys.stderr, flush=True)
        yield line
    if args.out:
        _now(args.out).unlink(missing_ok=True)


def _opened(path: Path, *, resume: bool) -> list[dict[str, Any]]:
    """What a file holds, with a finding for the case in which an earlier process died; a new file gets its header."""
    if not path.exists():
        header = {"redteam": VERSION, "epsball": epsball.__version__, "code": code(), "command": " ".join(sys.argv[1:])}
        path.write_text(json.dumps(header) + "\n")
        return []
    if not resume:
        raise BadConfig(f"{path} exists", where="--out", fix="give --resume to go on with it, or another file")
    lines = kept(path, code())
    last = _now(path)
    if last.exists():
        at = json.loads(last.read_text())
        if (at["kind"], at["seed"]) not in {(line["kind"], line["seed"]) for line in lines}:
            died = {
                "family": "unknown",
                "findings": [("the process died", "or was ended")],
                "verdicts": {},
                "refusals": {},
                "bounds": 0,
            }
            lines.append(at | died | {"fooled": False})
            _append(path, lines[-1])
    return lines


def kept(path: Path, code_now: str | None = None) -> list[dict[str, Any]]:
    """The whole lines of a file; a last one that was cut off is played again.

    Raises:
        BadFile: no file of this command, or one that another code made.
    """
    rows = path.read_text().splitlines(keepends=True)
    whole = [json.loads(row) for row in rows if row.endswith("\n")]
    if not whole or whole[0].get("redteam") != VERSION:
        raise BadFile(f"{path} is no record of this command", fix="give another file")
    if code_now is not None and whole[0]["code"] != code_now:
        raise BadFile(f"{path} was made by other code", fix="begin a new file")
    if rows[-1:] and not rows[-1].endswith("\n"):
        path.write_text("".join(rows[:-1]))
    return whole[1:]


def code() -> str:
    """A hash of the package's own source and of the red team's."""
    root = Path(epsball.__file__).parent
    files = [*sorted(root.rglob("*.py")), *sorted(Path(__file__).parent.parent.joinpath("tests", "red").glob("*.py"))]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _append(path: Path | None, line: dict[str, Any]) -> None:
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _now(path: Path) -> Path:
    return path.with_name(path.name + ".now")


if __name__ == "__main__":
    codes: list[int] = []
    stopped = ended(lambda: codes.append(main()))
    raise SystemExit(stopped or codes[0])
