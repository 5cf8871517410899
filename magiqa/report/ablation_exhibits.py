"""The exhibits of ablations: one table of blocks, curves of a parameter on all sets, a figure and a table of each."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from magiqa.report.console import round_steps
from magiqa.report.exhibit import Exhibit
from magiqa.report.heat_maps import heat_map
from magiqa.report.material import Material
from magiqa.report.methods import ablation_title, study_notes, weights_note, where
from magiqa.report.plots import curves, dots
from magiqa.report.protocol import enumeration
from magiqa.report.table import NONE, Cell, Table, best_marks, frame_table, name_cell, number, simultaneous
from magiqa.report.words import BASES, backbone_name, parameter, set_name, statistic, variant_name
from magiqa.runs.read import Sheet
from magiqa.stats.family import SIGNIFICANCE

MOST_OF_AXIS, MOST_IN_BLOCK = 25, 11  # values of a numeric axis that a table prints, alone and among others

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


def thinned(sheet: Sheet, most: int = MOST_OF_AXIS, best: bool = True) -> tuple[pd.DataFrame, str]:
    """Return the rows to print and the note on what is left out: values between the steps of one numeric axis.

    Categories are never left out. The reference and, with ``best``, the best stay.
    """
    table, axes = sheet.table, axes_of(sheet)
    if len(axes) != 1 or len(table) <= most:
        return table, ""
    rows, step = round_steps(table[axes[0]].astype(float).tolist(), most)
    kept = np.isin(np.arange(len(table)), rows)
    kept |= (table["variant"] == sheet.record["ablation"]["reference"]).to_numpy()
    kept[int(table["srcc"].to_numpy(float).argmax())] |= best
    note = (
        f"in steps of {step:g}{', the best' * best} and the reference; the CSV holds all {len(table)} values"
    )
    return table[kept], "" if kept.all() else note


def axis_name(sheet: Sheet, axis: str) -> str:
    """Return a parameter's name; a base beside one of 0 is the difference of the bases."""
    other = sheet.table.get("fusion.base_mag", pd.Series([np.nan]))
    return BASES if axis == "fusion.base_sim" and (other == 0).all() else parameter(axis)


def variant_names(table: pd.DataFrame) -> dict[str, str]:
    """Return the names of variants; the method as it is goes by its count of prompt pairs where these vary."""
    names = {str(name): variant_name(str(name)) for name in table["variant"]}
    if OWN in names and "prompts.pairs" in table:
        pairs = table.loc[table["variant"] == OWN, "prompts.pairs"].iloc[0]
        names[OWN] = f"all {str(pairs).count(' | ') + 1} pairs"
    return names


def at_edge(sheet: Sheet) -> str:
    """Return the note on a best variant at the edge of a range; empty where it does not lie there."""
    best = sheet.table.loc[sheet.table["srcc"].astype(float).idxmax()]
    edges = [a for a in axes_of(sheet) if best[a] in (sheet.table[a].min(), sheet.table[a].max())]
    edge = " and ".join(f"{axis_name(sheet, a)} = {best[a]:g}" for a in edges)
    return f"best at the edge of the range ({edge})" if edge else ""


def like_similarity(sheet: Sheet, names: Mapping[str, str], alone: float) -> str:
    """Return the note on variants whose SRCC is, to three digits, that of the similarity cue alone.

    Args:
        names: of the rows. alone: SRCC of the row "similarity only" on the same data set.
    """
    srcc = sheet.table.set_index("variant")["srcc"].astype(float).round(3)
    same = [name for key, name in names.items() if key != ALONE and srcc.get(key) == round(alone, 3)]
    return f"equal to similarity only to three digits: {'; '.join(same)}" if same else ""


def same_ranking(sheet: Sheet, names: Mapping[str, str]) -> str:
    """Return the note on rows that are one: their scores have the same correlations with MOS to nine digits."""
    table = sheet.table[sheet.table["variant"].astype(str).isin(names)]
    keys = [table[c].astype(float).round(9) for c in ("srcc", "plcc") if c in table]
    groups = [" and ".join(names[v] for v in part) for _, part in table["variant"].astype(str).groupby(keys)
              if len(part) > 1]  # fmt: skip
    return f"the same ranking: {'; '.join(groups)}" if 0 < len(groups) < 4 else ""


