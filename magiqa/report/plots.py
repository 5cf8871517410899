"""Dots with intervals, curves with bands, and the figures of a probe.

Every function takes a ``stem`` (a path without suffix), writes ``stem.png`` and ``stem.pdf`` and returns both paths.
A column ``panel`` gives each of its values a panel, a column ``series`` each of its values a color and a marker.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from magiqa.report.style import (
    DARK_GRAY,
    DASHES,
    INK,
    LINE,
    MARKERS,
    SERIES,
    is_wide,
    make,
    save,
    shorten,
    styled,
)
from magiqa.report.words import AXES, SCORES, backbone_name

MOST_ROWS = 60

PROBED = ("q_sim", "q_mag", "q", "laplacian")


def _values(frame: pd.DataFrame, column: str) -> list[str]:
    """Return the values of a column in their order; one empty value where it is not there."""
    return list(dict.fromkeys(frame[column].astype(str))) if column in frame else [""]


def _parts(frame: pd.DataFrame, column: str) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of each value of a column."""
    return [
        (v, frame[frame[column].astype(str) == v] if column in frame else frame)
        for v in _values(frame, column)
    ]


def _panels(frame: pd.DataFrame, height: float, across: int, more: float) -> tuple[Figure, list[Any]]:
    """Return a figure with a panel, of a height in inches, for each value of ``panel``."""
    titles, series = _values(frame, "panel"), _values(frame, "series")
    down = -(-len(titles) // across)
    across = -(-len(titles) // down)
    legend = LINE * -(-len(series) // _columns(series)) + 0.1 if len(series) > 1 else 0.0
    figure = make(min(9.0, down * height + more + legend) if len(titles) > 1 else height + more + legend)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for k, ax in enumerate(grid):
        ax.set_axis_off() if k >= len(titles) else ax.set_title(shorten(titles[k], 28), loc="left")
        ax.tick_params(labelbottom=k + across >= len(titles))
    return figure, list(grid[: len(titles)])


def _finish(figure: Figure, axes: Sequence[Any], xlabel: str, ylabel: str, stem: Path) -> list[Path]:
    """Name the axes, add the legend of several series, and save."""
    several = len(axes) > 1
    for ax in axes:
        if ax.xaxis.get_tick_params()["labelbottom"]:
            ax.set_xlabel(textwrap.fill(xlabel, 80 if is_wide() else 34))
    (figure.supylabel if several else axes[0].set_ylabel)(textwrap.fill(ylabel, 60 if several else 30))
    handles, labels = axes[0].get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(_columns(labels), len(labels)))
    return save(figure, stem)


def _columns(names: Sequence[str]) -> int:
    """Return the columns of a legend: as many as its longest name allows."""
    letters, most = (104, 4) if is_wide() else (54, 2)
    return max(1, min(most, letters // (max(map(len, names), default=0) + 5)))


def dots(
    stem: Path,
    rows: pd.DataFrame,
    *,
    xlabel: str,
    zero: float | None = 0.0,
    reference: str | None = None,
    order: Sequence[str] = (),
    hollow: Sequence[str] = (),
) -> list[Path]:
    """Draw values with intervals: a line a name.

    Args:
        rows: ``name, value, low, high`` and optionally ``series, panel``. Of more than 60 names the first 60 show.
        zero: where to draw the line of no effect; None draws none. reference: the name to mark as the reference.
        order: of the names, from the top; as in ``rows`` where it is empty.
        hollow: names with hollow marks, such as controls.
    """
    names = list(order or _values(rows, "name"))[:MOST_ROWS]
    place = {name: -k for k, name in enumerate(names)}
    series, panels = _values(rows, "series"), _parts(rows, "panel")
    most = 26 if not is_wide() else 34 if len(panels) > 1 else 64
    labels = ["\n".join(textwrap.wrap(shorten(name, 2 * most), most)) for name in names]
    lines = 1 + max(label.count("\n") for label in labels)
    step = max(0.13 + 0.045 * len(series), LINE * lines + 0.03)
    with styled():
        figure, axes = _panels(rows, 0.5 + len(names) * step, 4 if is_wide() else 1, 0.1)
        for ax, (_, panel) in zip(axes, panels, strict=True):
            for k, (name, part) in enumerate(_parts(panel, "series")):
                _intervals(ax, part, place, (k - (len(series) - 1) / 2) * 0.6 / len(series), k, name, hollow)
            if zero is not None:
                ax.axvline(zero, color=DARK_GRAY, linewidth=0.8)
            if reference in place:
                row = place[str(reference)]
                ax.axhspan(row - 0.5, row + 0.5, color="#f3f4f6", zorder=0)
            ax.locator_params(axis="x", nbins=6 if is_wide() and len(panels) == 1 else 4)
            ax.set_yticks(list(place.values()), labels)
            ax.set_ylim(-len(place) + 0.4, 0.6)
            ax.grid(axis="y", visible=False)
            ax.tick_params(axis="y", length=0)
        return _finish(figure, axes, xlabel, "", stem)


def _intervals(
    ax: Any,
    part: pd.DataFrame,
    place: Mapping[str, int],
    shift: float,
    k: int,
    label: str,
    hollow: Sequence[str],
) -> None:
    """Draw dots and their intervals in the rows of their names."""
    part = part[part["name"].astype(str).isin(place)]
    empty = part["name"].isin(list(hollow)).to_numpy()
    y = np.array([place[str(name)] - shift for name in part["name"]], float)
    x, low, high = (part[key].to_numpy(float) for key in ("value", "low", "high"))
    for rows, color, face in ((~empty, SERIES[k % len(SERIES)], None), (empty, DARK_GRAY, "white")):
        ax.hlines(y[rows], low[rows], high[rows], color=color, linewidth=1.1, alpha=0.8)
        ax.plot(x[rows], y[rows], linestyle="", marker=MARKERS[k % len(MARKERS)], color=color,
                markerfacecolor=face or color, label=None if face else label)  # fmt: skip


def curves(
    stem: Path,
    frame: pd.DataFrame,
    *,
    xlabel: str,
    ylabel: str,
    mark: float | None = None,
    zero: float | None = None,
    limits: tuple[float, float] | None = None,
) -> list[Path]:
    """Draw lines with interval bands over a number: a color and dash a series.

    Args:
        frame: ``x, value, low, high`` and optionally ``series, panel``; a series without intervals has no band.
        mark: an x to mark with a dotted line: the reference. zero: a value to mark with a line.
        limits: of the values that show.
    """
    panels = _parts(frame, "panel")
    with styled():
        figure, axes = _panels(
            frame, 2.0 if len(panels) == 1 else 1.35, 4 if is_wide() else 2, 0.3 * (len(panels) > 1)
        )
        for ax, (_, panel) in zip(axes, panels, strict=True):
            for k, (name, part) in enumerate(_parts(panel, "series")):
                _line(ax, part.sort_values("x", kind="stable"), k, name)
            if mark is not None:
                ax.axvline(mark, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
            if zero is not None:
                ax.axhline(zero, color=DARK_GRAY, linewidth=0.8)
            ax.set_ylim(limits)
        return _finish(figure, axes, xlabel, ylabel, stem)


def _line(ax: Any, part: pd.DataFrame, k: int, label: str) -> None:
    x, value, low, high = (part[key].to_numpy(float) for key in ("x", "value", "low", "high"))
    color, dash = SERIES[k % len(SERIES)], DASHES[k % len(DASHES)]
    marker = "" if len(x) > 25 else MARKERS[k % len(MARKERS)]
    ax.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0)
    ax.plot(x, value, linestyle=dash, marker=marker, color=color, label=label)
    for edge in (low, high):  # in gray, the edges tell overlapping bands apart
        ax.plot(x, edge, color=color, linewidth=0.4, linestyle=dash)


def probe_figures(folder: Path, table: pd.DataFrame, changes: pd.DataFrame) -> list[Path]:
    """Draw how each score moves with a distortion's level, and how monotonically: ``curves`` and ``srcc``."""
    names = {score: AXES.get(score, SCORES[score]) for score in PROBED}
    rows, changes = (
        f[f["score"].isin(PROBED)].sort_values("score", key=lambda s: s.map(PROBED.index), kind="stable")
        for f in (table, changes)
    )
    rows = rows[rows["score"].isin(AXES)].rename(
        columns={"srcc": "value", "ci_low": "low", "ci_high": "high"}
    )
    rows = rows.assign(name=rows["type"].str.replace("_", " "), series=rows["score"].map(names))
    changes = changes.rename(columns={"level": "x", "median": "value", "q25": "low", "q75": "high"})
    changes = changes.assign(panel=changes["type"].str.replace("_", " "), series=changes["score"].map(names))
    scores = changes[changes["score"].isin(AXES)]  # the control may leave the panel
    low, high = float(scores["low"].min()), float(scores["high"].max())
    margin = 0.05 * (high - low) or 1.0
    change = "Change from level 0 (standard deviations among photos)"
    label = "Median SRCC of score and level within a photo (-1 = always falls)"
    limits = low - margin, high + margin
    drawn = curves(folder / "curves", changes, xlabel="Level", ylabel=change, zero=0.0, limits=limits)
    return [*drawn, *dots(folder / "srcc", rows, xlabel=label)]


def probe_captions(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the caption of each figure of a probe."""
    place = (
        f"{len(record['images'])} photos, {record['method']}. Backbone: {backbone_name(record['backbone'])}."
    )
    return {
        "curves": f"Median change of each score with the level of a distortion, with quartiles, on {place}",
        "srcc": f"Median SRCC of score and level within a photo on {place} Bars: 95 % intervals.",
    }
