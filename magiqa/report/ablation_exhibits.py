"""The exhibits of ablations: one table of blocks, curves of a parameter on all sets, a figure and a table of each."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from magiqa.report.captions import study_notes, weights_note, where
from magiqa.report.console import round_steps
from magiqa.report.exhibit import Exhibit
from magiqa.report.frames import best_marks, frame_table
from magiqa.report.heat_maps import heat_map
from magiqa.report.material import Material
from magiqa.report.methods import ablation_title, result_title
from magiqa.report.plots import curves, dots
from magiqa.report.table import NONE, Cell, Table, number
from magiqa.report.words import backbone_name, parameter, set_key, set_name, statistic, variant_name
from magiqa.runs.read import Sheet
from magiqa.stats.family import SIGNIFICANCE

MOST_OF_AXIS = 25  # values of a numeric axis that a table prints


def ablations(sheets: Sequence[Sheet]) -> list[Sheet]:
    """Return the tables of ablations with variants and SRCC."""
    return [
        s for s in sheets if s.ablation and {"variant", "srcc"} <= set(s.table) and s.record.get("ablation")
    ]


def axes_of(sheet: Sheet) -> list[str]:
    """Return the numeric parameters that every variant sets, and that take five values or more."""
    table = sheet.table
    return [str(c) for c in table if ("." in str(c) or c == sheet.record["ablation"].get("parameter"))
            and pd.api.types.is_numeric_dtype(table[c]) and not table[c].hasnans
            and table[c].nunique() >= 5]  # fmt: skip


def thinned(sheet: Sheet) -> tuple[pd.DataFrame, str]:
    """Return the rows to print and the note on what is left out: values between the steps of one numeric axis.

    Categories are never left out. The reference and the best stay.
    """
    table, axes = sheet.table, axes_of(sheet)
    if len(axes) != 1 or len(table) <= MOST_OF_AXIS:
        return table, ""
    rows, step = round_steps(table[axes[0]].astype(float).tolist(), MOST_OF_AXIS)
    kept = np.isin(np.arange(len(table)), rows)
    kept |= (table["variant"] == sheet.record["ablation"]["reference"]).to_numpy()
    kept[int(table["srcc"].to_numpy(float).argmax())] = True
    return table[kept], f"{parameter(axes[0])} in steps of {step:g}; the CSV holds all {len(table)} values."


def at_edge(sheet: Sheet) -> str:
    """Return where the best variant lies at the edge of a range; empty where it does not."""
    best = sheet.table.loc[sheet.table["srcc"].astype(float).idxmax()]
    edges = [a for a in axes_of(sheet) if best[a] in (sheet.table[a].min(), sheet.table[a].max())]
    return " and ".join(f"{parameter(a)} = {best[a]:g}" for a in edges)


def like_similarity(material: Material, sheet: Sheet) -> list[str]:
    """Return the variants whose SRCC is that of the similarity cue alone to three digits."""
    rows, (table, _) = material.rows if material.runs else pd.DataFrame(), thinned(sheet)
    if not len(rows) or str(sheet.record["ablation"].get("score") or "q") != "q":
        return []
    place = material.titles.get(set_key(sheet.record["dataset"])), backbone_name(sheet.record["backbone"])
    cue = rows[(rows["score"] == "q_sim") & (rows["statistic"] == "srcc")]
    alone = cue.loc[(cue["dataset"] == place[0]) & (cue["backbone"] == place[1]), "value"].round(3)
    names = table.loc[table["srcc"].astype(float).round(3).isin(alone), "variant"].astype(str)
    return [variant_name(name) for name in names if not name.startswith("similarity")]


def same_ranking(sheet: Sheet) -> str:
    """Return the variants that are one: their scores have the same correlations with MOS to nine digits."""
    keys = [sheet.table[c].astype(float).round(9) for c in ("srcc", "plcc") if c in sheet.table]
    groups = [", ".join(map(variant_name, part)) for _, part in sheet.table["variant"].astype(str).groupby(keys)
              if len(part) > 1]  # fmt: skip
    return f"The same but for scale: {'; '.join(groups)}." if 0 < len(groups) < 4 else ""


def ablation_tables(material: Material) -> Iterator[Exhibit]:
    """Variants by data sets: a block an ablation, the reference marked, one mark for significance."""
    sheets = [s for s in ablations(material.sheets) if len(axes_of(s)) < 2]
    if not sheets:
        return
    bones = sorted(
        {backbone_name(s.record["backbone"]) for s in sheets if ", " not in s.record["backbone"]["name"]}
    )
    keys = {id(s): set_name(s.record["dataset"]) for s in sheets}
    if len(bones) > 1:
        keys = {id(s): f"{keys[id(s)]}, {backbone_name(s.record['backbone'])}" for s in sheets}
    sets = list(dict.fromkeys(keys.values()))
    blocks: dict[str, dict[str, Sheet]] = {}
    for sheet in sheets:
        blocks.setdefault(ablation_title(sheet.record["ablation"]), {}).setdefault(keys[id(sheet)], sheet)
    shown = [s for s in ("srcc", "plcc_logistic", "plcc") if all(s in sheet.table for sheet in sheets)][:2]
    rows: list[list[Cell]] = []
    titles: dict[int, str] = {}
    for title, of_sets in blocks.items():
        titles[len(rows)] = title
        parts = {key: _block(sheet, shown) for key, sheet in of_sets.items()}
        names = list(dict.fromkeys(name for part in parts.values() for name in part))
        reference = next(iter(of_sets.values())).record["ablation"]["reference"]
        for name, text in zip(names, _short_names(names), strict=True):
            text += " (reference)" if name == reference else ""
            cells = [parts.get(key, {}).get(name, {}).get(s, Cell(NONE)) for key in sets for s in shown]
            rows.append([Cell(text, text), *cells])
    every = [s for of_sets in blocks.values() for s in of_sets.values()]
    edges = "; ".join(dict.fromkeys(filter(None, map(at_edge, every))))
    alike = "; ".join(dict.fromkeys(name for s in every for name in like_similarity(material, s)))
    notes = [f"Best at the edge of the range: {edges}."] if edges else []
    notes += [f"Equal to similarity alone to three digits: {alike}."] if alike else []
    notes += dict.fromkeys(note for s in every for note in (thinned(s)[1], same_ranking(s)) if note)
    heads = [("", "Variant"), *((key if len(sets) > 1 else "", statistic(s)) for key in sets for s in shown)]
    where_ = f"on {sets[0]}" if len(sets) == 1 else f"on {len(sets)} data sets"
    weights = f"Backbone: {bones[0]}." if len(bones) == 1 else weights_note([s.record for s in sheets])
    caption = (
        f"Ablations {where_}: {' and '.join(statistic(s) for s in shown)} of each variant. {weights}".strip()
    )
    marks = "Bold: best of its block and column. *: SRCC differs from the reference (p < 0.05, adjusted for the block)."
    data = pd.concat(
        [s.table.assign(ablation=s.record["ablation"]["name"], dataset=keys[id(s)]) for s in sheets]
    )
    table = Table("ablations", caption, heads, rows, data, [marks, *notes], titles)
    yield Exhibit("ablation", "ablations", caption, table)


def _short_names(names: Sequence[str]) -> list[str]:
    """Return variants' names without the parts that all of them have."""
    parts = [name.split(", ") for name in names]
    same = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    return [
        variant_name(", ".join(p for p in part if p not in same) or name)
        for part, name in zip(parts, names, strict=True)
    ]


