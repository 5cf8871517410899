"""All figures: scatter plots, dots with intervals, lines with bands. The only module that knows matplotlib.

Every function takes a `stem` (a path without suffix), writes `stem.png` and `stem.pdf` and returns both paths.
The same input gives the same bytes: no dates, no user style, no random order. Text is never read as mathematics,
so names may hold `$`.
"""

import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from magiqa.agreement import logistic

__all__ = ["ablation_figure", "caption", "dots", "line_band", "run_figures", "scatter"]

SCORES = ("q_sim", "q_mag", "q")
NAMES = {"q_sim": "similarity cue q_sim", "q_mag": "magnitude cue q_mag", "q": "fused score q"}
# Petroff's ten colours (arXiv:2107.02270): told apart with each common colour vision deficiency.
COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
SERIES = ("#3f90da", "#e76300", "#1d1d1f", "#832db6", "#94a4a2", "#bd1f01")
GREY = "#8a9199"
MOST_ROWS = 60
STYLE = {
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#6b7280",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "pdf.fonttype": 42,
    "pdf.compression": 6,
}


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


def caption(record: Mapping[str, Any]) -> str:
    """What a reader of any number of this run must know: data set, n, subset, direction, the backbone and its label.

    Example:
        >>> caption({"dataset": {"name": "agiqa3k", "n": 299, "every": 10, "label": "mos"},
        ...          "backbone": {"name": "demo", "label": "untrained, seed 0"}})
        'agiqa3k · n = 299 · one row in 10 · backbone demo (untrained, seed 0)'
    """
    data = record.get("dataset", {})
    backbone = record.get("backbone", {})
    parts = [":".join(str(data[key]) for key in ("name", "variant") if data.get(key))]
    if data.get("n") is not None:
        parts.append(f"n = {data['n']:,}")
    if int(data.get("every") or 1) > 1:
        parts.append(f"one row in {data['every']}")
    if data.get("skipped"):
        parts.append(f"{len(data['skipped'])} images skipped")
    if data.get("label") == "ssim":
        parts.append("label ssim: no human opinion")
    if data.get("higher_is_better") is False:
        parts.append(f"{data.get('label', 'label')} negated: higher = better")
    if backbone.get("name") or backbone.get("label"):
        mark = f" ({backbone['label']})" if backbone.get("label") else ""
        parts.append(f"backbone {backbone.get('name', '')}{mark}")
    return " · ".join(part for part in parts if part)


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
    """One panel a column: the column on x, the label on y, coloured by group where there are 2 to 10 of them.

    Args:
        stem: the files' path without suffix.
        frame: holds `columns`, `label` and optionally `group`.
        columns: what the panels show.
        label: the column on y.
        titles: a title by column.
        curves: five logistic parameters by column, or None for no curve.
        remarks: a short remark by column, written into the panel.
        group: the column to colour by.
        note: the line over the figure.
    """
    with _style():
        figure = Figure(figsize=(3.4 * len(columns), 3.9), layout="constrained")
        axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        order = np.random.default_rng(0).permutation(len(frame))  # fixed; so that no group hides the others
        names = sorted(frame[group].astype(str).unique()) if group in frame else []
        coloured = 2 <= len(names) <= len(COLOURS)
        if coloured:
            colour_of = dict(zip(names, COLOURS, strict=False))
            colours = frame[group].astype(str).map(colour_of).to_numpy()[order]
        size = float(np.clip(6000 / max(len(frame), 1), 4, 22))
        y = frame[label].to_numpy(float)[order]
        for ax, column in zip(axes, columns, strict=True):
            x = frame[column].to_numpy(float)[order]
            ax.scatter(
                x,
                y,
                s=size,
                c=colours if coloured else GREY,
                alpha=0.6 if coloured else 0.45,
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
        axes[0].set_ylabel(_label_name(label))
        if coloured:
            marks = [
                Line2D([], [], linestyle="", marker="o", markersize=5, color=colour_of[name])
                for name in names
            ]
            columns_ = min(5, len(names))
            figure.legend(marks, [_short(name) for name in names], loc="outside lower center", ncols=columns_)
        elif len(names) > len(COLOURS):
            note = (
                f"{note} · {len(names)} groups, not coloured"
                if note
                else f"{len(names)} groups, not coloured"
            )
        _note(figure, note)
        return _save(figure, stem)


def dots(
    stem: Path,
    rows: pd.DataFrame,
    *,
    xlabel: str,
    title: str = "",
    note: str = "",
    zero: bool = True,
    reference: str | None = None,
    bold: Sequence[str] = (),
) -> list[Path]:
    """Dots with intervals, a line a name, a colour a series.

    Args:
        stem: the files' path without suffix.
        rows: `name, value, low, high` and optionally `series`; names show in order of their first row.
        xlabel: what the numbers are.
        title: over the axes.
        note: the line over the figure.
        zero: draw a line at zero.
        reference: the name to mark as the reference.
        bold: names to set in bold.
    """
    names = list(dict.fromkeys(rows["name"].astype(str)))
    left_out = max(0, len(names) - MOST_ROWS)
    names = names[:MOST_ROWS]
    series = list(dict.fromkeys(rows["series"].astype(str))) if "series" in rows else [""]
    with _style():
        height = 1.3 + len(names) * (0.2 + 0.09 * len(series))
        figure = Figure(figsize=(6.8, max(2.2, height)), layout="constrained")
        ax = figure.subplots()
        place = {name: -k for k, name in enumerate(names)}
        for k, one in enumerate(series):
            part = rows[rows["series"].astype(str) == one] if "series" in rows else rows
            part = part[part["name"].astype(str).isin(names)]
            shift = (k - (len(series) - 1) / 2) * 0.56 / max(len(series), 1)
            y = np.array([place[str(name)] - shift for name in part["name"]], float)
            x, low, high = (part[key].to_numpy(float) for key in ("value", "low", "high"))
            colour = SERIES[k % len(SERIES)]
            ax.hlines(y, low, high, color=colour, linewidth=1.4, alpha=0.75)
            ax.plot(x, y, "o", color=colour, markersize=4.2, label=NAMES.get(one, one) if one else None)
        if zero:
            ax.axvline(0, color="#6b7280", linewidth=0.9)
        ax.set_yticks([place[name] for name in names], [_short(name, 64) for name in names])
        for tick, name in zip(ax.get_yticklabels(), names, strict=True):
            if name in bold or name == reference:
                tick.set_fontweight("bold")
        if reference in place:
            ax.axhspan(place[reference] - 0.5, place[reference] + 0.5, color="#f3f4f6", zorder=0)
        ax.set_ylim(-len(names) + 0.4, 0.6)
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(xlabel)
        ax.set_title(title, loc="left")
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=min(4, len(series)))
        if left_out:
            note = f"{note} · the first {MOST_ROWS} of {MOST_ROWS + left_out} rows"
        _note(figure, note)
        return _save(figure, stem)


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
) -> list[Path]:
    """Lines with interval bands over a number, a colour a series.

    Args:
        stem: the files' path without suffix.
        frame: `x, value, low, high` and optionally `series`.
        xlabel: what x is.
        ylabel: what the values are.
        title: over the axes.
        note: the line over the figure.
        mark: an x to mark with a line.
        mark_name: how the marked line is called in the legend.
    """
    series = list(dict.fromkeys(frame["series"].astype(str))) if "series" in frame else [""]
    with _style():
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        ax = figure.subplots()
        for k, one in enumerate(series):
            part = frame[frame["series"].astype(str) == one] if "series" in frame else frame
            part = part.sort_values("x", kind="stable")
            x, value, low, high = (part[key].to_numpy(float) for key in ("x", "value", "low", "high"))
            colour = SERIES[k % len(SERIES)]
            ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
            dense = len(x) > 25
            ax.plot(
                x,
                value,
                "-" if dense else "o-",
                color=colour,
                linewidth=1.7,
                markersize=3.6,
                label=one or None,
            )
        if mark is not None:
            ax.axvline(mark, color="#374151", linewidth=1, linestyle=(0, (4, 3)), label=mark_name)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        ax.set_title(title, loc="left")
        if len(series) > 1 or mark is not None:
            handles, labels = ax.get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
        _note(figure, note)
        return _save(figure, stem)


