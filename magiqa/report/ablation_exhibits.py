"""The exhibits of ablations: one table of blocks, curves of a parameter on all sets, a figure and a table of each."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from magiqa.report.console import round_steps
from magiqa.report.exhibit import Exhibit
from magiqa.report.heat_maps import heat_map, limits
from magiqa.report.material import Material, titled
from magiqa.report.methods import (
    ablation_title,
    score_name,
    settings,
    study_notes,
    subsets_note,
    weights_note,
    where,
    within_words,
)
from magiqa.report.plots import curves, dots
from magiqa.report.table import NONE, Cell, Table, best_marks, frame_table, name_cell, number, simultaneous
from magiqa.report.words import (
    BASES,
    backbone_name,
    capital,
    parameter,
    set_name,
    set_words,
    statistic,
    variant_name,
)
from magiqa.runs.read import Sheet
from magiqa.stats.family import SIGNIFICANCE

MOST_OF_AXIS, MOST_OF_SET, MOST_IN_BLOCK = 25, 11, 7  # values of a numeric axis that a table prints

SIGNS = {
    "*": "* SRCC differs from the reference (p < 0.05, adjusted within block and data set).",
    "‡": "‡ Best of the whole sweep, at its end.",
    "§": "§ SRCC is equal to the similarity cue to three digits.",
}

OWN, ALONE = "as configured", "similarity only"  # variants of any ablation, of the fusion

MOST_SETS = 3  # data sets whose SRCC and PLCC stand side by side


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


def thinned(sheet: Sheet, most: int = MOST_OF_AXIS, best: bool = True) -> pd.DataFrame:
    """Return the rows to print: of one numeric axis even steps, the reference and, with ``best``, the best.

    Categories are never left out.
    """
    table, axes = sheet.table, axes_of(sheet)
    if len(axes) != 1 or len(table) <= most:
        return table
    kept = np.isin(np.arange(len(table)), round_steps(table[axes[0]].astype(float).tolist(), most)[0])
    kept |= (table["variant"] == sheet.record["ablation"]["reference"]).to_numpy()
    kept[int(table["srcc"].to_numpy(float).argmax())] |= best
    return table[kept]


def axis_name(sheet: Sheet, axis: str) -> str:
    """Return a parameter's name; a base beside one of 0 is the difference of the bases."""
    other = sheet.table.get("fusion.base_mag", pd.Series([np.nan]))
    return BASES if axis == "fusion.base_sim" and (other == 0).all() else parameter(axis)


def variant_names(sheet: Sheet) -> dict[str, str]:
    """Return the names of variants, without the parts that all of them have and the word that the title says."""
    table, title = sheet.table, ablation_title(sheet.record["ablation"])
    names = {str(name): variant_name(str(name)) for name in table["variant"]}
    if OWN in names and "prompts.pairs" in table:  # the method as it is goes by its count of prompt pairs
        pairs = table.loc[table["variant"] == OWN, "prompts.pairs"].iloc[0]
        names[OWN] = f"all {str(pairs).count(' | ') + 1} pairs"
    parts = {key: name.split(", ") for key, name in names.items()}
    same = set.intersection(*map(set, parts.values())) if len(parts) > 1 else set()
    for key, part in parts.items():
        name = ", ".join(p for p in part if p not in same) or names[key]
        head, _, value = name.partition(" = ")  # a sign such as λ stays
        value += " prompts" * (head == "prompts")
        names[key] = capital(value if value and len(head) > 1 and head in title.lower() else name)
    return names


def at_edge(sheet: Sheet) -> bool:
    """Tell if the best variant lies at the edge of a range."""
    best = sheet.table.loc[sheet.table["srcc"].astype(float).idxmax()]
    return any(best[a] in (sheet.table[a].min(), sheet.table[a].max()) for a in axes_of(sheet))


def differing(sheets: Sequence[Sheet]) -> list[Sheet]:
    """Return the ablations whose variants do not all score alike."""
    return [s for s in ablations(sheets) if len({*s.table["srcc"].astype(float).round(9)}) > 1]


def ablation_tables(material: Material) -> Iterator[Exhibit]:
    """Variants by data sets: a block an ablation, the reference marked, one mark for significance."""
    sheets = [s for s in differing(material.sheets) if len(axes_of(s)) < 2]
    bones = sorted(
        {backbone_name(s.record["backbone"]) for s in sheets if ", " not in s.record["backbone"]["name"]}
    )
    blocks: dict[str, dict[str, Sheet]] = {}
    alone: dict[tuple[str, str], float] = {}
    for title, sheet in titled(sheets):
        bone = f", {backbone_name(sheet.record['backbone'])}" if len(bones) > 1 else ""
        place = set_name(sheet.record["dataset"]) + bone
        blocks.setdefault(title, {})[place] = sheet
        of_similarity = sheet.table.loc[sheet.table["variant"] == ALONE, "srcc"]
        if len(of_similarity):
            alone.setdefault((place, settings(sheet.record)), float(of_similarity.iloc[0]))
    together: dict[tuple[str, ...], dict[str, dict[str, Sheet]]] = {}
    for title, of_sets in blocks.items():
        together.setdefault(tuple(of_sets), {})[title] = of_sets
    for some in together.values():
        yield _ablation_table(some, alone)