def higher_elsewhere(sheet: Sheet, shown: Sequence[str], names: Collection[str]) -> str:
    """Return the note on variants that are not printed and better than all that are."""
    best = {s: sheet.table.loc[sheet.table[s].fillna(-2).idxmax()] for s in shown}
    printed = sheet.table.loc[sheet.table["variant"].astype(str).isin(names), list(shown)].max().round(3)
    out = [f"{statistic(s)} {row[s]:.3f} at {variant_name(str(row['variant']))}" for s, row in best.items()
           if round(row[s], 3) > printed[s]]  # fmt: skip
    return f"rows not printed are higher: {'; '.join(out)}" if out else ""


def ablation_tables(material: Material) -> Iterator[Exhibit]:
    """Variants by data sets: a block an ablation, the reference marked, one mark for significance."""
    sheets = [s for s in ablations(material.sheets)
              if len(axes_of(s)) < 2 and len({*s.table["srcc"].astype(float).round(9)}) > 1]  # fmt: skip
    if not sheets:
        return
    bones = sorted(
        {backbone_name(s.record["backbone"]) for s in sheets if ", " not in s.record["backbone"]["name"]}
    )
    blocks: dict[str, dict[str, Sheet]] = {}
    for sheet in sheets:
        bone = f", {backbone_name(sheet.record['backbone'])}" if len(bones) > 1 else ""
        blocks.setdefault(ablation_title(sheet.record["ablation"]), {}).setdefault(
            set_name(sheet.record["dataset"]) + bone, sheet
        )
    together: dict[tuple[str, ...], dict[str, dict[str, Sheet]]] = {}
    for title, of_sets in blocks.items():
        together.setdefault(tuple(of_sets), {})[title] = of_sets
    for some in together.values():
        yield _ablation_table(some, bones)


def _ablation_table(blocks: dict[str, dict[str, Sheet]], bones: Sequence[str]) -> Exhibit:
    """Return the table of the ablations that ran on the same data sets."""
    sheets = [sheet for of_sets in blocks.values() for sheet in of_sets.values()]
    sets = list(next(iter(blocks.values())))
    shown = [s for s in ("srcc", "plcc_logistic", "plcc") if all(s in sheet.table for sheet in sheets)]
    shown = shown[: 2 if len(sets) <= MOST_SETS else 1]
    rows: list[list[Cell]] = []
    titles: dict[int, str] = {}
    notes = ["Bold: best printed row of its block and column. *: SRCC differs from the reference (p < 0.05, adjusted "
             "for the block)."]  # fmt: skip
    alone = {(key, s.record["ablation"]["score"]): float(v) for of_sets in blocks.values() for key, s in of_sets.items()
             for v in s.table.loc[s.table["variant"] == ALONE, "srcc"]}  # fmt: skip
    for title, of_sets in blocks.items():
        first = next(iter(of_sets.values()))
        titles[len(rows)] = title
        printed = [thinned(sheet, MOST_IN_BLOCK, best=len(sets) == 1) for sheet in of_sets.values()]
        kept = {str(name) for table, _ in printed for name in table["variant"]}
        names = {key: name for key, name in variant_names(first.table).items() if key in kept}
        parts = {key: _block(sheet, shown, list(names)) for key, sheet in of_sets.items()}
        texts = dict(zip(names, _short_names([*names.values()], title), strict=True))
        for name, text in texts.items():
            cells = [parts.get(key, {}).get(name, {}).get(s, Cell(NONE)) for key in sets for s in shown]
            rows.append(
                [
                    name_cell(
                        f"{text} (reference)".replace(") (", ", ")
                        if name == first.record["ablation"]["reference"]
                        else text
                    ),
                    *cells,
                ]
            )
        notes += _block_notes(title, of_sets, alone, shown, texts)
    heads = [(key if len(shown) > 1 and len(sets) > 1 else "", statistic(s) if len(shown) > 1 else key)
             for key in sets for s in shown]  # fmt: skip
    place = f"on {sets[0]}" if len(sets) == 1 else f"on {len(sets)} data sets"
    weights = f"Backbone: {bones[0]}." if len(bones) == 1 else weights_note(s.record for s in sheets)
    caption = f"Ablations {place}: {' and '.join(map(statistic, shown))} of each variant. {weights}".strip()
    data = pd.concat([s.table.assign(ablation=s.record["ablation"]["name"], dataset=key)
                      for of_sets in blocks.values() for key, s in of_sets.items()])  # fmt: skip
    return Exhibit(
        "ablation",
        "ablations",
        caption,
        Table("ablations", caption, [("", "Variant"), *heads], rows, data, notes, titles),
    )


