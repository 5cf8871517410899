"""The figures of a run: scores against labels, magnitudes, groups."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from magiqa.report.plots import (
    COLORS,
    GRAY,
    NAMES,
    SCORES,
    add_note,
    caption,
    dots,
    label_name,
    save,
    shorten,
    styled,
)
from magiqa.stats.logistic import logistic


def run_figures(
    folder: Path,
    scores: pd.DataFrame,
    agreement: pd.DataFrame,
    groups: pd.DataFrame | None,
    record: Mapping[str, Any],
) -> list[Path]:
    """Write a run's figures: cues and score against the label, and SRCC by group where there are groups.

    Args:
        folder: where the files go; made if missing.
        scores: a row an image: the label column, `q_sim`, `q_mag`, `q` and optionally `group`.
        agreement: tidy: `score, statistic, value, ci_low, ci_high, n`.
        groups: the same with a column `group`, or None.
        record: the run's record: `dataset`, `backbone` and `fits` are read.

    Returns:
        The files written.
    """
    folder = Path(folder)
    label = str(record["dataset"]["label"])
    titles, curves, remarks = {}, {}, {}
    for score in SCORES:
        titles[score] = f"{NAMES[score]}\n{_agreement_line(agreement, score)}"
        fit = record.get("fits", {}).get(score) or {}
        curves[score] = fit.get("params")
        if curves[score] is None:
            remarks[score] = f"no fitted curve ({fit.get('status', 'not fitted')})"
    note = caption(record)
    written = scatter(
        folder / "scatter", scores, SCORES, label, titles=titles, curves=curves, remarks=remarks, note=note
    )
    if groups is not None and len(groups):
        rows = groups[(groups["statistic"] == "srcc") & groups["score"].isin(SCORES)]
        order = rows[rows["score"] == "q"].sort_values("value", ascending=False)["group"].tolist()
        rows = (
            rows.set_index("group")
            .loc[order]
            .reset_index()
            .rename(columns={"group": "name", "score": "series"})
        )
        pooled = agreement[
            agreement["statistic"].isin(["srcc", "srcc_within"]) & agreement["score"].isin(SCORES)
        ]
        names = {"srcc": "all images, pooled", "srcc_within": "mean within groups"}
        pooled = pooled.assign(name=pooled["statistic"].map(names)).rename(columns={"score": "series"})
        pooled = pooled.sort_values("statistic", kind="stable")
        rows = pd.concat([pooled, rows], ignore_index=True).rename(
            columns={"ci_low": "low", "ci_high": "high"}
        )
        written += dots(
            folder / "srcc_by_group",
            rows,
            xlabel=f"SRCC with {label}, 95 % interval",
            title="Agreement by group",
            note=note,
            bold=tuple(names.values()),
        )
    return written


def scatter(
    stem: Path,
    frame: pd.DataFrame,
    columns: Sequence[str],
    label: str,
    *,
    titles: Mapping[str, str] | None = None,
    curves: Mapping[str, Sequence[float] | None] | None = None,
    remarks: Mapping[str, str] | None = None,
    group: str = "group",
    note: str = "",
) -> list[Path]:
    """One panel a column: the column on x, the label on y, colored by group where there are 2 to 10 of them.

    Args:
        stem: the files' path without suffix.
        frame: holds `columns`, `label` and optionally `group`.
        columns: what the panels show.
        label: the column on y.
        titles: a title by column.
        curves: five logistic parameters by column, or None for no curve.
        remarks: a short remark by column, written into the panel.
        group: the column to color by.
        note: the line over the figure.
    """
    with styled():
        figure = Figure(figsize=(3.4 * len(columns), 3.9), layout="constrained")
        axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        order = np.random.default_rng(0).permutation(len(frame))  # fixed; so that no group hides the others
        names = sorted(frame[group].astype(str).unique()) if group in frame else []
        colored = 2 <= len(names) <= len(COLORS)
        if colored:
            color_of = dict(zip(names, COLORS, strict=False))
            colors = frame[group].astype(str).map(color_of).to_numpy()[order]
        size = float(np.clip(6000 / max(len(frame), 1), 4, 22))
        y = frame[label].to_numpy(float)[order]
        for ax, column in zip(axes, columns, strict=True):
            x = frame[column].to_numpy(float)[order]
            ax.scatter(
                x,
                y,
                s=size,
                c=colors if colored else GRAY,
                alpha=0.6 if colored else 0.45,
                linewidths=0,
                rasterized=True,
            )
            params = (curves or {}).get(column)
            if params is not None:
                grid = np.linspace(np.nanmin(x), np.nanmax(x), 200)
                ax.plot(grid, logistic(grid, params), color="#111827", linewidth=1.6)
            if column in (remarks or {}):
                ax.text(
                    0.02,
                    0.98,
                    (remarks or {})[column],
                    transform=ax.transAxes,
                    va="top",
                    fontsize=7.5,
                    color="#6b7280",
                )
            ax.set_title((titles or {}).get(column, NAMES.get(column, column)), loc="left")
            ax.set_xlabel(column)
        axes[0].set_ylabel(label_name(label))
        if colored:
            marks = [
                Line2D([], [], linestyle="", marker="o", markersize=5, color=color_of[name]) for name in names
            ]
            columns_ = min(5, len(names))
            figure.legend(
                marks, [shorten(name) for name in names], loc="outside lower center", ncols=columns_
            )
        elif len(names) > len(COLORS):
            note = (
                f"{note} · {len(names)} groups, not colored" if note else f"{len(names)} groups, not colored"
            )
        add_note(figure, note)
        return save(figure, stem)


# Columns of an ablation table that hold results; any other column is a parameter.
_RESULTS = (
    "srcc",
    "plcc",
    "krcc",
    "rmse",
    "diff",
    "p",
    "p_adjusted",
    "n",
    "variant",
    "score",
    "optimism",
    "seconds",
)


def _agreement_line(agreement: pd.DataFrame, score: str) -> str:
    """'SRCC 0.41 [0.38, 0.44] · PLCC ...' from the tidy table."""
    parts = []
    for statistic in ("srcc", "plcc"):
        rows = agreement[(agreement["score"] == score) & (agreement["statistic"] == statistic)]
        value = float(rows["value"].iloc[0]) if len(rows) else np.nan
        if not np.isfinite(value):
            parts.append(f"{statistic.upper()} n/a")
            continue
        low, high = float(rows["ci_low"].iloc[0]), float(rows["ci_high"].iloc[0])
        interval = f" [{low:.3f}, {high:.3f}]" if np.isfinite(low) and np.isfinite(high) else ""
        parts.append(f"{statistic.upper()} {value:.3f}{interval}")
    return "\n".join(parts)