def _block(sheet: Sheet, shown: Sequence[str]) -> dict[str, dict[str, Cell]]:
    """Return the cells of an ablation by variant and statistic."""
    table, _ = thinned(sheet)
    competing = ~table["variant"].astype(str).str.contains("(control)", regex=False)
    marks = {s: best_marks(table[s], competing) for s in shown}
    p = table.get("p_adjusted", pd.Series(np.nan, table.index)).to_numpy(float)
    out: dict[str, dict[str, Cell]] = {}
    for k, row in enumerate(table.to_dict("records")):
        cells = {}
        for s in shown:
            star = "*" if s == "srcc" and p[k] < SIGNIFICANCE else ""
            mark = marks[s][k] if marks[s][k] == "best" else ""
            cells[s] = number(row[s], form=".3f", mark=mark, suffix=star)
        out[str(row["variant"])] = cells
    return out


def ablation_curves(material: Material) -> Iterator[Exhibit]:
    """One parameter's SRCC on all data sets, in one panel."""
    by: dict[str, list[Sheet]] = {}
    for sheet in ablations(material.sheets):
        if len(axes_of(sheet)) == 1:
            by.setdefault(ablation_title(sheet.record["ablation"]), []).append(sheet)
    for title, some in by.items():
        sets = list(
            {(set_name(s.record["dataset"]), backbone_name(s.record["backbone"])): s for s in some}.values()
        )
        yield curve_exhibit("curves", f"curves_{some[0].record['ablation']['name']}", title, sets)


