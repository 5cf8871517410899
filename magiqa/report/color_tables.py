"""Tables of numbers as colors: two parameters, backbones by data sets, methods by methods."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from magiqa.report.style import INK, POINTS, Width, make, save, shorten, styled

MOST_WRITTEN = 12  # rows or columns up to which the numbers stand in the cells
SMALLEST = 6.0  # points


def heat_map(
    stem: Path,
    grid: pd.DataFrame,
    *,
    xlabel: str = "",
    ylabel: str = "",
    zlabel: str,
    title: str = "",
    note: str = "",
    reference: tuple[object, object] | None = None,
    best: bool = False,
    words: pd.DataFrame | None = None,
    symmetric: bool = False,
    width: Width = "column",
) -> list[Path]:
    """Cells in colors that rise in lightness too, so that they can be read in gray.

    Args:
        stem: the files' path without suffix.
        grid: values; rows from the top. words: what stands in the cells; the value, where there are few, by default.
        xlabel, ylabel, zlabel: of columns, rows and values.
        title: over the axes.
        note: the line over the figure.
        reference: (row, column) to frame. best: mark the highest with a star.
        symmetric: colors about 0, as differences need them.
        width: printed width.
    """
    values = grid.to_numpy(float)
    many = max(values.shape) > MOST_WRITTEN
    with styled():
        per_row = 0.1 if many else 0.3 if words is None else 0.42
        figure = make(width, min(5.5, 1.0 + per_row * len(grid) + (0.3 if not many else 0.0)), note)
        ax = figure.subplots()
        finite = values[np.isfinite(values)]
        limit = float(np.abs(finite).max()) if len(finite) else 1.0
        span: dict[str, Any] = {"vmin": -limit, "vmax": limit} if symmetric else {}
        image = ax.imshow(values, aspect="auto", cmap="PuOr" if symmetric else "viridis", **span)
        for side, names in (("x", grid.columns), ("y", grid.index)):
            _ticks(ax, side, list(names), many, width)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        ax.set_title(title, loc="left")
        ax.grid(visible=False)
        if not many:
            low, high = image.get_clim()
            for (i, j), value in np.ndenumerate(values):
                if np.isfinite(value):
                    share = (value - low) / (high - low or 1.0)
                    dark = abs(share - 0.5) > 0.33 if symmetric else share < 0.6
                    text = f"{value:.3f}" if words is None else str(words.iloc[i, j])
                    ax.text(j, i, text, ha="center", va="center", color="white" if dark else INK)
        bar = figure.colorbar(image, ax=ax, pad=0.02)
        bar.set_label(zlabel)
        bar.outline.set_visible(False)
        shown = []
        if reference is not None and reference[0] in grid.index and reference[1] in grid.columns:
            i, j = grid.index.get_loc(reference[0]), grid.columns.get_loc(reference[1])
            shown += ax.plot(
                j, i, "s", markersize=7, markerfacecolor="none", markeredgecolor="white", label="reference"
            )
        if best and len(finite):
            i, j = np.unravel_index(int(np.nanargmax(values)), values.shape)
            shown += ax.plot(
                j,
                i,
                "*",
                markersize=7,
                color="white",
                markeredgecolor=INK,
                clip_on=False,
                zorder=5,
                label=f"best: {values[i, j]:.3f}",
            )
        if shown:
            names = [line.get_label() for line in shown]
            legend = figure.legend(shown, names, loc="outside lower center", ncols=2)
            legend.get_frame().set(facecolor="#9ca3af", edgecolor="none", alpha=1.0)
            legend.set_frame_on(True)
        if ax.texts:
            _fit(figure, ax, values.shape)
        return save(figure, stem)


def _fit(figure: Figure, ax: Any, shape: tuple[int, int]) -> None:
    """Make the cells' words as large as all fit, up to `POINTS`.

    Where that is under `SMALLEST`, an interval takes two lines; then the first line alone stands, then nothing.
    """
    FigureCanvasAgg(figure)
    whole = [text.get_text() for text in ax.texts]
    forms = (
        whole,
        [words.replace(", ", ",\n") for words in whole],
        [words.partition("\n")[0] for words in whole],
    )
    for form in forms:
        for text, words in zip(ax.texts, form, strict=True):
            text.set_text(words)
        figure.draw_without_rendering()
        sizes = [text.get_window_extent().size for text in ax.texts]
        widest, highest = np.max(sizes, axis=0, initial=1.0)
        share = 0.94 * min(ax.bbox.width / shape[1] / widest, ax.bbox.height / shape[0] / highest)
        if share * POINTS >= SMALLEST:
            for text in ax.texts:
                text.set_fontsize(min(1.0, share) * POINTS)
            return
    for text in list(ax.texts):
        text.remove()


def _ticks(ax: Any, side: str, names: list[object], many: bool, width: Width) -> None:
    """Names of all columns or rows, or of five where there are many."""
    at = np.unique(np.linspace(0, len(names) - 1, 5).round().astype(int)) if many else np.arange(len(names))
    texts = [f"{n:g}" if isinstance(n, int | float) else shorten(str(n), 30) for n in (names[i] for i in at)]
    long = side == "x" and max(map(len, texts), default=0) * len(texts) > (34 if width == "column" else 80)
    turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if long else {}
    getattr(ax, f"set_{side}ticks")(at, texts, **turned)
    ax.tick_params(length=0)