def _ablation_table(blocks: dict[str, dict[str, Sheet]], alone: Mapping[tuple[str, str], float]) -> Exhibit:
    """Return the table of the ablations that ran on the same data sets.

    Args:
        alone: SRCC of the similarity cue by data set and method, where an ablation of the fusion holds it.
    """
    sheets = [sheet for of_sets in blocks.values() for sheet in of_sets.values()]
    sets = list(next(iter(blocks.values())))
    shown = [s for s in ("srcc", "plcc_logistic", "plcc") if all(s in sheet.table for sheet in sheets)]
    shown = shown[: 2 if len(sets) <= MOST_SETS else 1]
    rows: list[list[Cell]] = []
    titles: dict[int, str] = {}
    for title, of_sets in blocks.items():
        titles[len(rows)] = title
        printed = [thinned(sheet, MOST_IN_BLOCK, best=len(sets) == 1) for sheet in of_sets.values()]
        kept = {str(name) for table in printed for name in table["variant"]}
        parts = [_block(sheet, shown, kept, alone.get((place, settings(sheet.record)), np.nan))
                 for place, sheet in of_sets.items()]  # fmt: skip
        for name, keys in _same_rows(list(of_sets.values()), kept).items():
            rows.append([name_cell(name), *(parts[k].get(keys, {}).get(s, Cell(NONE)) for k in range(len(sets))
                                            for s in shown)])  # fmt: skip
    heads = [(key if len(shown) > 1 and len(sets) > 1 else "", statistic(s) if len(shown) > 1 else key)
             for key in sets for s in shown]  # fmt: skip
    place = f"on {sets[0]}" if len(sets) == 1 else f"on {len(sets)} data sets"
    weights = weights_note(s.record for s in sheets)
    caption = f"Ablations {place}: {' and '.join(map(statistic, shown))} of each variant. {weights}".strip()
    data = pd.concat([s.table.assign(ablation=s.record["ablation"]["name"], dataset=key, result=s.result)
                      for of_sets in blocks.values() for key, s in of_sets.items()])  # fmt: skip
    notes = [f"Bold: best {'printed ' * (len(rows) < len(data) / len(sets))}row of each block and column."]
    text = "".join(cell.text for row in rows for cell in row[1:])
    notes += [note for sign, note in SIGNS.items() if sign in text]
    notes += ["No SRCC differs significantly from the reference."] if "*" not in text else []
    notes += [f"{statistic('plcc')}: without a fit."] if "plcc" in shown else []
    notes += list(filter(None, [subsets_note(s.record for s in sheets)]))
    table = Table("ablations", caption, [("", "Variant"), *heads], rows, data, notes, titles)
    return Exhibit("ablation", "ablations", caption, table)


def _same_rows(sheets: Sequence[Sheet], kept: Collection[str]) -> dict[str, str]:
    """Return a variant by the name of its row; variants that rank alike on all data sets share a row."""
    names, reference = variant_names(sheets[0]), str(sheets[0].record["ablation"]["reference"])
    alike: dict[tuple[float, ...], list[str]] = {}
    for key in (key for key in names if key in kept):
        rows = [sheet.table[sheet.table["variant"].astype(str) == key] for sheet in sheets]
        values = [float(v) for row in rows for c in ("srcc", "plcc") if c in row for v in row[c].round(9)]
        alike.setdefault(tuple(values), []).append(key)
    out = {}
    for keys in alike.values():
        name = ", ".join(names[key] for key in keys)
        name += " (same ranking)" if len(keys) > 1 else ""
        out[f"{name} (reference)".replace(") (", ", ") if reference in keys else name] = keys[0]
    return out


