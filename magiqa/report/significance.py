"""Methods against methods on one data set: the paired differences as a matrix, figure and table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.report.captions import caption, figure_note, method_words
from magiqa.report.color_tables import heat_map
from magiqa.report.display_names import backbone_name, set_name, statistic
from magiqa.report.method_names import methods
from magiqa.report.style import Width
from magiqa.report.table import Cell, Table
from magiqa.runs.names import CONTROLS, CUES

DIFFERENT = 0.05


def matrices(
    table: pd.DataFrame, one: str, record: Mapping[str, Any] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Differences (row less column) of a statistic, and what stands in the cells: effect, interval, a star.

    Rows are numbered, columns go by these numbers: names of methods are long.

    Args:
        table: of `magiqa compare`. one: a statistic. record: its record, which says what the methods are.
    """
    part = table[table["statistic"] == one]
    keys = list(dict.fromkeys([*part["a"], *part["b"]]))
    name_of = method_names(record) if record else {}
    rows = {key: f"{k + 1}  {name_of.get(key, key)}" for k, key in enumerate(keys)}
    columns = {key: str(k + 1) for k, key in enumerate(keys)}
    values = pd.DataFrame(np.nan, index=list(rows.values()), columns=list(columns.values()))
    words = pd.DataFrame("", index=values.index, columns=values.columns)
    low, high = "ci_simultaneous_low", "ci_simultaneous_high"
    for r in part.to_dict("records"):
        star = "*" if r["p_adjusted"] < DIFFERENT else "" if np.isfinite(r["p_adjusted"]) else "‡"
        for sign, a, b in ((1, r["a"], r["b"]), (-1, r["b"], r["a"])):
            ends = sorted((sign * r[low], sign * r[high]))
            values.loc[rows[a], columns[b]] = sign * r["diff"]
            band = f"\n[{ends[0]:+.3f}, {ends[1]:+.3f}]" if np.isfinite(ends).all() else ""
            shown = f"{sign * r['diff']:+.3f}" if r["diff"] else "0.000"
            words.loc[rows[a], columns[b]] = f"{shown}{star}{band}"
    return values, words


def method_names(record: Mapping[str, Any]) -> dict[str, str]:
    """Names of compared methods as a paper has them, by their keys in the table; unique."""
    entries = [
        (m, "" if m["score"] in CONTROLS else str(m["score"]))
        for m in record.get("methods") or ()
        if m.get("score") in (*CUES, *CONTROLS)  # what else a stranger's record says goes by its own name
    ]
    names = {str(m["name"]): str(m["name"]) for m in record.get("methods") or ()}
    own = [(str(m["name"]), {**m, "dataset": record["dataset"]}, str(m["score"])) for m, _ in entries]
    shown, _ = methods(own)
    bones = {backbone_name(m["backbone"]) for m, score in entries if score and m.get("backbone")}
    for (m, score), name in zip(entries, shown, strict=True):
        several = len(bones) > 1 and score and m.get("backbone")
        names[str(m["name"])] = f"{name}, {backbone_name(m['backbone'])}" if several else name
    twice = [name for name in names.values() if list(names.values()).count(name) > 1]
    return {key: f"{name} [{key}]" if name in twice else name for key, name in names.items()}


def named_pairs(table: pd.DataFrame, record: Mapping[str, Any]) -> pd.DataFrame:
    """A table of pairs with the names that a paper has."""
    name_of = method_names(record)
    return table.assign(**{side: table[side].map(lambda key: name_of.get(key, key)) for side in ("a", "b")})


def protocols(record: Mapping[str, Any]) -> str:
    """What the compared methods were made with, once or by their numbers, and how other programs' were matched."""
    some = list(record.get("methods") or ())
    words: dict[str, list[str]] = {}
    notes = []
    for k, m in enumerate(some):
        if m.get("score") in CUES and (text := method_words(m)):
            words.setdefault(text, []).append(str(k + 1))
        notes += [f"{k + 1}: {m['note']}."] if m.get("note") else []
    said = [f"{text}." if len(words) == 1 else f"{', '.join(at)}: {text}." for text, at in words.items()]
    return " ".join([*said, *notes])


def significance_figure(
    stem: Path, table: pd.DataFrame, record: Mapping[str, Any], one: str = "srcc", *, width: Width = "page"
) -> list[Path]:
    """The matrix as colors."""
    values, words = matrices(table, one, record)
    return heat_map(
        stem,
        values,
        words=words,
        zlabel=f"difference in {statistic(one)},\nrow less column",
        note=figure_note(record),
        symmetric=True,
        width=width,
    )


def significance_table(name: str, table: pd.DataFrame, record: Mapping[str, Any], one: str = "srcc") -> Table:
    """The matrix as a table."""
    values, words = matrices(table, one, record)
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
    shared = f"{caption(record)}. {protocols(record)}".strip()
    return Table(name, title, columns, cells, table[table["statistic"] == one], notes, shared=shared)
