"""Any CSV of a result as a table in a reader's words."""

from dataclasses import replace

import pandas as pd

from magiqa.report.table import Table
from magiqa.report.table import frame_table as plain_table
from magiqa.report.words import VALUES
from magiqa.report.words import column as heading

_QUIET = ("withheld", "detectable")  # columns of a CSV that a table leaves out


def best_marks(values: pd.Series, competing: pd.Series) -> list[str]:
    """Return the marks of a column: all that print as the highest, and as the second; none where all are alike."""
    rounded = values.where(competing).round(3)
    if rounded.nunique() < 2:
        return [""] * len(values)
    order = rounded.rank(ascending=False, method="min")
    return [{1: "best", 2: "second"}.get(r, "") for r in order]


def frame_table(name: str, title: str, frame: pd.DataFrame, *, reference: str | None = None) -> Table:
    """Return a CSV as a table: ``x, x_low, x_high`` become one cell, columns that never change become a note.

    Of variants, the best of a column ``srcc`` is bold and the second underlined.

    Args:
        reference: the variant to mark as the reference.
    """
    shown = frame.reset_index(drop=True)
    variants = shown.get("variant", pd.Series("", index=shown.index)).astype(str)
    for key in VALUES.keys() & set(shown):
        shown[key] = shown[key].map(
            lambda text, words=VALUES[key]: words(text) if isinstance(text, str) else text
        )
    if reference is not None:
        shown["variant"] += (variants == reference).map({True: " (reference)", False: ""})
    sides = [c for c in shown if str(c).endswith(("_low", "_high")) or shown[c].isna().all() or c in _QUIET]
    keys = [str(c) for c in shown if c not in sides]
    same = [
        k
        for k in keys
        if len(shown) > 1 and len(set(shown[k].astype(str))) == 1 and k not in ("variant", "srcc")
    ]
    columns = {
        k: "difference" if k == "diff" and "statistic" in shown else heading(k) for k in keys if k not in same
    }
    table = plain_table(shown, columns)
    notes = [f"In every row: {'; '.join(f'{heading(k)} {shown[k].iloc[0]}' for k in same)}."] if same else []
    if {"srcc", "variant"} <= set(columns):
        place, marks = (
            list(columns).index("srcc"),
            best_marks(shown["srcc"], ~variants.str.contains("(control)", regex=False)),
        )
        for row, mark in zip(table.rows, marks, strict=True):
            row[place] = replace(row[place], mark=mark)
        if any(marks):
            notes.append(
                "Bold: highest SRCC; underlined: second. The best of a grid is picked on its own data."
            )
    return Table(name, title, table.columns, table.rows, frame, notes)