def _block(
    sheet: Sheet, shown: Sequence[str], names: Collection[str], alone: float
) -> dict[str, dict[str, Cell]]:
    """Return the cells of an ablation by variant and statistic, with their signs."""
    table = sheet.table[sheet.table["variant"].astype(str).isin(names)]
    competing = ~table["variant"].astype(str).str.contains("(control)", regex=False)
    p = table.get("p_adjusted", pd.Series(np.nan, table.index)).to_numpy(float)
    top = sheet.table["srcc"].max() if at_edge(sheet) else np.nan
    fused = sheet.record["ablation"].get("score", "q") == "q"
    out: dict[str, dict[str, Cell]] = {str(variant): {} for variant in table["variant"]}
    for s in shown:
        marks = best_marks(table[s], competing)
        for k, ((name, cells), value) in enumerate(zip(out.items(), table[s], strict=True)):
            like = fused and name != ALONE and round(value, 3) == round(alone, 3)
            signs = "*" * bool(p[k] < SIGNIFICANCE) + "‡" * bool(value == top) + "§" * like
            signs *= s == "srcc"
            cells[s] = number(value, form=".3f", mark=marks[k] if marks[k] == "best" else "", suffix=signs)
    return out


def ablation_curves(material: Material) -> Iterator[Exhibit]:
    """One parameter's SRCC on all data sets, in one panel."""
    by: dict[str, list[Sheet]] = {}
    for title, sheet in titled([s for s in ablations(material.sheets) if len(axes_of(s)) == 1]):
        by.setdefault(title, []).append(sheet)
    for title, sheets in by.items():
        exhibit = _curves(sheets, f"curves_{sheets[0].record['ablation']['name']}")
        folder = f" Folder: {sheets[0].result}." * title.endswith(f"[{sheets[0].result}]")
        yield replace(exhibit, caption=exhibit.caption + folder)


def _curves(sheets: Sequence[Sheet], name: str) -> Exhibit:
    """Return the curves of an ablation of one number; one set has a band of 95 % intervals."""
    (axis,) = axes_of(sheets[0])
    alone, one_set = len(sheets) == 1, len({s.record["dataset"]["name"] for s in sheets}) == 1
    parts, references = [], set()
    for sheet in sheets:
        table = sheet.table
        series = set_name(sheet.record["dataset"]) + f", {backbone_name(sheet.record['backbone'])}" * one_set
        sides = {
            side: table[f"srcc_{side}"] if alone and f"srcc_{side}" in table else np.nan
            for side in ("low", "high")
        }
        parts.append(
            table[[]].assign(x=table[axis].astype(float), value=table["srcc"], series=series, **sides)
        )
        references |= set(
            table.loc[table["variant"].astype(str) == sheet.record["ablation"]["reference"], axis]
        )
    mark = float(references.pop()) if len(references) == 1 else None
    records = [s.record for s in sheets]
    several = " ".join(
        [f"{len(sheets)} data sets.", *filter(None, (weights_note(records), subsets_note(records)))]
    )
    sign, score = axis_name(sheets[0], axis), str(sheets[0].record["ablation"].get("score"))
    caption = (
        f"SRCC of {score_name(sheets[0].record, score)} over {'the ' * (sign == BASES)}{sign} on "
        f"{where(sheets[0].record) if alone else several}"
    )
    caption += f" Dotted line: the reference, {mark:g}." if mark is not None else ""
    caption += " Band: pointwise 95 % confidence intervals." if alone else ""
    frame = pd.concat(parts, ignore_index=True)
    return Exhibit("curves", name, caption,
                   draw=lambda stem: curves(stem, frame, xlabel=capital(sign), ylabel="SRCC", mark=mark))  # fmt: skip


def ablation_figures(sheet: Sheet, name: str) -> list[Exhibit]:
    """Return an ablation's own figures: a curve, heat maps of two parameters, or paired differences."""
    axes, title, table = axes_of(sheet), ablation_title(sheet.record["ablation"]), sheet.table
    if len(axes) == 1:
        return [replace(_curves([sheet], name), kind="variants", of=sheet.result, twin=True)]
    if axes:
        return [_map(sheet, name, *pair) for pair in combinations(axes, 2)]
    names = variant_names(sheet)
    reference = names[str(sheet.record["ablation"]["reference"])]
    paired = "diff" in table and table["diff"].notna().any()
    stem = "diff" if paired else "srcc"
    sides = "ci_simultaneous" if paired and "ci_simultaneous_low" in table else stem
    frame = pd.DataFrame({
        "name": table["variant"].astype(str).map(names), "value": table[stem],
        **{side: table.get(f"{sides}_{side}", np.nan) for side in ("low", "high")},
    })  # fmt: skip
    what = f"SRCC minus that of the reference ({reference})" if paired else "SRCC"
    bars = f"Bars: {'simultaneous ' if sides != stem else ''}95 % intervals."
    label = "Difference in SRCC to the reference" if paired else "SRCC"
    return [Exhibit("variants", name, f"{title}: {what} on {where(sheet.record)} {bars}", of=sheet.result,
                    twin=True, draw=lambda stem: dots(stem, frame, xlabel=label, zero=0.0 if paired else None,
                                           reference=reference))]  # fmt: skip


