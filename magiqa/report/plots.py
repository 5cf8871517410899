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

from magiqa.runs.names import other_than_published

# Petroff's ten colors (arXiv:2107.02270): told apart with each common color vision deficiency.
COLORS = (
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

GRAY = "#8a9199"

NAMES = {"q_sim": "similarity cue q_sim", "q_mag": "magnitude cue q_mag", "q": "fused score q"}

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

SERIES = ("#3f90da", "#e76300", "#1d1d1f", "#832db6", "#94a4a2", "#bd1f01")

SCORES = ("q_sim", "q_mag", "q")


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
    parts += other_than_published(data.get("notes") or ())
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
    """Dots with intervals, a line a name, a color a series.

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
    with styled():
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
            color = SERIES[k % len(SERIES)]
            ax.hlines(y, low, high, color=color, linewidth=1.4, alpha=0.75)
            ax.plot(x, y, "o", color=color, markersize=4.2, label=NAMES.get(one, one) if one else None)
        if zero:
            ax.axvline(0, color="#6b7280", linewidth=0.9)
        ax.set_yticks([place[name] for name in names], [shorten(name, 64) for name in names])
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
        add_note(figure, note)
        return save(figure, stem)


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
    """Lines with interval bands over a number, a color a series.

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
    with styled():
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        ax = figure.subplots()
        for k, one in enumerate(series):
            part = frame[frame["series"].astype(str) == one] if "series" in frame else frame
            part = part.sort_values("x", kind="stable")
            x, value, low, high = (part[key].to_numpy(float) for key in ("x", "value", "low", "high"))
            color = SERIES[k % len(SERIES)]
            ax.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
            dense = len(x) > 25
            ax.plot(
                x,
                value,
                "-" if dense else "o-",
                color=color,
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
        add_note(figure, note)
        return save(figure, stem)


def label_name(label: str) -> str:
    """The axis title of a label."""
    return {"mos": "MOS (mos)", "ssim": "SSIM to the pristine photo (ssim)"}.get(label, label)


def shorten(name: str, most: int = 42) -> str:
    """A name on one line, at most `most` characters."""
    line = " ".join(str(name).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def add_note(figure: Figure, note: str) -> None:
    """The line over a figure."""
    if note:
        lines = textwrap.wrap(note, int(figure.get_figwidth() * 15))
        figure.suptitle("\n".join(lines), fontsize=8, color="#4b5563", x=0.01, ha="left")


def styled() -> Any:
    """A context with the module's own style, whatever the user's matplotlibrc says."""
    from matplotlib import style

    return style.context(["default", STYLE])


def save(figure: Figure, stem: Path) -> list[Path]:
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
