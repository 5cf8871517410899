"""Dots with intervals, curves with bands, and methods by data sets.

Every function takes a ``stem`` (a path without suffix), writes ``stem.png`` and ``stem.pdf`` and returns both paths.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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

MOST_ROWS = 60


def dots(
    stem: Path,
    rows: pd.DataFrame,
    *,
    xlabel: str,
    zero: float | None = 0.0,
    reference: str | None = None,
) -> list[Path]:
    """Draw values with intervals: a line a name, a color and marker a series.

    Args:
        rows: ``name, value, low, high`` and optionally ``series``. Names show in the order of their first row; of more
            than 60 the first 60 show.
        zero: where to draw the line of no effect; None draws none.
        reference: the name to mark as the reference.
    """
    names = list(dict.fromkeys(rows["name"].astype(str)))[:MOST_ROWS]
    series = list(dict.fromkeys(rows["series"].astype(str))) if "series" in rows else [""]
    most = 64 if is_wide() else 26
    labels = ["\n".join(textwrap.wrap(shorten(name, 2 * most), most)) for name in names]
    step = max(
        0.13 + 0.045 * len(series),
        LINE * (1 + max(map(str.count, labels, "\n" * len(labels)), default=0)) + 0.03,
    )
    columns = 4 if is_wide() else 2
    with styled():
        legend = LINE * -(-len(series) // columns) + 0.1 if len(series) > 1 else 0.0
        figure = make(0.55 + len(names) * step + legend)
        ax = figure.subplots()
        place = {name: -k for k, name in enumerate(names)}
        for k, one in enumerate(series):
            part = rows[rows["series"].astype(str) == one] if "series" in rows else rows
            shift = (k - (len(series) - 1) / 2) * 0.6 / len(series)
            _intervals(ax, part, place, shift, k, one or None)
        if zero is not None:
            ax.axvline(zero, color=DARK_GRAY, linewidth=0.8)
        if reference in place:
            row = place[str(reference)]
            ax.axhspan(row - 0.5, row + 0.5, color="#f3f4f6", zorder=0)
        _name_rows(ax, place, labels)
        ax.set_xlabel(textwrap.fill(xlabel, 80 if is_wide() else 34))
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=min(columns, len(series)))
        return save(figure, stem)


def _name_rows(ax: Any, place: dict[str, int], labels: Sequence[str]) -> None:
    """Name the rows of a panel and clear what only rows of numbers need."""
    ax.set_yticks(list(place.values()), labels)
    ax.set_ylim(-len(place) + 0.4, 0.6)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def _intervals(
    ax: Any,
    part: pd.DataFrame,
    place: dict[str, int],
    shift: float,
    k: int,
    label: str | None,
    hollow: bool = False,
) -> None:
    """Draw dots and their intervals in the rows of their names."""
    part = part[part["name"].astype(str).isin(place)]
    y = np.array([place[str(name)] - shift for name in part["name"]], float)
    x, low, high = (part[key].to_numpy(float) for key in ("value", "low", "high"))
    color = DARK_GRAY if hollow else SERIES[k % len(SERIES)]
    ax.hlines(y, low, high, color=color, linewidth=1.1, alpha=0.8)
    ax.plot(x, y, linestyle="", marker=MARKERS[k % len(MARKERS)], color=color, label=label,
            markerfacecolor="white" if hollow else color)  # fmt: skip


def curves(
    stem: Path,
    frame: pd.DataFrame,
    *,
    xlabel: str,
    ylabel: str,
    mark: float | None = None,
    zero: float | None = None,
) -> list[Path]:
    """Draw lines with interval bands over a number: a color and dash a series.

    Args:
        frame: ``x, value, low, high`` and optionally ``series``; a series without intervals has no band.
        mark: an x to mark with a dotted line: the reference. zero: a value to mark with a line.
    """
    series = list(dict.fromkeys(frame["series"].astype(str))) if "series" in frame else [""]
    columns = 4 if is_wide() else 2
    with styled():
        rows = -(-(len(series) if len(series) > 1 else 0) // columns)
        figure = make(2.0 + LINE * rows)
        ax = figure.subplots()
        for k, one in enumerate(series):
            part = frame[frame["series"].astype(str) == one] if "series" in frame else frame
            _line(ax, part.sort_values("x", kind="stable"), k, one or None)
        if mark is not None:
            ax.axvline(mark, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
        if zero is not None:
            ax.axhline(zero, color=DARK_GRAY, linewidth=0.8)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(textwrap.fill(ylabel, 30))
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=min(columns, len(series)))
        return save(figure, stem)


def _line(ax: Any, part: pd.DataFrame, k: int, label: str | None) -> None:
    x, value, low, high = (part[key].to_numpy(float) for key in ("x", "value", "low", "high"))
    color, dash = SERIES[k % len(SERIES)], DASHES[k % len(DASHES)]
    ax.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0)
    ax.plot(
        x,
        value,
        linestyle=dash,
        marker="" if len(x) > 25 else MARKERS[k % len(MARKERS)],
        color=color,
        label=label,
    )
    for edge in (low, high):  # in gray, the edges tell overlapping bands apart
        ax.plot(x, edge, color=color, linewidth=0.4, linestyle=dash)


def forest(
    stem: Path, rows: pd.DataFrame, names: Sequence[str], *, xlabel: str, hollow: Sequence[str] = ()
) -> list[Path]:
    """Draw a panel a data set and a row a method.

    Args:
        rows: ``set, name, value, low, high``.
        names: of the rows, from the top. hollow: those with hollow marks, such as controls.
    """
    sets = list(dict.fromkeys(rows["set"]))
    across = min(4 if is_wide() else 1, len(sets))
    down = -(-len(sets) // across)
    names = list(names)[:MOST_ROWS]
    place = {name: -k for k, name in enumerate(names)}
    most = 34 if is_wide() else 24
    labels = ["\n".join(textwrap.wrap(shorten(name, 2 * most), most)) for name in names]
    tall = LINE * sum(label.count("\n") for label in labels)
    with styled():
        figure = make(min(9.0, down * (0.5 + 0.17 * len(names) + tall) + 0.3))
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for ax, one in zip(grid, sets, strict=False):
            part = rows[rows["set"] == one]
            control = part["name"].isin(list(hollow))
            _intervals(ax, part[~control], place, 0.0, 0, None)
            _intervals(ax, part[control], place, 0.0, 1, None, hollow=True)
            ax.axvline(0, color=DARK_GRAY, linewidth=0.8)
            ax.set_title(shorten(one, 28), loc="left")
            _name_rows(ax, place, labels)
        for k, ax in enumerate(grid):
            if k >= len(sets):
                ax.set_axis_off()
            ax.tick_params(labelbottom=k + across >= len(sets))
        figure.supxlabel(xlabel)
        return save(figure, stem)
