"""Figures of a probe: how each score moves with a distortion's level, and how monotonically."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.report.plots import dots
from magiqa.report.style import DASHES, MARKERS, NAMES, SERIES, Width, make, save, styled

DRAWN = ("q_sim", "q_mag", "q", "laplacian")

ACROSS = {"column": 2, "page": 4}  # panels side by side


def probe_figures(
    folder: Path, table: pd.DataFrame, curves: pd.DataFrame, record: Mapping[str, Any], width: Width = "page"
) -> list[Path]:
    """``curves`` and ``srcc``, PNG and PDF each."""
    bone = record["backbone"]
    label = f" ({bone['label']})" if bone["label"] else ""
    note = f"{len(record['images'])} images · {record['method']} · backbone {bone['name']}{label}"
    shown = table[table["score"].isin(DRAWN[:3])]
    rows = shown.rename(
        columns={"type": "name", "srcc": "value", "ci_low": "low", "ci_high": "high", "score": "series"}
    )
    rows = rows.assign(name=[n.replace("_", " ") for n in rows["name"]])
    rows = rows.sort_values("series", key=lambda s: s.map(list(DRAWN).index), kind="stable")
    return [
        *_curves(folder / "curves", curves, note, width),
        *dots(
            folder / "srcc",
            rows,
            xlabel="SRCC of score and level within an image, median (-1 = falls)",
            note=note,
            width=width,
        ),
    ]


def _curves(stem: Path, curves: pd.DataFrame, note: str, width: Width) -> list[Path]:
    """A panel a type: medians over images, with their quartiles."""
    kinds = list(dict.fromkeys(curves["type"]))
    across = min(ACROSS[width], len(kinds))
    down = -(-len(kinds) // across)
    with styled():
        figure = make(width, 1.35 * down + 0.75, note)
        axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for ax in axes.ravel()[len(kinds) :]:
            ax.set_axis_off()
        for ax, kind in zip(axes.ravel(), kinds, strict=False):
            ax.axhline(0, color="#6b7280", linewidth=0.8)
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
                    label="Laplacian variance (control)" if control else NAMES[name],
                )
            ax.set_title(kind.replace("_", " "), loc="left")
            ax.set_xticks(sorted(set(curves["level"])))
        drawn = curves[curves["score"].isin(DRAWN[:3])]
        low, high = float(np.nanmin(drawn["q25"])), float(np.nanmax(drawn["q75"]))
        margin = 0.05 * (high - low) or 1.0
        axes[0, 0].set_ylim(low - margin, high + margin)  # the control may leave the panel
        for k in range(across):  # the lowest panel of each column
            axes[(len(kinds) - 1 - k) // across, k].set_xlabel("level")
            axes[(len(kinds) - 1 - k) // across, k].tick_params(labelbottom=True)
        figure.supylabel("change from level 0, in standard deviations among photos")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4 if width == "page" else 2)
        return save(figure, stem)
