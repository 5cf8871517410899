"""The figures of an ablation: what is tested, the paired difference, is drawn under (or beside) the marginal SRCC."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.report.captions import figure_note
from magiqa.report.color_tables import heat_map
from magiqa.report.display_names import parameter, set_name, short_label, variant_name
from magiqa.report.plots import differences, dots, line_band
from magiqa.report.style import Width
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
    """One parameter's curve on several data sets in one panel, the paired differences in the panel below.

    Args:
        stem: the files' path without suffix.
        tables: an ablation's table and record on each set, all of the same numeric parameter.
        width: printed width.
    """
    varied = str(tables[0][1]["ablation"]["parameter"])
    above, below, words = [], [], ""
    for table, record in tables:
        data = record["dataset"]
        series = f"{set_name(data)}, n = {data['n']:,}"
        one = pd.DataFrame({"x": table[varied].astype(float), "value": table["srcc"], "series": series})
        above.append(one.assign(low=table.get("srcc_low"), high=table.get("srcc_high")))
        found, words = differences(table, table["variant"].astype(str))
        if found is not None:
            below.append(found.assign(x=table[varied].astype(float), series=series))
    about = tables[0][1]["ablation"]
    marks = {float(t.loc[t["variant"].astype(str) == about["reference"], varied].iloc[0]) for t, _ in tables}
    labels = sorted({str(r["backbone"]["label"]) for _, r in tables if r.get("backbone", {}).get("label")})
    return line_band(
        stem,
        pd.concat(above, ignore_index=True),
        xlabel=parameter(varied),
        ylabel="SRCC, 95 % interval",
        note="; ".join(labels),
        mark=marks.pop() if len(marks) == 1 else None,
        below=pd.concat(below, ignore_index=True) if below else None,
        below_label=words,
        width=width,
    )


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
