"""The exhibits of comparisons: paired differences between methods, as a matrix of colors and as a table."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from magiqa.report.captions import unit
from magiqa.report.exhibit import Exhibit
from magiqa.report.frames import frame_table
from magiqa.report.heat_maps import heat_map
from magiqa.report.material import Material
from magiqa.report.methods import Record, method_names
from magiqa.report.table import Cell, Table, interval, signed
from magiqa.report.words import backbone_name, own_weights, set_words, statistic
from magiqa.runs.names import CONTROLS, CUES
from magiqa.runs.read import Sheet
from magiqa.stats.family import SIGNIFICANCE


def compared_names(material: Material, record: Record) -> dict[str, str]:
    """Return the names of compared methods by their keys in the table, as the other exhibits name them."""
    every = [(r.name, r.record, s) for r in material.runs for s in (*CUES, *CONTROLS)]
    own = []
    for m in record.get("methods") or ():
        run = next((r.name for r in material.runs if _same(r.record, m)), str(m["name"]))
        score = str(m.get("score") or "")
        known = score in (*CUES, *CONTROLS)
        own.append(
            (run, dict(m) if known else {"external": {"method": str(m["name"])}}, score if known else "q")
        )
    names = method_names([*every, *own], material.asked.names)[len(every) :]
    bones = {backbone_name(m["backbone"]) for _, m, s in own if s in CUES and m.get("backbone")}
    keys = [str(m["name"]) for m in record.get("methods") or ()]
    if len(bones) > 1:
        names = [f"{n}, {backbone_name(m['backbone'])}" if m.get("backbone") and s in CUES else n
                 for n, (_, m, s) in zip(names, own, strict=True)]  # fmt: skip
    return {k: n if names.count(n) == 1 else f"{n} [{k}]" for k, n in zip(keys, names, strict=True)}


def _same(record: Record, method: Record) -> bool:
    """Return whether a run's record is that of a compared method."""
    weights = [(r.get("backbone") or {}).get("weights_sha256") for r in (record, method)]
    return weights[0] == weights[1] and all(record.get(k) == method.get(k) for k in ("choices", "changed"))


def matrix(
    table: pd.DataFrame, one: str, names: dict[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return differences (row minus column) of a statistic, their text with a star where p < 0.05, their intervals.

    Rows are numbered, and columns go by these numbers.
    """
    part = table[table["statistic"] == one]
    keys = list(dict.fromkeys([*part["a"], *part["b"]]))
    rows = [f"{k + 1}  {names.get(key, key)}" for k, key in enumerate(keys)]
    values = pd.DataFrame(np.nan, index=rows, columns=[str(k + 1) for k in range(len(keys))])
    words, bands = (
        values.astype(object).where(values.notna(), ""),
        values.astype(object).where(values.notna(), ""),
    )
    for r in part.to_dict("records"):
        star = "*" if r["p_adjusted"] < SIGNIFICANCE else "" if np.isfinite(r["p_adjusted"]) else "‡"
        for sign, a, b in ((1, r["a"], r["b"]), (-1, r["b"], r["a"])):
            i, j = keys.index(a), keys.index(b)
            low, high = sorted((sign * r["ci_simultaneous_low"], sign * r["ci_simultaneous_high"]))
            values.iloc[i, j] = sign * r["diff"]
            words.iloc[i, j] = signed(sign * r["diff"], "+.3f") + star
            bands.iloc[i, j] = interval(low, high, "+.3f")
    return values, words, bands


def comparisons(material: Material) -> Iterator[Exhibit]:
    """Each comparison: a matrix of SRCC differences as a figure, and a table with the intervals."""
    for sheet in material.sheets:
        if sheet.record.get("command") == "compare":
            yield from comparison(sheet, compared_names(material, sheet.record))


def comparison(sheet: Sheet, names: dict[str, str]) -> Iterator[Exhibit]:
    """The exhibits of one comparison."""
    record = sheet.record
    weights = own_weights([m for m in record.get("methods") or () if m.get("score") in CUES])
    place = f"{set_words(record['dataset'])}." + (f" Weights: {'; '.join(weights)}." if weights else "")
    external = [f"{m['name']}: {m['note']}." for m in record.get("methods") or () if m.get("note")]
    for one in dict.fromkeys(sheet.table["statistic"].astype(str)):
        values, words, bands = matrix(sheet.table, one, names)
        name = sheet.result if one == "srcc" else f"{sheet.result}-{one}"
        star = f"* p < {SIGNIFICANCE:g} (adjusted for all pairs)."
        untested = " ‡ not tested." if words.map(lambda text: text.endswith("‡")).to_numpy().any() else ""
        what = f"{statistic(one)} of the row's method minus the column's on {place}"
        yield Exhibit("matrix" if one == "srcc" else "matrices", name, f"{what} {star}{untested}", of=sheet.result,
                      wide=len(values) > 3, draw=_drawing(values, words, statistic(one)))  # fmt: skip
        if one == "srcc":
            cells = [[Cell(str(a), str(a)), *(_cell(values, words, bands, i, j) for j in range(len(values)))]
                     for i, a in enumerate(values.index)]  # fmt: skip
            caption = f"{what} Brackets: simultaneous 95 % intervals, by {unit(record)}. {star}{untested}"
            heads = [("", "Method"), *(("", str(b)) for b in values.columns)]
            table = Table(f"{sheet.result}-matrix", caption, heads, cells, sheet.table, external)
            yield Exhibit("matrix_table", table.name, caption, table, of=sheet.result)
    named = sheet.table.assign(
        **{side: sheet.table[side].map(lambda k: names.get(k, k)) for side in ("a", "b")}
    )
    whole = frame_table(sheet.name, f"All pairs on {place}", named)
    yield Exhibit("pairs", sheet.name, whole.title, replace(whole, data=sheet.table), of=sheet.result)


def _cell(values: pd.DataFrame, words: pd.DataFrame, bands: pd.DataFrame, i: int, j: int) -> Cell:
    value = float(values.iloc[i, j])
    return Cell(words.iloc[i, j] or "–", value if np.isfinite(value) else None, "", bands.iloc[i, j])


def _drawing(values: pd.DataFrame, words: pd.DataFrame, name: str):  # type: ignore[no-untyped-def]
    return lambda stem: heat_map(stem, values, words=words, zlabel=f"Difference in {name}", symmetric=True)