def curve_exhibit(kind: str, name: str, title: str, sheets: Sequence[Sheet]) -> Exhibit:
    """Return the curves of an ablation of one number; one set has a band of 95 % intervals."""
    (axis,) = axes_of(sheets[0])
    one = len(sheets) == 1
    parts, references = [], set()
    for sheet in sheets:
        table, about = sheet.table, sheet.record["ablation"]
        bone = (
            f", {backbone_name(sheet.record['backbone'])}"
            if len({s.record["dataset"]["name"] for s in sheets}) == 1
            else ""
        )
        parts.append(pd.DataFrame({
            "x": table[axis].astype(float), "value": table["srcc"],
            "low": table["srcc_low"] if one and "srcc_low" in table else np.nan,
            "high": table["srcc_high"] if one and "srcc_high" in table else np.nan,
            "series": set_name(sheet.record["dataset"]) + bone,
        }))  # fmt: skip
        references |= set(table.loc[table["variant"].astype(str) == about["reference"], axis].astype(float))
    mark = references.pop() if len(references) == 1 else None
    place = (
        where(sheets[0].record)
        if one
        else f"{len(sheets)} data sets. {weights_note([s.record for s in sheets])}".strip()
    )
    line = f" Dotted line: the reference, {parameter(axis)} = {mark:g}." if mark is not None else ""
    band = " Band: 95 % intervals of each value alone." if one else ""
    over = title if title.startswith(parameter(axis)) else f"{parameter(axis)} ({title})"
    caption = f"SRCC over {over} on {place}{line}{band}"
    frame = pd.concat(parts, ignore_index=True)
    return Exhibit(kind, name, caption, of=sheets[0].result if kind == "variants" else "",
                   draw=lambda stem: curves(stem, frame, xlabel=parameter(axis), ylabel="SRCC", mark=mark))  # fmt: skip


def ablation_figures(sheet: Sheet, name: str) -> list[Exhibit]:
    """Return an ablation's own figures: a curve, heat maps of two parameters, or paired differences."""
    axes, title, table = axes_of(sheet), ablation_title(sheet.record["ablation"]), sheet.table
    if len(axes) == 1:
        return [curve_exhibit("variants", name, title, [sheet])]
    if len(axes) > 1:
        return [
            _map(sheet, name, axes[i], axes[j]) for i in range(len(axes)) for j in range(i + 1, len(axes))
        ]
    reference = variant_name(str(sheet.record["ablation"]["reference"]))
    names = table["variant"].astype(str).map(variant_name)
    paired = "diff" in table and table["diff"].notna().any()
    stem = "diff" if paired else "srcc"
    low, high = ("ci_simultaneous_low", "ci_simultaneous_high")
    low, high = (low, high) if paired and low in table else (f"{stem}_low", f"{stem}_high")
    nan = pd.Series(np.nan, table.index)
    frame = pd.DataFrame(
        {"name": names, "value": table[stem], "low": table.get(low, nan), "high": table.get(high, nan)}
    )
    what = f"SRCC minus that of the reference ({reference})" if paired else "SRCC"
    bars = f"Bars: {'simultaneous ' if low.startswith('ci') else ''}95 % intervals."
    label = "Difference in SRCC to the reference" if paired else "SRCC"
    return [Exhibit("variants", name, f"{title}: {what} on {where(sheet.record)} {bars}", of=sheet.result,
                    draw=lambda stem: dots(stem, frame, xlabel=label, zero=0.0 if paired else None,
                                           reference=reference))]  # fmt: skip


