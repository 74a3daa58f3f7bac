"""One case of each kind as a line that can be kept, and what many lines add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from tests.red.cases import case
from tests.red.check import Outcome, check
from tests.red.corpora import check_fooling, check_known, check_planted
from tests.red.fooling import fooling
from tests.red.known import known
from tests.red.pictures import check_pictures, pictures
from tests.red.planted import planted

Line = dict[str, Any]
OPTION = {"red": "--cases", "known": "--corpora", "planted": "--corpora", "fooling": "--fooling", "pictures": "--pictures"}


def red_line(seed: int, *, whole: bool) -> Line:
    drawn = case(seed)
    return line("red", seed, drawn.family, check(drawn, whole=whole), operators=drawn.operators, what=str(drawn))


def known_line(seed: int, *, whole: bool) -> Line:
    drawn = known(seed)
    return line("known", seed, drawn.family, check_known(drawn, None if whole else seed), what=f"r = {drawn.radius}")


def planted_line(seed: int, *, whole: bool) -> Line:
    drawn = planted(seed)
    return line("planted", seed, drawn.family, check_planted(drawn, None if whole else seed))


def fooling_line(seed: int, *, whole: bool) -> Line:
    drawn = fooling(seed)
    outcome, fooled = check_fooling(drawn, None if whole else seed)
    return line("fooling", seed, drawn.family, outcome, fooled=fooled, what=str(drawn.region.centre.dtype))


def pictures_line(seed: int, *, whole: bool) -> Line:
    drawn = pictures(seed)
    return line("pictures", seed, drawn.family, check_pictures(drawn))


LINES: dict[str, Callable[..., Line]] = {
    "red": red_line, "known": known_line, "planted": planted_line, "fooling": fooling_line, "pictures": pictures_line
}  # fmt: skip


def line(kind: str, seed: int, family: str, outcome: Outcome, **more: Any) -> Line:
    counts = {"verdicts": dict(Counter(outcome.verdicts)), "refusals": dict(Counter(outcome.refusals)), "bounds": outcome.bounds}
    return {"kind": kind, "seed": seed, "family": family, "findings": outcome.findings} | counts | more


def told(lines: Iterable[Line]) -> str:
    """Every finding with what reproduces it, for the message of a failed test."""
    out = []
    for at in lines:
        if at["findings"]:
            out.append(f"{at['kind']} {at['seed']} {at['family']} {at.get('what', '')}")
            out.append(f"  reproduce: python -m benchmarks.redteam {OPTION[at['kind']]} 1 --seed {at['seed']}")
            out += [f"  {kind}: {detail[:300]}" for kind, detail in at["findings"][:6]]
    return "\n".join(out)


def tally(lines: list[Line]) -> str:
    """Cases, verdicts, refusals and findings: by kind, family and operator."""
    out = []
    for kind in dict.fromkeys(at["kind"] for at in lines):
        here = [at for at in lines if at["kind"] == kind]
        out.append(f"{kind}: {len(here)} cases, {sum(at['bounds'] for at in here)} bounds")
        out += _table("  family", ((at["family"], at) for at in here))
        out += _table("  operator", ((name, at) for at in here for name in set(at.get("operators", ()))))
        out += _counts("  verdicts", (at["verdicts"] for at in here))
        out += _counts("  refusals", (at["refusals"] for at in here))
        out += _counts("  findings", (dict(Counter(k for k, _ in at["findings"])) for at in here))
        if kind == "fooling":
            out.append(f"  broken by the module itself: {sum(at['fooled'] for at in here)}")
    return "\n".join(out)


def _table(title: str, named: Iterable[tuple[str, Line]]) -> list[str]:
    rows: dict[str, Counter[str]] = {}
    for name, at in named:
        row = rows.setdefault(name, Counter())
        row.update({"cases": 1, "findings": len(at["findings"])})
        row["capture refused"] += sum(n for r, n in at["refusals"].items() if r.startswith("capture"))
        for verdict, n in at["verdicts"].items():
            row[verdict.rsplit(": ", 1)[1]] += n
    if not rows:
        return []
    columns = ("cases", "capture refused", "verified", "falsified", "unknown", "timeout", "error", "findings")
    return [f"{title:24}" + "".join(f"{c:>17}" for c in columns)] + [
        f"    {name:20}" + "".join(f"{row[c]:>17}" for c in columns) for name, row in sorted(rows.items())
    ]


def _counts(title: str, counted: Iterable[dict[str, int]]) -> list[str]:
    total: Counter[str] = Counter()
    for counts in counted:
        total.update(counts)
    return [title, *(f"    {n:8} {name}" for name, n in total.most_common())] if total else []
