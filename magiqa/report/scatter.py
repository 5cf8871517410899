"""MOS against predicted score, an image a point."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from magiqa.report.style import COLORS, GRAY, INK, LINE, MARKERS, is_wide, make, save, shorten, styled
from magiqa.report.words import AXES, group_name, short_label
from magiqa.runs.read import Run
from magiqa.stats.correlation import bins
from magiqa.stats.logistic import logistic
from magiqa.stats.sampling import Sampling

BINS = 10

VECTORS = 5000  # points of a figure up to which they are drawn as vectors; more make a slow file

LEAST_COLORED = 5.0  # area of a point whose color and marker tell its group

LAYERS = 8  # of points, each with some of every group, so that no group hides the others


@dataclass(frozen=True)
class Panel:
    """One score of a run against MOS.

    Args:
        title: over the panel: the data set, the agreement.
    """

    run: Run
    score: str
    title: str = ""

    @property
    def params(self) -> Sequence[float] | None:
        """Return the fitted curve's parameters; None where there is no fit."""
        return (self.run.record["fits"].get(self.score) or {}).get("params")


def scatter(stem: Path, panels: Sequence[Panel]) -> list[Path]:
    """Draw panels side by side, colored by group where all show one run of at most ten groups."""
    across = min(len(panels), 3 if is_wide() else 1)
    down = -(-len(panels) // across)
    names = groups_of(panels)
    color_of = dict(zip(names, zip(COLORS, MARKERS, strict=True), strict=False))
    columns = 3 if is_wide() else 2
    with styled():
        side = 2.1 if across > 1 else 2.4
        figure = make(down * side + LINE * (-(-len(color_of) // columns)))
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for k, (ax, panel) in enumerate(zip(grid, panels, strict=False)):
            _draw(ax, panel, color_of)
            ax.set_xlabel(AXES[panel.score])
            if k % across == 0 or panel.run.label != panels[k - 1].run.label:
                ax.set_ylabel(short_label(panel.run.label))
            ax.set_title("\n".join(shorten(line, 48) for line in panel.title.splitlines()), loc="left")
        for ax in grid[len(panels) :]:
            ax.set_axis_off()
        if color_of:
            marks = [Line2D([], [], linestyle="", marker=m, color=c) for c, m in color_of.values()]
            data = panels[0].run.record["dataset"]
            labels = [shorten(group_name(name, data), 36 if is_wide() else 26) for name in color_of]
            figure.legend(
                marks, labels, loc="outside lower center", ncols=min(columns, len(labels)), handlelength=1
            )
        return save(figure, stem)


def groups_of(panels: Sequence[Panel]) -> list[str]:
    """Return the groups that have colors: at most ten, of one run."""
    frame = panels[0].run.scores
    if len({panel.run.name for panel in panels}) > 1 or "group" not in frame:
        return []
    names = sorted(frame["group"].astype(str).unique())
    return names if 2 <= len(names) <= len(COLORS) else []


def point_size(count: int, least: float = 1.5) -> float:
    """Return the area of a point, smaller where there are many."""
    return float(np.clip(2500 / max(count, 1), least, 10))


def _draw(ax: Any, panel: Panel, color_of: dict[str, tuple[str, str]]) -> None:
    """Draw the points and the fitted curve."""
    frame = panel.run.scores
    x, y = frame[panel.score].to_numpy(float), frame[panel.run.label].to_numpy(float)
    groups = frame["group"].astype(str).to_numpy() if color_of else np.full(len(frame), "")
    order, least = np.random.default_rng(0).permutation(len(frame)), LEAST_COLORED if color_of else 1.5
    for part in np.array_split(order, LAYERS if color_of else 1):
        for group, (color, marker) in (color_of or {"": (GRAY, "o")}).items():
            rows = part[groups[part] == group]
            ax.scatter(x[rows], y[rows], s=point_size(len(x), least), marker=marker, color=color, alpha=0.6,
                       linewidths=0, rasterized=len(x) > VECTORS)  # fmt: skip
    if panel.params is not None:
        line = np.linspace(np.nanmin(x), np.nanmax(x), 200)
        ax.plot(line, logistic(line, panel.params), color=INK, linewidth=1.3)


def binned(x: np.ndarray, y: np.ndarray, sampling: Sampling) -> pd.DataFrame:
    """Return the mean of y in bins of x, with 95 % intervals: ``x`` (the bin's mean), ``value, low, high, n``."""
    rows = []
    for inside in filter(len, bins(x, BINS)):
        ((low, high),) = sampling.mean(y, inside).intervals()
        rows.append(
            {"x": x[inside].mean(), "value": y[inside].mean(), "low": low, "high": high, "n": len(inside)}
        )
    return pd.DataFrame(rows)


def binned_by_magnitude(run: Run) -> pd.DataFrame:
    """Return the mean MOS of a run's images in bins of the magnitude cue."""
    x, y = run.scores["q_mag"].to_numpy(float), run.scores[run.label].to_numpy(float)
    return binned(x, y, Sampling.of(run.scores, run.record["dataset"].get("cluster")))


def magnitude_figure(stem: Path, run: Run) -> list[Path]:
    """Draw MOS against the magnitude cue, with the mean MOS in ten bins of the cue."""
    x, y = run.scores["q_mag"].to_numpy(float), run.scores[run.label].to_numpy(float)
    table = binned_by_magnitude(run)
    with styled():
        figure = make(2.1, wide=False)
        ax = figure.subplots()
        ax.scatter(x, y, s=point_size(len(x)), c=GRAY, alpha=0.35, linewidths=0, rasterized=len(x) > VECTORS)
        off = table[["low", "high"]].sub(table["value"], axis=0).abs().to_numpy().T
        ax.errorbar(table["x"], table["value"], yerr=off, color=INK, marker="o", linewidth=1.2, elinewidth=1.0,
                    capsize=2)  # fmt: skip
        ax.set_xlabel(AXES["q_mag"])
        ax.set_ylabel(short_label(run.label))
        return save(figure, stem)
