"""The exhibits of comparisons and experiments.

A comparison has a matrix of paired differences, and a table of all pairs. An experiment has its figures as they were
drawn, and its tables.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from magiqa.report.exhibit import Exhibit
from magiqa.report.heat_maps import heat_map
from magiqa.report.material import Material
from magiqa.report.methods import (
    Record,
    ablation_title,
    clustered,
    method_names,
    primary,
    result_title,
    study_notes,
    where,
)
from magiqa.report.table import Cell, Table, frame_table, number, signed, simultaneous
from magiqa.report.words import (
    backbone_name,
    group_name,
    group_word,
    own_weights,
    set_name,
    set_words,
    short_label,
    statistic,
)
from magiqa.runs.read import CONTROLS, CUES, Sheet, files_of, read_listed
from magiqa.stats.family import SIGNIFICANCE

TABLES = {  # captions of the experiments' tables; {label} is MOS or what stands for it
    "align": "SRCC with the MOS of quality and of alignment to the prompt",
    "bias": "Effect of content on the magnitude cue and {label}",
    "cells": "SRCC with and without each factor of MA-CLIP",
    "few_labels": "SRCC of predictors that are fitted to few labels",
    "group": "SRCC of each cue by {group}",
    "level": "SRCC of each cue by distortion level",
    "magnitude": "Definitions of the magnitude cue and their rivals",
    "main": "SRCC of CLIP-IQA, MA-CLIP, its cues and controls",
    "pairs": "Image pairs that a score orders as raters do",
    "pristine": "Agreement with the distortions of pristine images",
    "redundancy": "SRCC between definitions of the magnitude cue",
    "regimes": "Differences in SRCC between cues inside bins of {label}",
    "shares": "Mean gain in SRCC of each factor of MA-CLIP",
    "steps": "Gain in SRCC of each factor of MA-CLIP, added to CLIP-IQA and other factors",
    "weights": "Mean weight of similarity and mean cues in bins of {label}",
}


def compared_names(material: Material, record: Record) -> dict[str, str]:
    """Return the names of compared methods by their keys in the table, as the other exhibits name them."""
    shown = material.rows[["run", "score"]].drop_duplicates() if material.runs else pd.DataFrame()
    every = [(run, material.records[run], score) for run, score in shown.itertuples(index=False)]
    own: list[tuple[str, Record, str]] = []
    for m in record.get("methods") or ():
        run = next((r.name for r in material.runs if _same(r.record, m)), m["name"])
        external = {"external": {"method": m["name"]}}
        score = primary(m) if m.get("score") == "q" else m.get("score")
        own.append((run, m, score) if score in (*CUES, *CONTROLS) else (run, external, "q"))
    names = method_names([*every, *own], material.asked.names)[len(every) :]
    bones = [backbone_name(m["backbone"]) if m.get("backbone") and s in CUES else "" for _, m, s in own]
    if len(set(filter(None, bones))) > 1:
        names = [f"{name}, {bone}" if bone else name for name, bone in zip(names, bones, strict=True)]
    keys = [m["name"] for m in record.get("methods") or ()]
    return {k: n if names.count(n) == 1 else f"{n} [{k}]" for k, n in zip(keys, names, strict=True)}


def _same(record: Record, method: Record) -> bool:
    """Return whether a run's record is that of a compared method."""
    weights = [(r.get("backbone") or {}).get("weights_sha256") for r in (record, method)]
    return weights[0] == weights[1] and all(record.get(k) == method.get(k) for k in ("choices", "changed"))


