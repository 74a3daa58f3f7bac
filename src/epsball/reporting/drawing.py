"""Matplotlib drawings as inline SVG: text stays text, and colours are the page's own, so that they follow light and dark."""

from __future__ import annotations

import html
import io
import re
import warnings
from typing import TYPE_CHECKING, Any

from epsball.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

INK, MUTED, RULE, ACCENT, SOFT, GREY = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
ACCENT_2, ACCENT_3, ALARM = "#070707", "#080808", "#090909"
# Placeholder colours of a drawing, and the CSS variables of the page that take their place.
_VARIABLES = {
    INK: "--ink", MUTED: "--muted", RULE: "--rule", ACCENT: "--accent", SOFT: "--soft", GREY: "--grey",
    ACCENT_2: "--accent-2", ACCENT_3: "--accent-3", ALARM: "--alarm",
}  # fmt: skip
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "epsball", "text.parse_math": False, "axes.unicode_minus": True,
    "font.family": "sans-serif", "font.size": 9, "text.color": INK, "axes.labelcolor": MUTED, "axes.edgecolor": RULE,
    "axes.titlesize": 9.5, "axes.titlelocation": "left", "axes.titlecolor": INK, "axes.titlepad": 8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "axes.grid": True, "axes.grid.axis": "y",
    "axes.axisbelow": True, "grid.color": RULE, "grid.linewidth": 0.7, "xtick.color": RULE, "ytick.color": RULE,
    "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED, "xtick.major.size": 3, "ytick.major.size": 0, "xtick.minor.size": 0,
    "ytick.minor.size": 0, "legend.frameon": False, "legend.fontsize": 8.5, "legend.labelcolor": MUTED, "legend.handlelength": 1.8,
    "lines.linewidth": 1.7, "lines.markersize": 4.5, "lines.solid_capstyle": "round", "figure.constrained_layout.use": True,
    "axes.autolimit_mode": "data", "axes.xmargin": 0.02,
}  # fmt: skip


def draw(paint: Callable[[Axes], None], *, alt: str, ident: str, size: tuple[float, float]) -> str:
    """One drawing as an SVG element to set into a page.

    Args:
        paint: draws on the axes it is given.
        alt: what a reader who cannot see it should know; untrusted text is fine.
        ident: prefix of the drawing's own ids, unique on the page.
        size: width and height in inches.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("a report needs matplotlib", fix="pip install 'epsball[report]'") from error
    out = io.StringIO()
    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in another script; the browser has the letters
        figure = Figure(figsize=size)
        paint(figure.add_subplot())
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(out.getvalue(), alt, ident)


def _inline(svg: str, alt: str, ident: str) -> str:
    """Only the element, with ids of its own, the page's colours and font, and a size that follows the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    view = re.search(r'viewBox="([\d. ]+)"', svg)
    label = html.escape(alt, quote=True)
    opening = f'<svg role="img" aria-label="{label}" viewBox="{view.group(1) if view else "0 0 1 1"}">'
    svg = opening + svg[svg.index(">") + 1 :]
    svg = re.sub(r'(<[^<>]*? id=")', rf"\g<1>{ident}-", svg)
    svg = svg.replace("url(#", f"url(#{ident}-").replace('xlink:href="#', f'href="#{ident}-')
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--sans)", svg)
    return re.sub(r"#(0[1-9])\1\1(?=[;\"])", lambda found: f"var({_VARIABLES[found.group(0)]})", svg)
