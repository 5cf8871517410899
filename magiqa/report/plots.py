"""Dots with intervals and lines with bands, each with the paired difference beside or below it.

Every function takes a `stem` (a path without suffix), writes `stem.png` and `stem.pdf` and returns both paths.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.report.style import (
    DASHES,
    INK,
    LINE,
    MARKERS,
    NAMES,
    SERIES,
    Width,
    make,
    save,
    shorten,
    styled,
)

MOST_ROWS = 60

SIMULTANEOUS = ("ci_simultaneous_low", "ci_simultaneous_high")


def differences(table: pd.DataFrame, names: pd.Series) -> tuple[pd.DataFrame | None, str]:
    """The paired differences of a table of variants, and what their bands are; None where there are none.

    The simultaneous band, whose p is printed, where the table holds it.
    """
    if "diff" not in table or not table["diff"].notna().any():
        return None, ""
    low, high = SIMULTANEOUS if set(SIMULTANEOUS) <= set(table) else ("diff_low", "diff_high")
    words = "simultaneous 95 % band" if low == SIMULTANEOUS[0] else "95 % interval"
    frame = pd.DataFrame(
        {"name": names, "value": table["diff"], "low": table.get(low), "high": table.get(high)}
    )
    return frame, f"difference to the reference, {words}"


def dots(
    stem: Path,
    rows: pd.DataFrame,
    *,
    xlabel: str,
    title: str = "",
    note: str = "",
    zero: float | None = 0.0,
    reference: str | None = None,
    bold: Sequence[str] = (),
    beside: pd.DataFrame | None = None,
    beside_label: str = "",
    width: Width = "page",
) -> list[Path]:
    """Dots with intervals, a line a name, a color and marker a series.

    Args:
        stem: the files' path without suffix.
        rows: `name, value, low, high` and optionally `series`; names show in order of their first row.
        xlabel: what the numbers are.
        title: over the axes.
        note: the line over the figure.
        zero: where to draw the line of no effect; None: nowhere.
        reference: the name to mark as the reference.
        bold: names to set in bold.
        beside: `name, value, low, high` of a second panel: the paired differences, which decide.
        beside_label: what these are.
        width: printed width.
    """
    names = list(dict.fromkeys(rows["name"].astype(str)))
    left_out = max(0, len(names) - MOST_ROWS)
    names = names[:MOST_ROWS]
    series = list(dict.fromkeys(rows["series"].astype(str))) if "series" in rows else [""]
    with styled():
        labels = [_label(name, width) for name in names]
        tall = max((label.count("\n") for label in labels), default=0)
        step = max(0.15 + 0.05 * len(series), LINE * (tall + 1) + 0.03)
        narrow = beside is not None
        most = (14 if width == "column" else 29) if narrow else (34 if width == "column" else 80)
        xlabel, beside_label = _wrapped(xlabel, most), _wrapped(beside_label, most)
        columns = min(4 if width == "page" else 2, len(series))
        legend = 0.19 * -(-len(series) // columns) + 0.05 if len(series) > 1 else 0.0
        below = 0.27 + LINE * (1 + max(xlabel.count("\n"), beside_label.count("\n")))
        if left_out:
            note = f"{note} · the first {MOST_ROWS} of {MOST_ROWS + left_out} rows"
        figure = make(width, 0.2 + 0.17 * bool(title) + len(names) * step + below + legend, note)
        panels = figure.subplots(1, 1 if beside is None else 2, sharey=True, squeeze=False)[0]
        ax = panels[0]
        place = {name: -k for k, name in enumerate(names)}
        for k, one in enumerate(series):
            part = rows[rows["series"].astype(str) == one] if "series" in rows else rows
            shift = (k - (len(series) - 1) / 2) * 0.6 / max(len(series), 1)
            _intervals(ax, part, place, shift, k, NAMES.get(one, one) if one else None)
        if beside is not None:
            _intervals(panels[1], beside, place, 0.0, 2, None)
            panels[1].axvline(0, color="#6b7280", linewidth=0.8)
            panels[1].set_xlabel(beside_label)
            if not (beside[["value", "low", "high"]].abs() > 1e-9).any(
                axis=None
            ):  # variants that never differ
                panels[1].set_xlim(-0.01, 0.01)
        if zero is not None:
            ax.axvline(zero, color="#6b7280", linewidth=0.8)
        ax.set_yticks([place[name] for name in names], labels)
        for tick, name in zip(ax.get_yticklabels(), names, strict=True):
            if name in bold or name == reference:
                tick.set_fontweight("bold")
        for panel in panels:
            if reference in place:
                at = place[str(reference)]
                panel.axhspan(at - 0.5, at + 0.5, color="#f3f4f6", zorder=0)
            panel.grid(axis="y", visible=False)
            panel.tick_params(axis="y", length=0)
            if narrow:
                bins = 2 if width == "column" else 4
                panel.locator_params(axis="x", nbins=bins, steps=[1, 2, 4, 5, 10])
                panel.xaxis.set_major_formatter(lambda x, _: f"{x:.6g}".replace("-", "\u2212"))
        ax.set_ylim(-len(names) + 0.4, 0.6)
        ax.set_xlabel(xlabel)
        ax.set_title(title, loc="left")
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=columns)
        return save(figure, stem)


def _intervals(
    ax: Any, part: pd.DataFrame, place: dict[str, int], shift: float, k: int, label: str | None
) -> None:
    """Dots and their intervals, at the places of their names."""
    part = part[part["name"].astype(str).isin(place)]
    y = np.array([place[str(name)] - shift for name in part["name"]], float)
    x, low, high = (part[key].to_numpy(float) for key in ("value", "low", "high"))
    color = SERIES[k % len(SERIES)]
    ax.hlines(y, low, high, color=color, linewidth=1.1, alpha=0.8)
    ax.plot(x, y, linestyle="", marker=MARKERS[k % len(MARKERS)], color=color, label=label)


def _label(name: str, width: Width) -> str:
    if width == "page":
        return shorten(name, 64)
    return "\n".join(textwrap.wrap(shorten(name, 52), 26))


def _wrapped(text: str, most: int) -> str:
    return "\n".join(textwrap.wrap(text.replace(" %", "\u00a0%"), most))


def line_band(
    stem: Path,
    frame: pd.DataFrame,
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    note: str = "",
    mark: float | None = None,
    mark_name: str = "reference",
    below: pd.DataFrame | None = None,
    below_label: str = "",
    width: Width = "page",
) -> list[Path]:
    """Lines with interval bands over a number, a color and dash a series.

    Args:
        stem: the files' path without suffix.
        frame: `x, value, low, high` and optionally `series`.
        xlabel: what x is.
        ylabel: what the values are.
        title: over the axes.
        note: the line over the figure.
        mark: an x to mark with a line.
        mark_name: how the marked line is called in the legend.
        below: `x, value, low, high`, optionally `series`, of a second panel: the paired differences, which decide.
        below_label: what these are.
        width: printed width.
    """
    with styled():
        figure = make(width, 2.2 if below is None else 3.6, note)
        ratios = [1] if below is None else [3, 2]
        panels = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
        count = _lines(panels[0], frame)
        if below is not None:
            _lines(panels[1], below, labeled=False)
            panels[1].axhline(0, color="#6b7280", linewidth=0.8)
            panels[1].set_ylabel(_wrapped(below_label, 18))
        if mark is not None:
            for k, panel in enumerate(panels):
                name = mark_name if k == 0 else None
                panel.axvline(mark, color="#374151", linewidth=0.9, linestyle=(0, (4, 3)), label=name)
        panels[-1].set_xlabel(xlabel)
        panels[0].set_ylabel(_wrapped(ylabel, 20))
        panels[0].set_title(title, loc="left")
        if count > 1 or mark is not None:
            handles, labels = panels[0].get_legend_handles_labels()
            columns = min(4 if width == "page" else 2, len(labels))
            figure.legend(handles, labels, loc="outside lower center", ncols=columns)
        return save(figure, stem)


def _lines(ax: Any, frame: pd.DataFrame, labeled: bool = True) -> int:
    """A line with its band for each series; how many there are."""
    series = list(dict.fromkeys(frame["series"].astype(str))) if "series" in frame else [""]
    for k, one in enumerate(series):
        part = frame[frame["series"].astype(str) == one] if "series" in frame else frame
        line(ax, part, k, one if labeled and one else None, INK if not labeled and len(series) == 1 else None)
    return len(series)


def line(ax: Any, part: pd.DataFrame, k: int, label: str | None, color: str | None = None) -> None:
    """A line with its band: the k-th of its axes, in color, dash and marker.

    Args:
        part: `x, value, low, high`; no band where these are NaN.
    """
    part = part.sort_values("x", kind="stable")
    x, value, low, high = (part[key].to_numpy(float) for key in ("x", "value", "low", "high"))
    color, dash = color or SERIES[k % len(SERIES)], DASHES[k % len(DASHES)]
    ax.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0)
    marker = "" if len(x) > 25 else MARKERS[k % len(MARKERS)]
    ax.plot(x, value, linestyle=dash, marker=marker, color=color, label=label)
    for edge in (low, high):  # in gray, bands that overlap are told apart by their edges
        ax.plot(x, edge, color=color, linewidth=0.4, linestyle=dash)