def _block_notes(
    title: str,
    of_sets: Mapping[str, Sheet],
    alone: Mapping[tuple[str, str], float],
    shown: Sequence[str],
    texts: Mapping[str, str],
) -> list[str]:
    """Return the notes on a block, each with the data sets for which it holds."""
    sets: dict[str, list[str]] = {}
    for key, sheet in of_sets.items():
        for note in (
            thinned(sheet, MOST_IN_BLOCK, best=len(of_sets) == 1)[1],
            at_edge(sheet),
            higher_elsewhere(sheet, shown, texts),
            same_ranking(sheet, texts),
            like_similarity(sheet, texts, alone.get((key, sheet.record["ablation"]["score"]), np.nan)),
        ):
            sets.setdefault(note, []).append(key)
    return [f"{title}{f' on {enumeration(keys)}' if len(keys) < len(of_sets) else ''}: {note}."
            for note, keys in sets.items() if note]  # fmt: skip


def _short_names(names: Sequence[str], title: str) -> list[str]:
    """Return variants' names without the parts that all of them have, and the word that the block's title says."""
    parts = [name.split(", ") for name in names]
    same = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    short = [
        ", ".join(p for p in part if p not in same) or name for part, name in zip(parts, names, strict=True)
    ]
    heads = [name.partition(" = ")[0] for name in short]  # a sign such as λ stays
    return [name.removeprefix(f"{head} = ") if len(head) > 1 and title.lower().startswith(head) else name
            for head, name in zip(heads, short, strict=True)]  # fmt: skip


def _block(sheet: Sheet, shown: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Cell]]:
    """Return the cells of an ablation by variant and statistic."""
    table = sheet.table[sheet.table["variant"].astype(str).isin(names)]
    competing = ~table["variant"].astype(str).str.contains("(control)", regex=False)
    p = table.get("p_adjusted", pd.Series(np.nan, table.index)).to_numpy(float)
    out: dict[str, dict[str, Cell]] = {str(variant): {} for variant in table["variant"]}
    for s in shown:
        marks = best_marks(table[s], competing)
        for k, (cells, value) in enumerate(zip(out.values(), table[s], strict=True)):
            star = "*" if s == "srcc" and p[k] < SIGNIFICANCE else ""
            cells[s] = number(value, form=".3f", mark=marks[k] if marks[k] == "best" else "", suffix=star)
    return out


def ablation_curves(material: Material) -> Iterator[Exhibit]:
    """One parameter's SRCC on all data sets, in one panel."""
    by: dict[str, dict[str, Sheet]] = {}
    for sheet in ablations(material.sheets):
        if len(axes_of(sheet)) == 1:
            by.setdefault(ablation_title(sheet.record["ablation"]), {})[where(sheet.record)] = sheet
    for of_sets in by.values():
        sheets = list(of_sets.values())
        yield _curves(sheets, f"curves_{sheets[0].record['ablation']['name']}")