def ablation_figure(stem: Path, table: pd.DataFrame, record: Mapping[str, Any]) -> list[Path]:
    """An ablation's SRCC: a line with its band where one number varies over five values or more, else dots.

    Args:
        stem: the files' path without suffix.
        table: a row a variant: `variant, srcc, srcc_low, srcc_high`, parameters as columns.
        record: the ablation's record: `dataset`, `backbone`, and `ablation` = `{name, reference, parameter}`.
    """
    about = record.get("ablation") or {}
    about = about if isinstance(about, Mapping) else {"name": str(about)}
    reference = about.get("reference")
    label = record.get("dataset", {}).get("label", "mos")
    title = f"Ablation: {about.get('name', 'variants')}"
    statistics = [
        (s, n) for s, n in (("srcc", "pooled"), ("srcc_within", "mean within groups")) if s in table
    ]
    note = caption(record)
    parts = []
    for statistic, series in statistics:
        part = pd.DataFrame(
            {"name": table["variant"].astype(str), "value": table[statistic], "series": series}
        )
        for side in ("low", "high"):
            key = f"{statistic}_{side}"
            part[side] = table.get(key, np.nan)
        parts.append(part)
    rows = pd.concat([part for part in parts if part["value"].notna().any()], ignore_index=True)
    parameter = about.get("parameter") or _grid_parameter(table)
    if parameter is None:
        reference = None if reference is None else str(reference)
        return dots(
            stem,
            rows,
            xlabel=f"SRCC with {label}, 95 % interval",
            title=title,
            note=note,
            reference=reference,
        )
    grid = dict(zip(table["variant"].astype(str), table[parameter].astype(float), strict=True))
    rows["x"] = rows["name"].map(grid)
    mark = grid.get(str(reference)) if reference is not None else None
    name = f"reference: {parameter} = {mark:g}" if mark is not None else ""
    return line_band(
        stem,
        rows,
        xlabel=parameter,
        ylabel=f"SRCC with {label}, 95 % interval",
        title=title,
        note=note,
        mark=mark,
        mark_name=name,
    )


