"""What a page claims about what: the network, the data, the threat and the arithmetic, and one conclusion in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from epsball.record.slices import sliced
from epsball.reporting.csv import percent
from epsball.reporting.tables import headlines

if TYPE_CHECKING:
    from epsball.record.lines import Rate, SummaryLine
    from epsball.reporting.runs import Run, Story
    from epsball.reporting.tables import Headline


@dataclass(frozen=True)
class Claim:
    """One verification or attack: `conclusion` is its result in words, `facts` what the result is of."""

    run: Run
    conclusion: str
    facts: tuple[tuple[str, str], ...]


def claims(story: Story) -> list[Claim]:
    """One for each headline about the network itself; a broken one, or one about a smoothed network, concludes nothing here."""
    found = []
    for headline in headlines(story):
        summary = headline.run.summary
        if summary is None or summary.noise or summary.count is None or headline.broken:
            continue
        conclusion = _conclusion(headline, summary, summary.count)
        if conclusion:
            found.append(Claim(headline.run, conclusion, tuple(_facts(headline.run, summary))))
    return found


def _conclusion(headline: Headline, summary: SummaryLine, count: int) -> str:
    """Every input is counted once: proven, broken, undecided or wrong from the start."""
    verified, attacked, clean = (_hits(rate, count) for rate in (headline.verified, headline.attacked, headline.clean))
    start = f"Of the {count:,} test inputs asked ({_chosen(headline.run)} of {summary.data})"
    threat = _threat(headline.run, summary)
    told = []
    if verified is not None and headline.verified is not None:
        share = f"{percent(headline.verified.value)} %, 95 % limits {_limits(headline.verified)}"
        told.append(f"{verified:,} ({share}) are proven to keep their right class under every change allowed: {threat}")
    if attacked is not None and clean is not None:
        told.append(f"an attack changes the class of {clean - attacked:,}")
    if verified is not None and attacked is not None:
        told.append(f"{attacked - verified:,} are undecided")
    elif attacked is not None and headline.attacked is not None:
        share = f"{percent(headline.attacked.value)} %, 95 % limits {_limits(headline.attacked)}"
        told.append(f"{attacked:,} ({share}) withstood it, which proves nothing about them; the changes allowed: {threat}")
    if clean is not None:
        told.append(f"{count - clean:,} are classified wrongly without any change")
    return f"{start}, {'; '.join(told)}." if told else ""


def _facts(run: Run, summary: SummaryLine) -> list[tuple[str, str]]:
    subject, weights = run.header.subject, run.header.identity.get("weights")
    network = [str(subject.get("architecture") or summary.model or "–")]
    if "parameters" in subject:
        network.append(f"{_number(subject['parameters'])} parameters")
    if isinstance(subject.get("input"), list):
        network.append(f"input {' x '.join(str(size) for size in subject['input'])}")
    if "classes" in subject:
        network.append(f"{_number(subject['classes'])} classes")
    facts = [("Network", ", ".join(network)), ("Weights", weights or ""), ("Inputs", f"{summary.data}: {_chosen(run)}")]
    facts += [("Threat", _threat(run, summary)), ("Arithmetic", run.header.arithmetic)]
    return [(name, value) for name, value in facts if value]


def _chosen(run: Run) -> str:
    """Which inputs: of shards put together from the inputs themselves, since each header knows its own part alone."""
    chosen = run.header.subject.get("chosen")
    known = chosen if isinstance(chosen, Mapping) else {}
    how = sliced([line.index for line in run.instances]) if run.parts and run.instances else str(known.get("how", ""))
    count = len(run.instances) if run.parts and run.instances else known.get("count")
    if count is not None and count == known.get("of"):
        return f"all {_number(count)} test examples"
    whole = f" of the {_number(known['of'])} test examples" if "of" in known else ""
    return f"{how}{whole}" if how else "the record does not say which"


def _threat(run: Run, summary: SummaryLine) -> str:
    eps = "" if summary.eps is None else f" ball of radius {summary.eps:g}"
    return str(run.header.subject.get("threat") or f"{summary.norm}{eps}").replace("<=", "≤")


def _hits(rate: Rate | None, count: int) -> int | None:
    return None if rate is None else round(rate.value * count)


def _limits(rate: Rate) -> str:
    return f"{percent(rate.low)} to {percent(rate.high)} %"


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
