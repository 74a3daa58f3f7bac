"""Reports: read run records only."""

from __future__ import annotations

from epsball.reporting.html import write_report

__all__ = ["write_report"]
