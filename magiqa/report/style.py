"""How every figure looks: widths of a two-column paper, type at its printed size, colors, files.

The same input gives the same bytes: no dates, no user style, no random order. Text is never read as mathematics, so
names may hold `$`. Series differ in color, marker and dash, so that they are told apart in gray.
"""

import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from magiqa.report.display_names import SCORES as SCORE_NAMES
from magiqa.runs.config import Width

WIDTHS = {"column": 3.35, "page": 6.9}  # inches: what a column and the text of a two-column page are wide

# Petroff's ten colors (arXiv:2107.02270): told apart with each common color vision deficiency.
COLORS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)

# of these the lightness differs too
SERIES = ("#1f5fa8", "#e76300", "#1d1d1f", "#56b4e9", "#8a1c1c", "#a96b59")

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1)), (0, (1, 3)))

GRAY, DARK_GRAY, INK = "#8a9199", "#6b7280", "#111827"

SCORES = ("q_sim", "q_mag", "q")

NAMES = {score: f"{SCORE_NAMES[score]} {score}" for score in SCORES}

POINTS = 8  # of all text, at its printed size
LINE = 0.145  # inches that a line of it takes

STYLE = {
    "text.parse_math": False,
    "font.size": POINTS,
    "axes.titlesize": POINTS,
    "axes.labelsize": POINTS,
    "xtick.labelsize": POINTS,
    "ytick.labelsize": POINTS,
    "legend.fontsize": POINTS,
    "figure.titlesize": POINTS,
    "figure.labelsize": POINTS,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#6b7280",
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.4,
    "figure.dpi": 100,
    "savefig.dpi": 220,
    "pdf.fonttype": 42,
    "pdf.compression": 6,
}


def printed_width(record: Mapping[str, Any]) -> Width:
    """The width that a run's config asks for."""
    style = record.get("config", {}).get("style") or {}
    return "column" if style.get("width") == "column" else "page"


def styled() -> Any:
    """A context with the module's own style, whatever the user's matplotlibrc says."""
    from matplotlib import style

    return style.context(["default", STYLE])


def make(width: Width, height: float, note: str = "") -> Figure:
    """An empty figure of a printed width and a height in inches, and a note over it, which makes it higher."""
    lines = len(_wrapped(note, WIDTHS[width]))
    figure = Figure(figsize=(WIDTHS[width], height + LINE * lines), layout="constrained")
    add_note(figure, note)
    return figure


def add_note(figure: Figure, note: str) -> None:
    """The lines over a figure."""
    if note:
        lines = _wrapped(note, figure.get_figwidth())
        figure.suptitle("\n".join(lines), color="#4b5563", x=0.01, ha="left")


def _wrapped(note: str, inches: float) -> list[str]:
    return textwrap.wrap(note, int(inches * 15.5))


def shorten(name: str, most: int = 42) -> str:
    """A name on one line, at most `most` characters."""
    line = " ".join(str(name).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write PNG and PDF without dates or versions."""
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, pdf = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".pdf")
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # a name in a script DejaVu lacks
        figure.savefig(png, metadata={"Software": None})
        figure.savefig(pdf, metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return [png, pdf]
