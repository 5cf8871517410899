"""The figures of an ablation: what is tested, the paired difference, is drawn under (or beside) the marginal SRCC."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.report.captions import figure_note
from magiqa.report.color_tables import heat_map
from magiqa.report.display_names import parameter, set_name, short_label, variant_name
from magiqa.report.plots import differences, dots, line, line_band
from magiqa.report.style import DARK_GRAY, INK, Width, make, save, shorten, styled
from magiqa.report.titles import ablation_title

# Columns of an ablation table that hold results; any other column is a parameter.
_RESULTS = (
    *("srcc", "plcc", "krcc", "rmse", "diff", "p", "ci", "within", "n", "variant", "score", "optimism"),
    *("withheld", "seconds", "weights"),
)

_SERIES = (("srcc", "pooled"), ("srcc_within", "mean within groups"))


def ablation_figure(
    stem: Path, table: pd.DataFrame, record: Mapping[str, Any], *, width: Width = "page"
) -> list[Path]:
    """An ablation's SRCC: a line with its band where one number varies over five values or more, else dots.

    Args:
        stem: the files' path without suffix.
        table: a row a variant: `variant, srcc, srcc_low, srcc_high`, parameters as columns.
        record: the ablation's record: `dataset`, `backbone`, and `ablation` = `{name, reference, parameter}`.
        width: printed width.
    """
    about = record.get("ablation") or {}
    about = about if isinstance(about, Mapping) else {"name": str(about)}
    reference = None if about.get("reference") is None else variant_name(str(about["reference"]))
    names = table["variant"].astype(str).map(variant_name)
    parts = []
    for statistic, series in _SERIES:
        if statistic in table and table[statistic].notna().any():
            part = pd.DataFrame({"name": names, "value": table[statistic], "series": series})
            for side in ("low", "high"):
                part[side] = table.get(f"{statistic}_{side}", np.nan)
            parts.append(part)
    rows = pd.concat(parts, ignore_index=True)
    below, words = differences(table, names)
    varied = about.get("parameter") or _grid_parameter(table)
    xlabel = f"SRCC with {short_label(str(record.get('dataset', {}).get('label', 'mos')))}, 95 % interval"
    shared: dict[str, Any] = {
        # in a column there is no room for it, and the caption begins with it
        "title": ablation_title(about) if width == "page" else "",
        "note": figure_note(record),
    }
    if varied is None:
        return dots(
            stem,
            rows,
            xlabel=xlabel,
            reference=reference,
            zero=None,
            beside=below,
            beside_label=words,
            width=width,
            **shared,
        )
    place = dict(zip(names, table[varied].astype(float), strict=True))
    rows["x"] = rows["name"].map(place)
    mark = place.get(str(reference)) if reference is not None else None
    return line_band(
        stem,
        rows,
        xlabel=parameter(varied),
        ylabel=xlabel,
        mark=mark,
        mark_name=f"reference: {mark:g}" if mark is not None else "",
        below=None if below is None else below.assign(x=below["name"].map(place)),
        below_label=words,
        width=width,
        **shared,
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


def curves_of_sets(
    stem: Path, tables: Sequence[tuple[pd.DataFrame, Mapping[str, Any]]], *, width: Width = "column"
) -> list[Path]:
    """One parameter's curves on several data sets in one panel; below, a panel a set, the paired differences.

    Args:
        stem: the files' path without suffix.
        tables: an ablation's table and record on each set, all of the same numeric parameter.
        width: printed width.
    """
    about = tables[0][1]["ablation"]
    varied = str(about["parameter"])
    marks = {float(t.loc[t["variant"].astype(str) == about["reference"], varied].iloc[0]) for t, _ in tables}
    mark = marks.pop() if len(marks) == 1 else None
    labels = sorted({str(r["backbone"]["label"]) for _, r in tables if r.get("backbone", {}).get("label")})
    across = min(len(tables), 2 if width == "column" else 3)
    rows = -(-len(tables) // across)
    with styled():
        figure = make(width, 1.9 + 1.0 * rows + 0.14 * -(-len(tables) // across), "; ".join(labels))
        grid = figure.add_gridspec(rows + 1, across, height_ratios=[1.7, *[0.9] * rows])
        top = figure.add_subplot(grid[0, :])
        panels: list[Any] = []
        for k, (table, record) in enumerate(tables):
            data, x = record["dataset"], table[varied].astype(float)
            curve = pd.DataFrame({"x": x, "value": table["srcc"], "low": np.nan, "high": np.nan})
            line(top, curve, k, f"{set_name(data)}, n = {data['n']:,}")
            share = {"sharex": panels[0], "sharey": panels[0]} if panels else {}
            panels.append(figure.add_subplot(grid[1 + k // across, k % across], **share))
            found, _ = differences(table, table["variant"].astype(str))
            if found is not None:
                line(panels[-1], found.assign(x=x), k, None)
            panels[-1].axhline(0, color=DARK_GRAY, linewidth=0.8)
            panels[-1].set_title(shorten(set_name(data), 30), loc="left")
            panels[-1].tick_params(labelbottom=k + across >= len(tables), labelleft=k % across == 0)
        for panel in [top, *panels] if mark is not None else []:
            name = "reference" if panel is top else None
            panel.axvline(mark, color=INK, linewidth=0.9, linestyle=(0, (1, 1)), label=name)
        top.set_ylabel("SRCC")
        top.tick_params(labelbottom=False)
        top.set_xlim(*panels[0].get_xlim())
        for k in range(max(0, len(panels) - across), len(panels)):
            panels[k].set_xlabel(parameter(varied))
        for k in range(0, len(panels), across):
            panels[k].set_ylabel("difference")
        handles, names = top.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=across)
        return save(figure, stem)


def ablation_figures(
    folder: Path,
    table: pd.DataFrame,
    record: Mapping[str, Any],
    keys: list[str],
    reference: int,
    *,
    width: Width = "page",
) -> list[Path]:
    """A line or dots; of a product of number axes a heat map a pair of axes, the others at the reference.

    Args:
        folder: the figures' folder. keys: what varies. reference: the row that all others are compared with.
    """
    axes = [k for k in keys if pd.api.types.is_numeric_dtype(table[k]) and table[k].nunique() >= 5]
    if len(axes) < 2:
        return ablation_figure(folder / "ablation", table, record, width=width)
    written = []
    at = table.iloc[reference]
    for i, across in enumerate(axes):
        for down in axes[i + 1 :]:
            others = [k for k in keys if k not in (across, down)]
            part = table[(table[others] == at[others]).all(axis=1)] if others else table
            grid = part.pivot_table(index=down, columns=across, values="srcc").sort_index(ascending=False)
            fixed = ", ".join(f"{parameter(k)} = {at[k]:g}" for k in others)
            names = "_".join(k.rpartition(".")[2] for k in (across, down))
            written += heat_map(
                folder / f"ablation_{names}",
                grid,
                xlabel=parameter(across),
                ylabel=parameter(down),
                zlabel=f"SRCC with {short_label(record['dataset']['label'])}",
                reference=(at[down], at[across]),
                best=True,
                note="; ".join(filter(None, (figure_note(record), fixed))),
                width=width,
            )
    return written