def _map(sheet: Sheet, name: str, across: str, down: str) -> Exhibit:
    """Return SRCC over two parameters, others at the reference."""
    table, about = sheet.table, sheet.record["ablation"]
    reference = table[table["variant"].astype(str) == about["reference"]].iloc[0]
    others = [a for a in axes_of(sheet) if a not in (across, down)]
    part = table[(table[others] == reference[others]).all(axis=1)] if others else table
    grid = part.pivot_table(index=down, columns=across, values="srcc").sort_index(ascending=False)
    best = part.loc[part["srcc"].idxmax()]
    framed: dict[tuple[object, object], str] = {(best[down], best[across]): "-"}
    framed[(reference[down], reference[across])] = "--"
    fixed = "".join(f" {parameter(o)} = {reference[o]:g}." for o in others)
    caption = (f"SRCC over {parameter(across)} and {parameter(down)} on {where(sheet.record)}{fixed} Solid frame: "
               f"best, picked on these images ({best['srcc']:.3f}). Dashed: reference.")  # fmt: skip
    leaf = "_".join(a.rpartition(".")[2] for a in (across, down))
    return Exhibit("variants", f"{name}_{leaf}", caption.strip(), of=sheet.result,
                   draw=lambda stem: heat_map(stem, grid, xlabel=parameter(across), ylabel=parameter(down),
                                              zlabel="SRCC", framed=framed))  # fmt: skip


def ablation_details(material: Material) -> Iterator[Exhibit]:
    """The figure and the whole table of each ablation, and the tables of one data set left out."""
    for sheet in material.sheets:
        title = result_title(sheet.record, sheet.file.stem)
        if sheet.record.get("command") == "ablate -m":
            yield Exhibit("details", sheet.name, f"{title}: the variant chosen on the others.", of=sheet.result,
                          table=frame_table(sheet.name, title, sheet.table))  # fmt: skip
        elif sheet in ablations(material.sheets):
            yield from ablation_figures(sheet, f"ablation_{sheet.name}")
            yield detail_table(sheet, f"ablation_{sheet.name}")


def detail_table(sheet: Sheet, name: str) -> Exhibit:
    """Return an ablation's whole table: SRCC, PLCC, and the paired differences with their intervals and p."""
    table, note = thinned(sheet)
    kept = [c for c in ("variant", "srcc", "srcc_within", "plcc", "diff", "p_adjusted") if c in table]
    sides = [f"{c}_{side}" for c in kept for side in ("low", "high") if f"{c}_{side}" in table]
    frame = table[[*kept, *sides]].copy()
    if "ci_simultaneous_low" in table:  # the interval whose p stands beside it
        frame["diff_low"], frame["diff_high"] = table["ci_simultaneous_low"], table["ci_simultaneous_high"]
    title = ablation_title(sheet.record["ablation"])
    caption = f"{title}: each variant on {where(sheet.record)} Intervals of differences hold for all rows."
    made = frame_table(name, caption, frame, reference=sheet.record["ablation"]["reference"])
    edge = f"Best at the edge of the range: {at_edge(sheet)}." if at_edge(sheet) else ""
    notes = [*made.notes, *filter(None, (note, edge, same_ranking(sheet))), *study_notes(sheet.record)]
    whole = Table(name, caption, made.columns, made.rows, sheet.table, notes)
    return Exhibit("details", name, caption, whole, of=sheet.result)