# Columns of an ablation table that hold results; any other column is a parameter.
_RESULTS = (
    "srcc",
    "plcc",
    "krcc",
    "rmse",
    "diff",
    "p",
    "p_holm",
    "n",
    "variant",
    "score",
    "optimism",
    "seconds",
)


def _grid_parameter(table: pd.DataFrame) -> str | None:
    """The one numeric parameter that differs from row to row, if no other does and it has five values or more."""
    varying = [
        column
        for column in table.columns
        if not any(column == one or column.startswith(f"{one}_") for one in _RESULTS)
        and len(set(table[column].astype(str))) > 1
    ]
    if len(varying) != 1 or table[varying[0]].nunique() < 5:
        return None
    return varying[0] if pd.api.types.is_numeric_dtype(table[varying[0]]) else None


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


def _label_name(label: str) -> str:
    """The axis title of a label."""
    return {"mos": "MOS (mos)", "ssim": "SSIM to the pristine photo (ssim)"}.get(label, label)


def _short(name: str, most: int = 42) -> str:
    """A name on one line, at most `most` characters."""
    line = " ".join(str(name).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _note(figure: Figure, note: str) -> None:
    """The line over a figure."""
    if note:
        lines = textwrap.wrap(note, int(figure.get_figwidth() * 15))
        figure.suptitle("\n".join(lines), fontsize=8, color="#4b5563", x=0.01, ha="left")


def _style() -> Any:
    """A context with the module's own style, whatever the user's matplotlibrc says."""
    from matplotlib import style

    return style.context(["default", STYLE])


def _save(figure: Figure, stem: Path) -> list[Path]:
    """Write PNG and PDF without dates or versions."""
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, pdf = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".pdf")
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # a name in a script DejaVu lacks
        figure.savefig(png, metadata={"Software": None})
        figure.savefig(pdf, metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return [png, pdf]
