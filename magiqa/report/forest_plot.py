"""All methods on all data sets in one figure: small multiples that share their rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from magiqa.report.style import DARK_GRAY, INK, MARKERS, SERIES, Width, make, save, shorten, styled

ACROSS = {"column": 1, "page": 4}  # panels side by side

MOST_METHODS = 60


def forest(
    stem: Path,
    rows: pd.DataFrame,
    *,
    xlabel: str,
    controls: Sequence[str] = (),
    note: str = "",
    width: Width = "page",
) -> list[Path]:
    """A panel a data set, a row a method, from the best in the mean down.

    Args:
        stem: the files' path without suffix.
        rows: `set, name, value, low, high`.
        xlabel: what the numbers are.
        controls: names of rows that know nothing of quality: hollow, at the bottom.
        note: the line over the figure.
        width: printed width.
    """
    sets = list(dict.fromkeys(rows["set"]))
    order = rows.groupby("name")["value"].mean().sort_values(ascending=False, kind="stable").index.tolist()
    names = [n for n in order if n not in controls] + [n for n in order if n in controls]
    if len(names) > MOST_METHODS:
        note = f"{note} · the first {MOST_METHODS} of {len(names)} methods"
        names = names[:MOST_METHODS]
    across = min(ACROSS[width], len(sets))
    across = -(-len(sets) // -(-len(sets) // across))  # as many in each line
    down = -(-len(sets) // across)
    low, high = (
        np.nanmin(rows[["value", "low"]].to_numpy(float)),
        np.nanmax(rows[["value", "high"]].to_numpy(float)),
    )
    pad = 0.06 * (high - low or 1.0)
    with styled():
        figure = make(width, min(9.0, down * (0.6 + 0.17 * len(names)) + 0.45), note)
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        place = {name: -k for k, name in enumerate(names)}
        for ax, one in zip(grid, sets, strict=False):
            part = rows[(rows["set"] == one) & rows["name"].isin(names)]
            for hollow, some in (
                (False, part[~part["name"].isin(controls)]),
                (True, part[part["name"].isin(controls)]),
            ):
                y = np.array([place[name] for name in some["name"]], float)
                color = DARK_GRAY if hollow else SERIES[0]
                ax.hlines(
                    y, some["low"].to_numpy(float), some["high"].to_numpy(float), color=color, linewidth=1.1
                )
                ax.plot(
                    some["value"], y, linestyle="", marker=MARKERS[1 if hollow else 0], color=color,
                    markerfacecolor="white" if hollow else color,
                )  # fmt: skip
            if len(part):
                ax.axvline(
                    float(part.loc[~part["name"].isin(controls), "value"].max()),
                    color=INK,
                    linewidth=0.5,
                    linestyle=(0, (2, 2)),
                )
            ax.axvline(0, color="#6b7280", linewidth=0.8)
            name, _, n = one.partition(", n = ")
            ax.set_title(shorten(name, 28) + (f"\nn = {n}" if n else ""), loc="left")
            ax.grid(axis="y", visible=False)
            ax.tick_params(axis="y", length=0)
        for k, ax in enumerate(grid):
            if k >= len(sets):
                ax.set_axis_off()
            elif k + across >= len(sets):  # the lowest of its column
                ax.tick_params(labelbottom=True)
        most = 40 if width == "page" else 24
        grid[0].set_yticks(list(place.values()), [shorten(name, most) for name in place])
        grid[0].set_ylim(-len(names) + 0.4, 0.6)
        grid[0].set_xlim(low - pad, high + pad)
        figure.supxlabel(xlabel)
        return save(figure, stem)
