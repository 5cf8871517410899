"""Scores against labels: a grid of panels, and the magnitude cue with its binned mean."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from magiqa.report.captions import axis
from magiqa.report.display_names import short_label
from magiqa.report.style import GRAY, INK, LINE, MARKERS, NAMES, SERIES, Width, make, save, shorten, styled
from magiqa.stats.bootstrap import resample_counts
from magiqa.stats.intervals import mean_band
from magiqa.stats.logistic import logistic

HIGHEST = 7.0  # inches of rows of panels: a page with its caption holds no more

VECTORS = (
    5000  # points up to which they are drawn as such; more would make a file that no reader opens quickly
)

LAYERS = 8  # of points, each with some of every group


@dataclass(frozen=True)
class Row:
    """A row of panels: one data set.

    Args:
        frame: holds the columns shown, the label and optionally `group`. label: the column on y.
        titles, curves: by column; a curve is five logistic parameters, or None.
    """

    frame: pd.DataFrame
    label: str
    titles: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float] | None] = field(default_factory=dict)


def scatter(
    stem: Path, rows: Sequence[Row], columns: Sequence[str], *, note: str = "", width: Width = "page"
) -> list[Path]:
    """Panels of rows by columns, colored by group where one row has so few that they are told apart in gray, too."""
    one = len(rows) == 1
    across = 1 if width == "column" and one else len(columns)
    down = -(-len(columns) // across) if one else len(rows)
    names = sorted(rows[0].frame["group"].astype(str).unique()) if one and "group" in rows[0].frame else []
    color_of = dict(zip(names, SERIES, strict=False)) if 2 <= len(names) <= len(SERIES) else {}
    if len(names) > len(SERIES):
        note = "; ".join(filter(None, (note, f"{len(names)} groups, not colored")))
    with styled():
        side = 1.85 if width == "column" else 2.15
        figure = make(
            width,
            (down * side if one else min(1.65 * down, HIGHEST))
            + 0.45
            + LINE * (-(-len(color_of) // (5 if width == "page" else 2))),
            note,
        )
        grid = figure.subplots(down, across, sharey="row" if not one else True, squeeze=False)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                ax = grid[j // across][j % across] if one else grid[i][j]
                _panel(ax, row, column, color_of, width)
                if (j % across if one else j) == 0:
                    ax.set_ylabel(_lines(axis(row.label)) if one else f"{short_label(row.label)} ↑")
                if one or i == len(rows) - 1:
                    ax.set_xlabel(_lines(f"{NAMES.get(column, column)} (higher = better)"))
        for j in range(len(columns), down * across if one else 0):
            grid[j // across][j % across].set_axis_off()
        if color_of:
            marks = [
                Line2D([], [], linestyle="", marker=m, color=c)
                for c, m in zip(color_of.values(), MARKERS, strict=False)
            ]
            labels = [shorten(name, 24) for name in color_of]
            figure.legend(
                marks, labels, loc="outside lower center", ncols=min(5 if width == "page" else 2, len(labels))
            )
        return save(figure, stem)


def _lines(text: str) -> str:
    """A name in lines of some 20 characters, and its direction below it."""
    name, bracket, direction = text.partition(" (higher")
    return "\n".join(textwrap.wrap(name, 20)) + (f"\n(higher{direction}" if bracket else "")


def _panel(ax: Any, row: Row, column: str, color_of: Mapping[str, str], width: Width) -> None:
    """Points, the fitted curve and what stands over them."""
    frame = row.frame
    x, y = frame[column].to_numpy(float), frame[row.label].to_numpy(float)
    groups = frame["group"].astype(str).to_numpy() if color_of else np.full(len(frame), "")
    size = float(np.clip(2500 / max(len(frame), 1), 1.2, 10))
    order = np.random.default_rng(0).permutation(len(frame))  # fixed
    for some in np.array_split(order, LAYERS if color_of else 1):  # so that no group hides the others
        for (group, color), marker in zip((color_of or {"": GRAY}).items(), cycle(MARKERS), strict=False):
            at = some[groups[some] == group]
            look: dict[str, Any] = {"s": size, "marker": marker, "alpha": 0.6 if color_of else 0.45}
            ax.scatter(x[at], y[at], color=color, linewidths=0, rasterized=len(frame) > VECTORS, **look)
    params = row.curves.get(column)
    if params is not None:
        grid = np.linspace(np.nanmin(x), np.nanmax(x), 200)
        ax.plot(grid, logistic(grid, params), color=INK, linewidth=1.3)
    ax.set_title(row.titles.get(column, NAMES.get(column, column)), loc="left")


def agreement_line(agreement: pd.DataFrame, score: str, *, intervals: bool = True) -> str:
    """'SRCC 0.41 [0.38, 0.44]', a line a statistic, from the tidy table."""
    parts = []
    for statistic in ("srcc", "plcc"):
        rows = agreement[(agreement["score"] == score) & (agreement["statistic"] == statistic)]
        value = float(rows["value"].iloc[0]) if len(rows) else np.nan
        if not np.isfinite(value):
            parts.append(f"{statistic.upper()} n/a")
            continue
        low, high = float(rows["ci_low"].iloc[0]), float(rows["ci_high"].iloc[0])
        known = intervals and np.isfinite(low) and np.isfinite(high)
        parts.append(f"{statistic.upper()} {value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if known else ""))
    return "\n".join(parts) if intervals else ", ".join(parts)


def binned(
    x: np.ndarray, y: np.ndarray, clusters: np.ndarray | None, *, bins: int = 10, resamples: int = 1000
) -> pd.DataFrame:
    """Mean of y in bins of x of about equal size, with 95 % intervals over resampled clusters (or images).

    Returns:
        `x` (the bin's mean), `value, low, high, n`, a row a bin; equal x stay in one bin.
    """
    which = np.searchsorted(np.quantile(x, np.linspace(0, 1, bins + 1)[1:-1]), x)
    counts = resample_counts(len(y), clusters, None, resamples, 0)
    rows = []
    for k in sorted(set(which)):
        at = which == k
        low, high = mean_band(y, counts, at, clusters)
        rows.append({"x": x[at].mean(), "value": y[at].mean(), "low": low, "high": high, "n": int(at.sum())})
    return pd.DataFrame(rows)


def magnitude_figure(
    stem: Path,
    scores: pd.DataFrame,
    record: Mapping[str, Any],
    *,
    note: str = "",
    width: Width = "column",
) -> list[Path]:
    """The magnitude cue against the label, with the label's mean in ten bins of the cue and its clustered interval."""
    label, cluster = str(record["dataset"]["label"]), record["dataset"].get("cluster")
    clusters = scores[cluster].astype(str).to_numpy() if cluster in scores else None
    x, y = scores["q_mag"].to_numpy(float), scores[label].to_numpy(float)
    table = binned(x, y, clusters)
    with styled():
        figure = make(width, 2.2, note)
        ax = figure.subplots()
        size = float(np.clip(2500 / max(len(x), 1), 1.2, 10))
        ax.scatter(x, y, s=size, c=GRAY, alpha=0.35, linewidths=0, rasterized=len(x) > VECTORS)
        off = table[["low", "high"]].sub(table["value"], axis=0).abs().to_numpy().T
        ax.errorbar(
            table["x"], table["value"], yerr=off, color=INK, marker="o", linewidth=1.2, elinewidth=1.0,
            capsize=2, label=f"mean of {len(table)} bins, 95 % interval",
        )  # fmt: skip
        ax.set_xlabel(_lines(f"{NAMES['q_mag']} (higher = better)"))
        ax.set_ylabel(_lines(axis(label)))
        figure.legend(loc="outside lower center")
        return save(figure, stem)