def _curves(sheets: Sequence[Sheet], name: str) -> Exhibit:
    """Return the curves of an ablation of one number; one set has a band of 95 % intervals."""
    (axis,), title = axes_of(sheets[0]), ablation_title(sheets[0].record["ablation"])
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
    several = f"{len(sheets)} data sets. {weights_note(s.record for s in sheets)}".strip()
    sign = axis_name(sheets[0], axis)
    over = sign + title[len(sign) :] if title.lower().startswith(sign) else f"{sign} ({title})"
    fusion = (sheets[0].record.get("config") or {}).get("fusion") or {}
    sim, mag = (fusion.get(f"base_{cue}", np.nan) for cue in ("sim", "mag"))
    of = f" ({sim:g} - {mag:g})" if sign == BASES and mark is not None and np.isclose(sim - mag, mark) else ""
    caption = f"SRCC over {over} on {where(sheets[0].record) if alone else several}"
    caption += f" Dotted line: the reference, {sign} = {mark:g}{of}." if mark is not None else ""
    caption += " Band: 95 % intervals of each value alone." if alone else ""
    frame = pd.concat(parts, ignore_index=True)
    return Exhibit("curves", name, caption,
                   draw=lambda stem: curves(stem, frame, xlabel=sign, ylabel="SRCC", mark=mark))  # fmt: skip


def ablation_figures(sheet: Sheet, name: str) -> list[Exhibit]:
    """Return an ablation's own figures: a curve, heat maps of two parameters, or paired differences."""
    axes, title, table = axes_of(sheet), ablation_title(sheet.record["ablation"]), sheet.table
    if len(axes) == 1:
        return [_curves([sheet], name)]
    if axes:
        return [_map(sheet, name, *pair) for pair in combinations(axes, 2)]
    names = variant_names(table)
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
    framed = {(best[down], best[across]): "-", (reference[down], reference[across]): "--"}
    fixed = "".join(f" {parameter(o)} = {reference[o]:g}." for o in others)
    caption = (f"SRCC over {parameter(across)} and {parameter(down)} on {where(sheet.record)}{fixed} Solid frame: "
               f"best, picked on these images ({best['srcc']:.3f}). Dashed: reference.")  # fmt: skip
    leaf = "_".join(a.rpartition(".")[2] for a in (across, down))
    return Exhibit("variants", f"{name}_{leaf}", caption.strip(), of=sheet.result,
                   draw=lambda stem: heat_map(stem, grid, xlabel=parameter(across), ylabel=parameter(down),
                                              zlabel="SRCC", framed=framed))  # fmt: skip


def ablation_details(material: Material) -> Iterator[Exhibit]:
    """The figure and the whole table of each ablation."""
    for sheet in material.sheets:
        if sheet in ablations(material.sheets):
            figures = ablation_figures(sheet, f"ablation_{sheet.name}")
            yield from (figure for figure in figures if figure.kind == "variants")  # curves stand together
            if len(axes_of(sheet)) < 2:  # the heat map shows a grid
                yield detail_table(sheet, f"ablation_{sheet.name}")


def detail_table(sheet: Sheet, name: str) -> Exhibit:
    """Return an ablation's whole table: SRCC, PLCC, and the paired differences with their intervals and p."""
    table, note = thinned(sheet)
    shown = [c for c in ("variant", "srcc", "srcc_within", "plcc", "diff", "p_adjusted") if c in table]
    sides = [f"{c}_{side}" for c in shown[1:] for side in ("low", "high") if f"{c}_{side}" in table]
    names, reference = variant_names(table), str(sheet.record["ablation"]["reference"])
    names[reference] = f"{names[reference]} (reference)".replace(") (", ", ")
    frame = table[[*shown, *sides]].assign(
        variant=table["variant"].astype(str).map(names), **simultaneous(table)
    )
    title = ablation_title(sheet.record["ablation"])
    caption = f"{title}: each variant on {where(sheet.record)} Intervals of differences hold for all rows."
    whole = frame_table(frame, name=name, title=caption, best=["srcc"])
    notes = [*whole.notes, "Bold: highest SRCC; underlined: second. The best of a grid is picked on its own data.",
             *(f"{title}: {text}." for text in (note, at_edge(sheet), same_ranking(sheet, names)) if text),
             *study_notes(sheet.record)]  # fmt: skip
    return Exhibit("details", name, caption, replace(whole, data=sheet.table, notes=notes), of=sheet.result)
