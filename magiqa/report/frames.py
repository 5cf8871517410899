"""Any CSV of a result as a table in a reader's words."""

from typing import Any

import numpy as np
import pandas as pd

from magiqa.report.table import NONE, Cell, Table, interval, p_cell, signed
from magiqa.report.words import VALUES
from magiqa.report.words import column as heading

_TESTED = ("p", "p_adjusted", "p_within", "p_within_adjusted")


def best_marks(values: pd.Series, competing: pd.Series) -> list[str]:
    """Return the marks of a column: all that print as the highest, and as the second; none where all are alike."""
    rounded = values.where(competing).round(3)
    if rounded.nunique() < 2:
        return [""] * len(values)
    order = rounded.rank(ascending=False, method="min")
    return ["best" if r == 1 else "second" if r == 2 else "" for r in order]


def frame_table(name: str, title: str, frame: pd.DataFrame, *, reference: str | None = None) -> Table:
    """Return a CSV as a table: ``x, x_low, x_high`` become one cell, columns that never change become a note.

    Of variants, the best of a column ``srcc`` is bold and the second underlined.

    Args:
        reference: the variant to mark as the reference.
    """
    frame = frame.reset_index(drop=True)
    bounds, alone = _bounds(frame)
    constant, columns, heads = [], [], []
    for key in [str(c) for c in frame if c not in bounds]:
        values = frame[key]
        if len(frame) > 1 and len(set(values.astype(str))) == 1 and key not in ("variant", "srcc"):
            text = _texts(values.head(1))[0]
            constant += [f"{heading(key)} {_word(key, text)}"] if text else []
        elif not values.isna().all():
            heads.append(("", _head(alone.get(key, key), frame)))
            columns.append(_column(frame, key, alone.get(key), reference))
    notes = [f"In every row: {'; '.join(constant)}."] if constant else []
    if any(cell.mark for cells in columns for cell in cells):
        notes.append("Bold: highest SRCC; underlined: second. The best of a grid is picked on its own data.")
    return Table(name, title, heads, [list(row) for row in zip(*columns, strict=True)], frame, notes)


def _bounds(frame: pd.DataFrame) -> tuple[set[str], dict[str, str]]:
    """Return the columns that are bounds of others, and of the rest each lower bound with its interval's name."""
    names = set(map(str, frame))
    bounds = {f"{c}_{side}" for c in names for side in ("low", "high") if {f"{c}_low", f"{c}_high"} <= names}
    bounds |= {"ci_low", "ci_high"} if "value" in names else set()
    stems = [c.removesuffix("_low") for c in names if c.endswith("_low") and c not in bounds]
    alone = {f"{stem}_low": stem for stem in stems if f"{stem}_high" in names}
    return bounds | {f"{stem}_high" for stem in alone.values()}, alone


def _column(frame: pd.DataFrame, key: str, interval_of: str | None, reference: str | None) -> list[Cell]:
    if interval_of:
        ends = zip(frame[key], frame[f"{interval_of}_high"], strict=True)
        return [Cell(interval(low, high) or NONE, float(low)) for low, high in ends]
    if key in _TESTED:
        return [p_cell(p) for p in frame[key]]
    stem = "ci" if key == "value" and "value_low" not in frame else key
    bounds = [(frame.get(f"{stem}_low"), frame.get(f"{stem}_high"))] * len(frame)
    banded = bounds[0][0] is not None if bounds else False
    texts = _texts(frame[key], 3 if banded else None)
    marks = [""] * len(frame)
    if key == "srcc" and "variant" in frame:
        marks = best_marks(frame[key], ~frame["variant"].astype(str).str.contains("(control)", regex=False))
    out = []
    for i, (value, text) in enumerate(zip(frame[key], texts, strict=True)):
        text = _word(key, text) + (" (reference)" if key == "variant" and str(value) == reference else "")
        low, high = (frame[f"{stem}_low"][i], frame[f"{stem}_high"][i]) if banded else (None, None)
        sort = None if not text else float(value) if _is_number(value) else str(value)
        out.append(Cell(text or NONE, sort, marks[i], interval(low, high)))
    return out


def _head(key: str, frame: pd.DataFrame) -> str:
    """Return a column's heading; a difference is one in SRCC where no column says of what."""
    return "difference" if key == "diff" and "statistic" in frame else heading(key)


def _word(key: str, text: str) -> str:
    return VALUES[key](text) if text and key in VALUES else text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and not pd.isna(value)


def _texts(values: pd.Series, decimals: int | None = None) -> list[str]:
    """Return values as text; floats with the decimals that they need, at most four."""
    if not pd.api.types.is_float_dtype(values):
        return ["" if pd.isna(value) else str(value) for value in values]
    finite = values[np.isfinite(values)]
    if decimals is None:
        decimals = next((d for d in range(4) if np.allclose(finite, finite.round(d), rtol=0, atol=1e-9)), 4)
    tiny = len(finite) and 0 < float(finite.abs().max()) < 1e-3 and decimals == 4
    form = ".3e" if tiny else f".{decimals}f"
    return ["" if pd.isna(value) else signed(value, form) for value in values]