def _map(sheet: Sheet, name: str, across: str, down: str) -> Exhibit:
    """Return SRCC over two parameters, others at the reference."""
    table, about = sheet.table, sheet.record["ablation"]
    reference = table[table["variant"].astype(str) == about["reference"]].iloc[0]
    others = [a for a in axes_of(sheet) if a not in (across, down)]
    part = table[(table[others] == reference[others]).all(axis=1)] if others else table
    grid = part.pivot_table(index=down, columns=across, values="srcc").sort_index(ascending=False)
    best = part.loc[part["srcc"].idxmax()]
    framed = {(best[down], best[across]): "-", (reference[down], reference[across]): "--"}
    fixed = "".join(f" {parameter(o)} = {reference[o]:g}." for o in others)
    edge, low = ", at the edge of the grid" * at_edge(sheet), limits(grid.to_numpy(float))[0]
    darkest = f" Darkest: {low:.2f} or less." * bool(low > part["srcc"].min())
    caption = (f"SRCC of {score_name(sheet.record, str(about.get('score')))} over {parameter(across)} and "
               f"{parameter(down)} on {where(sheet.record)}{fixed} Solid frame: best ({best['srcc']:.3f}){edge}. "
               f"Dashed: reference.{darkest}")  # fmt: skip
    leaf = "_".join(a.rpartition(".")[2] for a in (across, down))
    return Exhibit("variants", f"{name}_{leaf}", caption.strip(), of=sheet.result,
                   draw=lambda stem: heat_map(stem, grid, xlabel=parameter(across), ylabel=parameter(down),
                                              zlabel="SRCC", framed=framed))  # fmt: skip


def ablation_details(material: Material) -> Iterator[Exhibit]:
    """The figure of each ablation, and the whole table, with a block for each data set that it ran on."""
    together: dict[tuple[str, str], list[Sheet]] = {}
    for sheet in ablations(material.sheets):
        yield from ablation_figures(sheet, f"ablation_{sheet.name}")
    for title, sheet in titled(
        [s for s in differing(material.sheets) if len(axes_of(s)) < 2]
    ):  # else a heat map
        together.setdefault((title, backbone_name(sheet.record["backbone"])), []).append(sheet)
    for (title, bone), sheets in together.items():
        yield _detail_table(title, bone, sheets)


def _detail_table(title: str, bone: str, sheets: Sequence[Sheet]) -> Exhibit:
    """Return the whole table of an ablation: SRCC, PLCC, and the paired differences with their intervals and p."""
    parts: list[pd.DataFrame] = []
    blocks, notes, first = dict[int, str](), list[str](), sheets[0]
    for sheet in sheets:
        table = thinned(sheet, MOST_OF_AXIS if len(sheets) == 1 else MOST_OF_SET, best=len(sheets) == 1)
        names, reference = variant_names(sheet), str(sheet.record["ablation"]["reference"])
        names[reference] = f"{names[reference]} (reference)".replace(") (", ", ")
        blocks |= (
            {sum(len(part) for part in parts): set_words(sheet.record["dataset"])} if len(sheets) > 1 else {}
        )
        parts.append(table.assign(variant=table["variant"].astype(str).map(names), **simultaneous(table)))
        notes += study_notes(sheet.record)
    frame = pd.concat(parts, ignore_index=True)
    shown = [c for c in ("variant", "srcc", "diff", "p_adjusted", "srcc_within", "plcc")
             if all(c in part for part in parts)]  # fmt: skip
    sides = [f"{c}_{side}" for c in shown[1:] for side in ("low", "high") if f"{c}_{side}" in frame]
    place = where(first.record) if len(sheets) == 1 else f"{len(sheets)} data sets. Backbone: {bone}."
    method = score_name(first.record, "q") if "alone" not in title else "the cue"
    within = " within a data set" * (len(sheets) > 1)
    caption = (
        f"{title}: variants of {method} on {place} Difference in SRCC: from the reference, simultaneous 95 % "
    )
    caption += f"interval{within}."
    name = f"ablation_{first.name if len(sheets) == 1 else first.record['ablation']['name']}"
    whole = frame_table(frame[[*shown, *sides]], name=name, title=caption)
    data = pd.concat([s.table.assign(dataset=set_name(s.record["dataset"])) for s in sheets])
    heads = [(group, within_words(head, first.record)) for group, head in whole.columns]
    notes += ["Other intervals: 95 %, pointwise."] if len(sides) > 2 * ("diff_low" in sides) else []
    whole = replace(
        whole, columns=heads, data=data, notes=[*whole.notes, *dict.fromkeys(notes)], blocks=blocks
    )
    return Exhibit("details", name, caption, whole, of=first.result if len(sheets) == 1 else "")
