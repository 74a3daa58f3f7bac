"""Matplotlib drawings: inline in a page, whose colours they follow in light and dark, or as files that stand alone."""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from epsball.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Places in matplotlib's cycle of colours: who saves a drawing says what they are.
INK, MUTED, RULE, ACCENT, SOFT, GREY, ACCENT_2, ACCENT_3, ALARM = (f"C{place}" for place in range(9))
_NAMES = ("ink", "muted", "rule", "accent", "soft", "grey", "accent-2", "accent-3", "alarm")
_HELD = tuple(f"#{place:02d}{place:02d}{place:02d}" for place in range(1, 10))  # where the page's CSS variables go
_VARIABLES = {held: f"--{name}" for held, name in zip(_HELD, _NAMES, strict=True)}
PRINTED = ("#1b2026", "#5d6671", "#e4e0d7", "#0f6b66", "#e3efed", "#b4b8bd", "#4d9c96", "#9fcac6", "#a5321d")
"""The page's light colours, for files."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "epsball", "text.parse_math": False, "axes.unicode_minus": True,
    "font.family": "sans-serif", "font.size": 9, "text.color": INK, "axes.labelcolor": MUTED, "axes.edgecolor": RULE,
    "axes.titlesize": 9.5, "axes.titlelocation": "left", "axes.titlecolor": INK, "axes.titlepad": 8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "axes.grid": True, "axes.grid.axis": "y",
    "axes.axisbelow": True, "grid.color": RULE, "grid.linewidth": 0.7, "xtick.color": RULE, "ytick.color": RULE,
    "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED, "xtick.major.size": 3, "ytick.major.size": 0, "xtick.minor.size": 0,
    "ytick.minor.size": 0, "legend.frameon": False, "legend.fontsize": 8.5, "legend.labelcolor": MUTED, "legend.handlelength": 1.8,
    "lines.linewidth": 1.7, "lines.markersize": 4.5, "lines.solid_capstyle": "round", "figure.constrained_layout.use": True,
    "axes.autolimit_mode": "data", "axes.xmargin": 0.02,
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """One drawing, made when it is asked for.

    Attributes:
        paint: draws on the axes it is given.
        alt: what a reader who cannot see it should know.
        ident: prefix of the drawing's own ids, unique on the page.
        size: width and height in inches.
    """

    paint: Callable[[Axes], None]
    alt: str
    ident: str
    size: tuple[float, float]

    @property
    def inline(self) -> str:
        """An SVG element to set into a page.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        return _inline(_saved((self,), "svg", _HELD, transparent=True, metadata=metadata).decode(), self.alt, self.ident)


def draw(paint: Callable[[Axes], None], *, alt: str, ident: str, size: tuple[float, float]) -> Drawing:
    """A drawing.

    Args:
        paint: draws on the axes it is given.
        alt: what a reader who cannot see it should know; untrusted text is fine.
        ident: prefix of the drawing's own ids, unique on the page.
        size: width and height in inches.
    """
    return Drawing(paint, alt, ident, size)


def svg_file(drawings: Sequence[Drawing], across: int = 3, keys: Sequence[tuple[str, str]] = ()) -> bytes:
    """Drawings side by side as one SVG file.

    Args:
        drawings: at least one.
        across: how many stand in a row.
        keys: (name, colour) of what is to be explained below.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    metadata = {"Date": None, "Creator": None}
    return _saved(drawings, "svg", PRINTED, across=across, keys=keys, facecolor="white", metadata=metadata)


def pdf_file(drawings: Sequence[Drawing], across: int = 3, keys: Sequence[tuple[str, str]] = ()) -> bytes:
    """The same as `svg_file` as PDF, with its fonts inside."""
    metadata = {"CreationDate": None, "Creator": None, "Producer": None}
    return _saved(drawings, "pdf", PRINTED, across=across, keys=keys, metadata=metadata)


def _saved(
    drawings: Sequence[Drawing],
    kind: str,
    colours: Sequence[str],
    *,
    across: int = 1,
    keys: Sequence[tuple[str, str]] = (),
    **options: Any,
) -> bytes:
    try:
        from cycler import cycler
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("a report needs matplotlib", fix="pip install 'epsball[report]'") from error
    out = io.BytesIO()
    with rc_context({**_STYLE, "axes.prop_cycle": cycler(color=colours)}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in another script; the browser has the letters
        columns = min(across, len(drawings))
        rows = math.ceil(len(drawings) / columns)
        width, height = drawings[0].size
        figure = Figure(figsize=(columns * width, rows * height))
        for place, one in enumerate(drawings, 1):
            one.paint(figure.add_subplot(rows, columns, place))
        _explain(figure, keys)
        figure.savefig(out, format=kind, **options)
    return out.getvalue()


def _explain(figure: Figure, keys: Sequence[tuple[str, str]]) -> None:
    if keys:
        from matplotlib.patches import Patch

        figure.legend(handles=[Patch(color=colour, label=name) for name, colour in keys], loc="outside lower left", ncols=len(keys))


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
