"""Tables of numbers as colors: two parameters, backbones by data sets, methods by methods."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from magiqa.report.style import INK, POINTS, is_wide, make, save, shorten, styled

MOST_WRITTEN = 12  # rows or columns up to which numbers stand in the cells

SMALLEST = 5.5  # points of these numbers


def heat_map(
    stem: Path,
    grid: pd.DataFrame,
    *,
    zlabel: str,
    xlabel: str = "",
    ylabel: str = "",
    framed: dict[tuple[object, object], str] | None = None,
    words: pd.DataFrame | None = None,
    symmetric: bool = False,
) -> list[Path]:
    """Draw cells in colors that rise in lightness, so that they can be read in gray.

    A few far lower cells do not use up the colors: the darkest color means its value or less.

    Args:
        grid: values; rows from the top. words: for the cells in place of the values.
        framed: cells to frame, (row, column) -> line style; marks lie around a number, not on it.
        symmetric: colors about 0, as differences need them.
    """
    values = grid.to_numpy(float)
    many = max(values.shape) > MOST_WRITTEN
    finite = values[np.isfinite(values)]
    low, high = limits(finite, symmetric)
    with styled():
        figure = make(min(5.5, 1.0 + (0.1 if many else 0.26) * len(grid)))
        ax = figure.subplots()
        image = ax.imshow(values, aspect="auto", cmap="PuOr" if symmetric else "viridis", vmin=low, vmax=high)
        for side, names in (("x", grid.columns), ("y", grid.index)):
            _ticks(ax, side, list(names), many)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        ax.grid(visible=False)
        for (i, j), value in np.ndenumerate(values if not many else np.empty((0, 0))):
            if np.isfinite(value):
                share = (value - low) / (high - low or 1.0)
                dark = abs(share - 0.5) > 0.33 if symmetric else share < 0.6
                text = f"{value:.3f}" if words is None else str(words.iloc[i, j]).replace("-", "−")
                ax.text(j, i, text, ha="center", va="center", color="white" if dark else INK)
        for (row, name), dash in (framed or {}).items():
            i, j = grid.index.get_loc(row), grid.columns.get_loc(name)
            for color, width, line in (("white", 2.4, "-"), (INK, 1.2, dash)):
                ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, clip_on=False, zorder=5, edgecolor=color,
                                       linewidth=width, linestyle=line))  # fmt: skip
        extend = "min" if len(finite) and finite.min() < low else "neither"
        bar = figure.colorbar(image, ax=ax, pad=0.02, extend=extend)
        bar.set_label(textwrap.fill(zlabel, 26))
        bar.outline.set_visible(False)
        _fit(figure, ax, values.shape)
        return save(figure, stem)


def _fit(figure: Figure, ax: Axes, shape: tuple[int, ...]) -> None:
    """Make the numbers as large as their cells allow, up to the size of all text; remove them if too small."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    widest = max((text.get_window_extent().width for text in ax.texts), default=1.0)
    size = min(1.0, 0.94 * ax.bbox.width / shape[1] / widest) * POINTS
    for text in list(ax.texts):
        text.set_fontsize(size)
        if size < SMALLEST:
            text.remove()


def limits(values: np.ndarray, symmetric: bool = False) -> tuple[float, float]:
    """Return the values of the first and last color."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    if symmetric:
        most = float(np.abs(finite).max()) or 1.0
        return -most, most
    middle, high = float(np.median(finite)), float(finite.max())
    return max(float(finite.min()), high - 3 * (high - middle)), high


def _ticks(ax: object, side: str, names: list[object], many: bool) -> None:
    """Name all columns or rows, or five of them where there are many."""
    places = (
        np.unique(np.linspace(0, len(names) - 1, 5).round().astype(int)) if many else np.arange(len(names))
    )
    shown = [names[i] for i in places]
    texts = [
        f"{n:g}".replace("-", "−") if isinstance(n, int | float) else textwrap.fill(shorten(str(n), 60), 24)
        for n in shown
    ]
    crowded = side == "x" and max(map(len, texts), default=0) * len(texts) > (80 if is_wide() else 34)
    turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    getattr(ax, f"set_{side}ticks")(places, texts, **turned)
    ax.tick_params(length=0)  # type: ignore[attr-defined]
