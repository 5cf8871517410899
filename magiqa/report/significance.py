"""Methods against methods on one data set: the paired differences as a matrix, figure and table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.report.captions import caption, figure_note
from magiqa.report.color_tables import heat_map
from magiqa.report.display_names import set_name, statistic
from magiqa.report.style import Width
from magiqa.report.table import Cell, Table

DIFFERENT = 0.05


def matrices(table: pd.DataFrame, one: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Differences (row less column) of a statistic, and what stands in the cells: effect, interval, a star.

    Args:
        table: of `magiqa compare`. one: a statistic.
    """
    part = table[table["statistic"] == one]
    names = list(dict.fromkeys([*part["a"], *part["b"]]))
    part, names = _short(part, names)
    values = pd.DataFrame(np.nan, index=names, columns=names)
    words = pd.DataFrame("", index=names, columns=names)
    low, high = "ci_simultaneous_low", "ci_simultaneous_high"
    for r in part.to_dict("records"):
        star = "*" if r["p_adjusted"] < DIFFERENT else "" if np.isfinite(r["p_adjusted"]) else "‡"
        for sign, a, b in ((1, r["a"], r["b"]), (-1, r["b"], r["a"])):
            ends = sorted((sign * r[low], sign * r[high]))
            values.loc[a, b] = sign * r["diff"]
            band = f"\n[{ends[0]:+.3f}, {ends[1]:+.3f}]" if np.isfinite(ends).all() else ""
            words.loc[a, b] = f"{sign * r['diff']:+.3f}{star}{band}"
    return values, words


def _short(part: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Without the label of the weights that all names carry: the caption has it."""
    ends = {name[name.rfind(" (") :] if name.endswith(")") else "" for name in names}
    if len(ends) > 1 or "" in ends:
        return part, names
    end = ends.pop()
    return part.assign(**{c: part[c].str.removesuffix(end) for c in ("a", "b")}), [
        name.removesuffix(end) for name in names
    ]


def significance_figure(
    stem: Path, table: pd.DataFrame, record: Mapping[str, Any], one: str = "srcc", *, width: Width = "page"
) -> list[Path]:
    """The matrix as colors."""
    values, words = matrices(table, one)
    return heat_map(
        stem,
        values,
        words=words,
        zlabel=f"{statistic(one)}, row less column",
        note=figure_note(record),
        symmetric=True,
        width=width,
    )


def significance_table(name: str, table: pd.DataFrame, record: Mapping[str, Any], one: str = "srcc") -> Table:
    """The matrix as a table."""
    values, words = matrices(table, one)
    cells = []
    for a in values.index:
        row = [Cell(str(a), str(a))]
        for b in values.columns:
            text, _, band = str(words.loc[a, b]).partition("\n")
            value = values.loc[a, b]
            row.append(Cell(text or "–", float(value) if np.isfinite(value) else None, "", band))
        cells.append(row)
    notes = [
        f"Row less column, paired bootstrap on the same images; 95 % intervals of all pairs at once. "
        f"* p < {DIFFERENT:g}, adjusted for all pairs."
    ]
    if any(c.text.endswith("‡") for row in cells for c in row):
        notes.append("‡ Not tested.")
    title = f"Differences in {statistic(one)} between methods: {set_name(record['dataset'])}"
    columns = [("", ""), *(("", str(b)) for b in values.columns)]
    return Table(
        name, title, columns, cells, table[table["statistic"] == one], notes, shared=caption(record) + "."
    )