def matrix(pairs: pd.DataFrame, names: dict[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return differences (row minus column), and their text with a star where p < 0.05.

    Rows are numbered, and columns go by these numbers.
    """
    keys = list(dict.fromkeys([*pairs["a"], *pairs["b"]]))
    rows = [f"{k + 1}  {names.get(key, key)}" for k, key in enumerate(keys)]
    values = pd.DataFrame(np.nan, index=rows, columns=[str(k + 1) for k in range(len(keys))])
    words = pd.DataFrame("", index=values.index, columns=values.columns)
    for r in pairs.to_dict("records"):
        star = "*" if r["p_adjusted"] < SIGNIFICANCE else "" if np.isfinite(r["p_adjusted"]) else "‡"
        i, j = keys.index(r["a"]), keys.index(r["b"])
        values.iloc[i, j], values.iloc[j, i] = r["diff"], -r["diff"]
        words.iloc[i, j], words.iloc[j, i] = (signed(d, "+.3f") + star for d in (r["diff"], -r["diff"]))
    return values, words


def comparisons(material: Material) -> Iterator[Exhibit]:
    """Each comparison: a matrix of SRCC differences as a figure, and a table of all pairs with the intervals."""
    for sheet in material.sheets:
        if sheet.record.get("command") == "compare":
            yield from comparison(sheet, compared_names(material, sheet.record))


def comparison(sheet: Sheet, names: dict[str, str]) -> Iterator[Exhibit]:
    """The exhibits of one comparison."""
    record, table = sheet.record, sheet.table
    methods = record.get("methods") or ()
    weights = own_weights([m for m in methods if m.get("score") in CUES])
    place = f"{set_words(record['dataset'])}." + (f" Weights: {'; '.join(weights)}." if weights else "")
    values, words = matrix(table[table["statistic"] == "srcc"], names)
    star = f"* p < {SIGNIFICANCE:g} (adjusted for all pairs)."
    star += " ‡ not tested." if words.map(lambda text: text.endswith("‡")).to_numpy().any() else ""
    caption = f"SRCC of the row's method minus the column's on {place} {star}"
    bar = "Difference in SRCC"
    yield Exhibit("matrix", sheet.result, caption, of=sheet.result, wide=len(values) > 3,
                  draw=lambda stem: heat_map(stem, values, words=words, zlabel=bar, symmetric=True))  # fmt: skip
    named = table.assign(
        **{side: table[side].map(lambda k: names.get(k, k)) for side in ("a", "b")},
        **simultaneous(table),
        statistic=table["statistic"].map(statistic),
    )
    caption = f"All pairs on {place} Brackets: simultaneous 95 % intervals{clustered(record)}."
    heads = {"a": "a", "b": "b", "statistic": "statistic", "value_a": "value of a", "value_b": "value of b"}
    whole = frame_table(
        named, heads | {"diff": "a − b", "p_adjusted": "p (adjusted)"}, name=sheet.name, title=caption
    )
    notes = [f"{m['name']}: {m['note']}." for m in methods if m.get("note")]
    yield Exhibit("pairs", sheet.name, caption, replace(whole, data=table, notes=notes), of=sheet.result)


def experiments(material: Material) -> Iterator[Exhibit]:
    """Figures and tables of every result that is no run, ablation or comparison."""
    done: set[str] = set()
    for sheet in material.sheets:
        record = sheet.record
        if sheet.ablation or record.get("command") in ("compare", "ablate -m"):
            continue
        if sheet.result not in done:
            done.add(sheet.result)
            if experiment_name(record) != "teaser" or material.asked.thumbnails:
                yield from _figures(sheet)
        stem, name = sheet.file.stem, experiment_name(record)
        if name == "cost":
            yield _cost(sheet)
        if name in ("cost", "teaser"):
            continue
        data = record.get("dataset") or {}
        words = {"label": short_label(str(data.get("label") or "mos")), "group": group_word(data)}
        title = f"{TABLES[stem].format(**words)} on" if stem in TABLES else f"{result_title(record, stem)}."
        caption = f"{title} {where(record)}".strip()
        frame = sheet.table[[c for c in sheet.table if "_within" not in str(c)]]
        if "group" in frame:
            frame = frame.assign(group=[group_name(str(g), record["dataset"]) for g in frame["group"]])
        table = frame_table(frame.assign(**simultaneous(frame)), name=sheet.name, title=caption)
        heads = [(group, head.replace("MOS", words["label"])) for group, head in table.columns]
        sides = ["Intervals of differences and p hold for all rows at once; other intervals for one row."]
        sides *= "ci_simultaneous_low" in frame
        table = replace(table, columns=heads, notes=[*table.notes, *sides, *study_notes(record)])
        yield Exhibit("experiments", sheet.name, caption, replace(table, data=sheet.table), of=sheet.result)


def left_out(material: Material) -> Iterator[Exhibit]:
    """The variants of each ablation that are best on the other data sets of its sweep."""
    for sheet in (s for s in material.sheets if s.record.get("command") == "ablate -m"):
        name, labels = sheet.file.stem.removesuffix("-left_out"), set(sheet.table["label"])
        others = [
            s.record["dataset"]
            for s in material.sheets
            if s.ablation and s.record["ablation"]["name"] == name
        ]
        missing = {
            set_name(d): "not in the same sweep" if d["label"] in labels else short_label(d["label"])
            for d in others if f"{d['name']} {d['variant']}".strip() not in set(sheet.table["dataset"])
        }  # fmt: skip
        title = (
            f"{ablation_title({'name': name})}: the variant that is best on the other data sets of the sweep."
        )
        table = frame_table(sheet.table, name=sheet.name, title=title)
        notes = [*table.notes, "Gains are in SRCC, each of the variant at its left. Shortfall: the gain of the best on "
                 "this data set minus that of the variant chosen on the others.",
                 *[f"Not among them: {'; '.join(f'{k} ({v})' for k, v in missing.items())}."] * bool(missing),
                 ]  # fmt: skip
        yield Exhibit("details", sheet.name, title, replace(table, notes=notes), of=sheet.result)


def experiment_name(record: Record) -> str:
    """Return the name of a record's experiment; empty for any other record."""
    return str((record.get("experiment") or {}).get("name") or "")


def _cost(sheet: Sheet) -> Exhibit:
    """Return the cost of each method and backbone: a group of columns for each size of image."""
    bone, alike = sheet.table.iloc[0], len(set(sheet.table["backbone"])) == 1
    shown = sheet.table.drop(columns=["backbone", "parameters"] if alike else [])
    heads = [
        (size.replace("x", "×"), {"gmacs": "GMACs", "views": "Views"}.get(what, what))
        if size else ("", "Parameters (M)" if what == "parameters" else what.capitalize())
        for what, _, size in (str(key).partition("_") for key in shown)
    ]  # fmt: skip
    cells = [
        [Cell(f"{v:,}", v) if isinstance(v, int) else number(v, form=".1f") if isinstance(v, float) else Cell(v, v)
         for v in row] for row in shown.itertuples(index=False)]  # fmt: skip
    notes = [f"Backbone: {bone['backbone']}, {bone['parameters']:.1f} M parameters."] if alike else []
    engine = sheet.record.given["engine"]
    caption = (
        "Multiply-accumulates (GMACs) of the image tower and time (ms) for an image of each size. "
        f"{engine['machine']}, {engine['engine']} {engine['precision']}."
    )
    table = Table(sheet.name, caption, heads, cells, sheet.table, [*notes, *study_notes(sheet.record)])
    return Exhibit("cost", sheet.name, caption, table, of=sheet.result)


def _figures(sheet: Sheet) -> Iterator[Exhibit]:
    """The figures that a record lists, copied as they were drawn; nothing else that lies there."""
    captions = (sheet.record.get("experiment") or {}).get("captions") or {}
    wide = ((sheet.record.get("config") or {}).get("style") or {}).get("width") == "page"
    names = [n for n in files_of(sheet.record) if n.startswith("figures/") and n.endswith(".png")]
    for name in sorted(names, key=lambda name: [*captions, Path(name).stem].index(Path(name).stem)):
        stem = Path(name).stem
        caption = str(captions.get(stem) or f"{stem.replace('_', ' ')}. {where(sheet.record)}")
        main = experiment_name(sheet.record) == "teaser" and stem != "disagreements"
        yield Exhibit("teaser" if main else "experiments", f"{sheet.result}/{stem}", caption, draw=_copy(sheet, name),
                      of=sheet.result, wide=wide)  # fmt: skip


def _copy(sheet: Sheet, name: str) -> Callable[[Path], list[Path]]:
    def copy(stem: Path) -> list[Path]:
        stem.parent.mkdir(parents=True, exist_ok=True)
        out = []
        for suffix in (".png", ".pdf"):
            file = name.removesuffix(".png") + suffix
            if file in files_of(sheet.record):
                out.append(stem.with_name(stem.name + suffix))
                out[-1].write_bytes(read_listed(sheet.file.parent, sheet.record, file))
        return out

    return copy
