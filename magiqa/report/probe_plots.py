"""Figures of a probe: how each score moves with a distortion's level, and how monotonically."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.report.plots import dots
from magiqa.report.style import DARK_GRAY, DASHES, MARKERS, SERIES, is_wide, make, save, styled
from magiqa.report.words import AXES, SCORES, backbone_name

DRAWN = ("q_sim", "q_mag", "q", "laplacian")


def probe_figures(folder: Path, table: pd.DataFrame, curves: pd.DataFrame) -> list[Path]:
    """Draw ``curves`` and ``srcc``, PNG and PDF each."""
    rows = table[table["score"].isin(DRAWN[:3])]
    rows = rows.sort_values("score", key=lambda s: s.map(list(DRAWN).index), kind="stable")
    rows = pd.DataFrame({
        "name": rows["type"].str.replace("_", " "), "value": rows["srcc"],
        "low": rows["ci_low"], "high": rows["ci_high"], "series": rows["score"].map(AXES),
    })  # fmt: skip
    label = "Median SRCC of score and level within a photo (-1 = always falls)"
    return [*_curves(folder / "curves", curves), *dots(folder / "srcc", rows, xlabel=label)]


def captions(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the caption of each figure."""
    place = (
        f"{len(record['images'])} photos, {record['method']}. Backbone: {backbone_name(record['backbone'])}."
    )
    return {
        "curves": f"Median change of each score with the level of a distortion, with quartiles, on {place}",
        "srcc": f"Median SRCC of score and level within a photo on {place} Bars: 95 % intervals.",
    }


def _curves(stem: Path, curves: pd.DataFrame) -> list[Path]:
    """Draw a panel a type: medians over images, with their quartiles."""
    kinds = list(dict.fromkeys(curves["type"]))
    across = min(4 if is_wide() else 2, len(kinds))
    down = -(-len(kinds) // across)
    with styled():
        figure = make(1.35 * down + 0.75)
        axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for ax in axes.ravel()[len(kinds) :]:
            ax.set_axis_off()
        for ax, kind in zip(axes.ravel(), kinds, strict=False):
            ax.axhline(0, color=DARK_GRAY, linewidth=0.8)
            for k, name in enumerate(DRAWN):
                part = curves[(curves["type"] == kind) & (curves["score"] == name)].sort_values("level")
                x, low, middle, high = (part[c].to_numpy(float) for c in ("level", "q25", "median", "q75"))
                control = name == "laplacian"
                ax.fill_between(x, low, high, color=SERIES[k], alpha=0.08 if control else 0.16, linewidth=0)
                ax.plot(
                    x,
                    middle,
                    linestyle=DASHES[k],
                    marker="" if control else MARKERS[k],
                    color=SERIES[k],
                    markersize=2.8,
                    label=AXES.get(name, SCORES[name]),
                )
            ax.set_title(kind.replace("_", " "), loc="left")
            ax.set_xticks(sorted(set(curves["level"])))
        drawn = curves[curves["score"].isin(DRAWN[:3])]
        low, high = float(np.nanmin(drawn["q25"])), float(np.nanmax(drawn["q75"]))
        margin = 0.05 * (high - low) or 1.0
        axes[0, 0].set_ylim(low - margin, high + margin)  # the control may leave the panel
        for k in range(across):  # the lowest panel of each column
            axes[(len(kinds) - 1 - k) // across, k].set_xlabel("Level")
            axes[(len(kinds) - 1 - k) // across, k].tick_params(labelbottom=True)
        figure.supylabel("Change from level 0 (standard deviations among photos)")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4 if is_wide() else 2)
        return save(figure, stem)
