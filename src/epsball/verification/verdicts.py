"""Verdicts of a batch, as a list that a person can read."""

from __future__ import annotations

from html import escape
from importlib import import_module
from typing import Any

from epsball.errors import MissingExtra
from epsball.proportion import clopper_pearson
from epsball.verification.base import STATUSES, Verdict

_SHOWN = 10


class Verdicts(list[Verdict]):
    """A list of verdicts, one a sample, that prints a summary."""

    @property
    def counts(self) -> dict[str, int]:
        """How many of each status, those that occur."""
        found = {status: sum(verdict.status == status for verdict in self) for status in STATUSES}
        return {status: count for status, count in found.items() if count}

    @property
    def headline(self) -> str:
        """In one line, such as `3 samples: 2 verified (66.7 % [9.4, 99.2]), 1 unknown`."""
        if not self:
            return "no samples"
        counts = self.counts
        low, high = clopper_pearson(counts.get("verified", 0), len(self))
        parts = [f"{count} {status}" for status, count in counts.items()]
        if "verified" in counts:
            parts[0] += f" ({100 * counts['verified'] / len(self):.1f} % [{100 * low:.1f}, {100 * high:.1f}])"
        return f"{len(self)} sample{'s' * (len(self) > 1)}: {', '.join(parts)}"

    def __repr__(self) -> str:
        lines = [f"  {i}  {verdict!r}" for i, verdict in enumerate(self[:_SHOWN])]
        more = [f"  ... and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        return "\n".join([self.headline, *lines, *more])

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        rows = "".join(
            f"<tr><td>{i}</td><td>{escape(v.status)}</td><td>{v.margin:.4g}</td><td>{escape(v.method)}</td><td>{v.seconds:.2g}</td></tr>"
            for i, v in enumerate(self[:_SHOWN])
        )
        head = "".join(f"<th>{name}</th>" for name in ("", "status", "margin", "method", "seconds"))
        return f"<p>{escape(self.headline)}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def to_dict(self) -> list[dict[str, Any]]:
        """JSON values, one dictionary a sample."""
        return [verdict.to_dict() for verdict in self]

    def to_pandas(self) -> Any:
        """A data frame, one row a sample.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise MissingExtra("a data frame needs pandas", fix="pip install pandas, or use to_dict()") from error
        return pandas.DataFrame(self.to_dict())
