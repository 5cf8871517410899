"""The figures of an ablation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.report.agreement_plots import _RESULTS
from magiqa.report.plots import caption, dots, line_band


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


def ablation_figures(
    folder: Path, table: pd.DataFrame, record: dict[str, Any], keys: list[str], reference: int
) -> None:
    """Into a folder: a line or dots; of a product of number axes, a line an axis through reference and best."""
    from magiqa.report.plots import caption, line_band

    stem = folder / "ablation"
    axes = [k for k in keys if pd.api.types.is_numeric_dtype(table[k]) and table[k].nunique() >= 5]
    if len(axes) < 2:
        ablation_figure(stem, table, record)
        return
    for axis in axes:
        at = table.iloc[reference]
        others = [k for k in keys if k != axis]
        through = table[(table[others] == at[others]).all(axis=1)]
        best = table.groupby(axis, as_index=False)["srcc"].max()
        parts = [
            through.assign(series="others at the reference"),
            best.assign(series="best of all others (optimistic)"),
        ]
        frame = pd.concat([p[[axis, "srcc", "series"]] for p in parts]).rename(
            columns={axis: "x", "srcc": "value"}
        )
        line_band(
            stem.with_name(f"ablation_{axis.replace('.', '_')}"),
            frame.assign(low=np.nan, high=np.nan),
            xlabel=axis,
            ylabel=f"SRCC with {record['dataset']['label']}",
            title=f"Ablation: {record['ablation']['name']}",
            note=caption(record),
            mark=float(at[axis]),
        )
