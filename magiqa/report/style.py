"""The look of every figure: printed widths, type at its printed size, colors, fonts, files.

The same input gives the same bytes: no dates, no style of the user's matplotlibrc, no random order. Text is never read
as mathematics, so names may hold ``$``. Series differ in color, marker and dash, so that they differ in gray too.
"""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib import font_manager, rcParams, style
from matplotlib.figure import Figure
from matplotlib.text import Text

from magiqa.runs.config import Style

WIDTHS = {"column": 3.35, "page": 6.9}  # inches: a column and the text width of a two-column page

# Petroff's ten colors (arXiv:2107.02270), told apart with each common color vision deficiency
COLORS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)

SERIES = ("#1f5fa8", "#e76300", "#1d1d1f", "#56b4e9", "#8a1c1c", "#a96b59")  # differ in lightness too

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")

# each mostly ink: a line of dots marks a reference
DASHES: tuple[Any, ...] = (
    *("-", (0, (5, 2)), (0, (6, 1.5, 1.5, 1.5)), (0, (2.5, 1))),
    *((0, (9, 2, 3, 2)), (0, (6, 1, 1, 1, 1, 1))),
)

GRAY, DARK_GRAY, INK = "#8a9199", "#6b7280", "#111827"

POINTS = 8  # of all text, at its printed size

LINE = 0.145  # inches that a line of text takes

FONT = "DejaVu Sans"

STYLE = {
    "text.parse_math": False,
    "font.size": POINTS,
    **dict.fromkeys(("axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize"), POINTS),
    **dict.fromkeys(("legend.fontsize", "figure.titlesize", "figure.labelsize"), POINTS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": DARK_GRAY,
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

_COLUMN = Style(width="column")

_style: ContextVar[Style] = ContextVar("style", default=_COLUMN)
_title: ContextVar[str] = ContextVar("title", default="")


@contextmanager
def styled(chosen: Style | None = None, title: str = "") -> Iterator[None]:
    """Draw with a style: the user's choice, or the one that is set already.

    Args:
        title: stands above each figure where the style asks for titles.
    """
    tokens = _style.set(chosen or _style.get()), _title.set(title or _title.get())
    family = [f for f in dict.fromkeys((_style.get().font, FONT)) if f]
    try:
        with style.context(["default", STYLE, {"font.family": family}]):
            yield
    finally:
        _style.reset(tokens[0])
        _title.reset(tokens[1])


def is_wide() -> bool:
    """Return whether figures are as wide as the text of a page."""
    return _style.get().width == "page"


def make(height: float, wide: bool | None = None) -> Figure:
    """Return an empty figure of a printed width and a height in inches."""
    across = WIDTHS["page" if (is_wide() if wide is None else wide) else "column"]
    return Figure(figsize=(across, height), layout="constrained")


def shorten(name: str, most: int = 42) -> str:
    """Return a name on one line of at most ``most`` characters."""
    line = " ".join(str(name).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write PNG and PDF without dates or versions, and the names that no installed font can draw."""
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, pdf, key = (stem.with_name(f"{stem.name}{end}") for end in (".png", ".pdf", "-names.txt"))
    if _style.get().title and _title.get():
        words = textwrap.fill(_title.get(), int(figure.get_figwidth() * 15))
        figure.suptitle(words, x=0.01, ha="left")
    numbered = _make_readable(figure)
    figure.savefig(png, metadata={"Software": None})
    figure.savefig(pdf, metadata={"CreationDate": None, "Producer": None, "Creator": None})
    if numbered:
        key.write_text("".join(f"{number}: {name}\n" for name, number in numbered.items()), encoding="utf-8")
    return [png, pdf, *([key] if numbered else [])]


def _make_readable(figure: Figure) -> dict[str, str]:
    """Give each text a font for its script; number the names that no installed font can draw, and return these."""
    numbered: dict[str, str] = {}

    def shown(text: str, family: Sequence[str]) -> str:
        lost = any(not font for font in _more_fonts(text, family))
        return numbered.setdefault(text, f"name {len(numbered) + 1}") if lost else text

    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            readable = [shown(label, rcParams["font.family"]) for label in labels]
            if readable != labels:
                axis.set_ticks(axis.get_majorticklocs(), readable)
    for text in figure.findobj(Text):
        family = list(text.get_fontfamily())
        text.set_text(shown(text.get_text(), family))
        text.set_fontfamily([*family, *_more_fonts(text.get_text(), family)])
    return numbered


def _more_fonts(text: str, family: Sequence[str]) -> list[str]:
    """Return a font for each character that a family lacks, empty where no font has it."""
    drawable = {c for name in family for c in _characters(name)}
    lacking = sorted({c for c in text if c.isprintable() and ord(c) not in drawable})
    return list(dict.fromkeys(font_with(c) for c in lacking))


@cache
def _files() -> dict[str, str]:
    """Return the file of each font family that matplotlib knows, upright before slanted, regular before bold."""
    entries = font_manager.fontManager.ttflist
    order = sorted(entries, key=lambda e: (e.style != "normal", str(e.weight) != "400", e.fname))
    return {entry.name: entry.fname for entry in reversed(order)}


@cache
def _find_new_fonts() -> None:
    """Tell matplotlib of fonts that were installed after it made its list."""
    listed = {entry.fname for entry in font_manager.fontManager.ttflist}
    for file in sorted(set(font_manager.findSystemFonts()) - listed):
        with suppress(OSError, RuntimeError, ValueError):
            font_manager.fontManager.addfont(file)
    _files.cache_clear()


@cache
def _characters(family: str) -> frozenset[int]:
    """Return the code points of a font family; none where it is not installed."""
    try:
        return frozenset(font_manager.get_font(_files()[family]).get_charmap())
    except (KeyError, OSError, RuntimeError):
        return frozenset()


@cache
def font_with(character: str) -> str:
    """Return an installed font family that has a character, DejaVu Sans before others; empty where there is none."""
    if ord(character) in _characters(FONT):
        return FONT
    _find_new_fonts()
    families = [name for name in sorted(_files()) if not name.startswith("Last Resort")]
    return next((name for name in families if ord(character) in _characters(name)), "")
