"""The tables of a report: methods by data sets, published values beside measured ones, groups, and any CSV.

The same folders give the same bytes: nothing of this machine or of the day goes into a table.
"""

import numpy as np
import pandas as pd

from magiqa.report.captions import caption
from magiqa.report.display_names import SCORES, VALUES, set_name
from magiqa.report.display_names import column as display_column
from magiqa.report.table import NONE, Cell, Table, interval, number, p_cell
from magiqa.runs.names import CUES
from magiqa.runs.read import Run


def groups_table(run: Run) -> Table | None:
    """SRCC of each score by group; None where there are no groups."""
    if run.groups is None or not len(run.groups):
        return None
    rows = run.groups[(run.groups["statistic"] == "srcc") & run.groups["score"].isin(CUES)]
    by = {(r.group, r.score): r for r in rows.itertuples(index=False)}
    cells = []
    for group in sorted(dict.fromkeys(rows["group"])):
        n = max(int(by[key].n) for key in ((group, s) for s in CUES) if key in by)
        row = [Cell(str(group), str(group)), Cell(f"{n:,}", n)]
        for score in CUES:
            found = by.get((group, score))
            row.append(
                Cell(NONE) if found is None else number(found.value, found.ci_low, found.ci_high, form=".3f")
            )
        cells.append(row)
    columns = [("", "group"), ("", "n"), *(("SRCC", SCORES[score]) for score in CUES)]
    title = f"SRCC by group: {set_name(run.record['dataset'])}"
    words = caption(run.record) + "."
    return Table(
        f"groups_{run.name}", title, columns, cells, run.groups, ["95 % bootstrap intervals."], shared=words
    )


_TESTED = ("p", "p_adjusted", "p_within", "p_within_adjusted")


def frame_table(name: str, title: str, frame: pd.DataFrame, *, reference: str | None = None) -> Table:
    """Any CSV as a table: `x, x_low, x_high` become one cell, columns that never change move into a note.

    A p at its floor, which the column `p_floor` holds, is printed with "<=".
    Of variants, the best of a column `srcc` is bold, the second underlined; the row of `reference` is marked.
    """
    frame = frame.reset_index(drop=True)
    sides = {
        f"{c}_{side}" for c in frame for side in ("low", "high") if {f"{c}_low", f"{c}_high"} <= set(frame)
    }
    sides |= {"ci_low", "ci_high"} if "value" in frame else set()
    alone = {f"{c[:-4]}_low": c[:-4] for c in frame if str(c).endswith("_low") and c not in sides}
    alone = {low: one for low, one in alone.items() if f"{one}_high" in frame}
    sides |= {f"{one}_high" for one in alone.values()}
    same, notes, shown = [], [], []
    for column in (c for c in frame if c not in sides and c != "p_floor"):
        values = set(frame[column].astype(str))
        if len(frame) > 1 and len(values) == 1 and column not in ("variant", "srcc"):
            text = _texts(frame[column].head(1))[0]
            same += [f"{display_column(str(column))} {_shown(column, text)}"] if text else []
        else:
            shown.append(str(column))
    if same:
        notes.append(f"In every row: {'; '.join(same)}.")
    ranks: dict[int, str] = {}
    if "srcc" in frame and "variant" in frame:
        competing = ~frame["variant"].astype(str).str.contains("(control)", regex=False)
        values = frame["srcc"].where(competing).round(12)
        order = values.rank(ascending=False, method="min")
        if values.max() > values.min():
            ranks = {i: "best" if r == 1 else "second" for i, r in enumerate(order) if r in (1, 2)}
    if "srcc" in frame and "variant" in frame and len(frame) > 2:
        notes.append(
            "Bold: highest SRCC; underlined: second. Picking the best of a grid on its own data is optimistic."
        )
    columns = []
    for column in shown:
        if column in alone:  # an interval of no column: one of its own
            ends = zip(frame[column], frame[f"{alone[column]}_high"], strict=True)
            columns.append([Cell(interval(low, high) or NONE, float(low)) for low, high in ends])
            continue
        lows, highs = (
            frame.get(f"{column}_{side}", frame.get(f"ci_{side}") if column == "value" else None)
            for side in ("low", "high")
        )
        texts = _texts(frame[column], 3 if lows is not None else None)
        if column in _TESTED and "p_floor" in frame:
            floors = zip(frame[column], frame["p_floor"], strict=True)
            texts = ["" if pd.isna(p) else p_cell(p, floor).text for p, floor in floors]
        line = []
        for i, (value, text) in enumerate(zip(frame[column], texts, strict=True)):
            text = _shown(column, text)
            if column == "variant" and str(value) == reference:
                text += " (reference)"
            detail = interval(lows[i], highs[i]) if lows is not None and highs is not None else ""
            sort = None if not text else float(value) if _is_number(value) else str(value)
            line.append(Cell(text or NONE, sort, ranks.get(i, "") if column == "srcc" else "", detail))
        columns.append(line)
    if any(cell.text.startswith("<=") for column in columns for cell in column):
        notes.append("<=: these resamples can give no smaller p.")
    cells = [list(row) for row in zip(*columns, strict=True)]
    return Table(
        name,
        title,
        [("", _head(alone.get(column, column), frame)) for column in shown],
        cells,
        frame,
        notes,
    )


def _head(column: str, frame: pd.DataFrame) -> str:
    """A column's heading; a difference is one in SRCC where no column says of what."""
    return "difference" if column == "diff" and "statistic" in frame else display_column(column)


def _shown(column: object, text: str) -> str:
    """A cell's text in a reader's words, where its column holds keys."""
    return VALUES[str(column)](text) if text and str(column) in VALUES else text


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and not pd.isna(value)


def _texts(values: pd.Series, decimals: int | None = None) -> list[str]:
    """Values as text; floats all with the same decimals: as given, else as many as they need, at most four."""
    if not pd.api.types.is_float_dtype(values):
        return ["" if pd.isna(value) else str(value) for value in values]
    some = values[np.isfinite(values)]
    if decimals is None:
        decimals = next((d for d in range(4) if np.allclose(some, some.round(d), rtol=0, atol=1e-9)), 4)
    tiny = len(some) and 0 < float(some.abs().max()) < 1e-3 and decimals == 4
    form = ".3e" if tiny else f".{decimals}f"
    return ["" if pd.isna(value) else format(value, form) for value in values]
