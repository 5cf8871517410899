"""The exhibits of comparisons and experiments.

A comparison has a matrix of paired differences, and a table of all pairs. An experiment has its figures as they were
drawn, and its tables.
"""

import re
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
    clustered,
    method_names,
    primary,
    result_title,
    score_name,
    study_notes,
    weights_note,
    where,
    within_words,
)
from magiqa.report.table import Cell, Table, frame_table, number, signed, simultaneous
from magiqa.report.words import (
    SCORES,
    backbone_name,
    capital,
    column,
    group_name,
    group_word,
    set_words,
    short_label,
    statistic,
)
from magiqa.runs.read import CONTROLS, CUES, Sheet, files_of, read_listed
from magiqa.stats.family import SIGNIFICANCE

TABLES = {  # captions of the experiments' tables; {label} is MOS or what stands for it
    "align": "SRCC with the MOS of quality and of alignment to the prompt",
    "bias": "Share of the variance of the magnitude cue and {label} that lies between contents",
    "cells": "SRCC with and without each factor of MA-CLIP",
    "few_labels": "SRCC of predictors that are fitted to few labels",
    "group": "SRCC of each cue by {group}",
    "level": "SRCC of each cue by distortion level",
    "magnitude": "Definitions of the magnitude cue and alternatives to it",
    "main": "SRCC of CLIP-IQA, MA-CLIP, its cues and controls",
    "pairs": "Image pairs that a score orders as raters do",
    "pristine": "Detection of distortion and SRCC with distortion level",
    "redundancy": "SRCC between definitions of the magnitude cue",
    "regimes": "Differences in SRCC between cues inside bins of {label}",
    "shares": "Mean gain in SRCC of each factor of MA-CLIP",
    "steps": "Gain in SRCC of each factor of MA-CLIP, added to CLIP-IQA and other factors",
    "weights": "Mean weight of similarity and mean cues in bins of {label}",
}

ENGINES = {"openvino": "OpenVINO", "torch": "PyTorch"}

MOST_NARROW = 3  # methods of a matrix that a column holds

PLOTTED = ("few_labels", "weights")  # whose figures show best what their tables hold; of others the tables do


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

    Where names are long, rows are numbered, and columns go by these numbers.
    """
    keys = list(dict.fromkeys([*pairs["a"], *pairs["b"]]))
    rows = columns = [names.get(key, key) for key in keys]
    if max(map(len, rows)) * len(rows) > (
        80 if len(rows) > MOST_NARROW else 34
    ):  # letters that stand below cells
        columns = [str(k + 1) for k in range(len(keys))]
        rows = [f"{k}  {name}" for k, name in zip(columns, rows, strict=True)]
    values = pd.DataFrame(np.nan, index=rows, columns=columns)
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
    weights = weights_note(m for m in methods if m.get("score") in CUES)
    place = f"{set_words(record['dataset'])}. {weights}".strip()
    values, words = matrix(table[table["statistic"] == "srcc"], names)
    star = f"* p < {SIGNIFICANCE:g} (adjusted for all pairs)."
    star += " ‡ not tested." if words.map(lambda text: text.endswith("‡")).to_numpy().any() else ""
    caption = f"SRCC of the row's method minus the column's on {place} {star}"
    bar = "Difference in SRCC"
    yield Exhibit("matrix", sheet.result, caption, of=sheet.result, wide=len(values) > MOST_NARROW,
                  draw=lambda stem: heat_map(stem, values, words=words, zlabel=bar, symmetric=True))  # fmt: skip
    sides = {side: table[side].map(lambda k: names.get(k, k)) for side in ("a", "b")}
    named = table.assign(**sides, **simultaneous(table))
    words = table["statistic"].map(lambda key: within_words(statistic(key), record))
    blocks = {int(np.flatnonzero(words == name)[0]): name for name in dict.fromkeys(words)}
    caption = f"All pairs of methods on {place} Brackets: simultaneous 95 % intervals{clustered(record)}."
    heads = {"a": "A", "b": "B", "value_a": "Value of A", "value_b": "Value of B"}
    whole = frame_table(
        named, heads | {"diff": "A − B", "p_adjusted": "p (adjusted)"}, name=sheet.name, title=caption
    )
    notes = ["Intervals and p are adjusted within each block."]
    notes += [f"{m['name']}: {m['note']}." for m in methods if m.get("note")]
    whole = replace(whole, data=table, notes=notes, blocks=blocks)
    yield Exhibit("pairs", sheet.name, caption, whole, of=sheet.result)


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
        title = f"{table_title(record, stem)} on" if stem in TABLES else f"{result_title(record, stem)}."
        caption = f"{title} {where(record)}".strip()
        frame = sheet.table[[c for c in sheet.table if "_within" not in str(c)]]
        if "group" in frame:
            frame = frame.assign(group=[group_name(str(g), record["dataset"]) for g in frame["group"]])
        table = study_table(frame.assign(**simultaneous(frame)), record, name=sheet.name, title=caption)
        pointwise = [c for c in frame if c.endswith("_low") and c not in ("diff_low", "ci_simultaneous_low")]
        sides = [f"Differences: simultaneous 95 % intervals{'; others: pointwise' * bool(pointwise)}."]
        if "ci_simultaneous_low" not in frame:
            sides = ["Brackets: 95 % intervals."] * any(str(c).endswith("_low") for c in frame)
        sides += ["p: adjusted over the rows of this table."] * ("p_adjusted" in frame)
        stems = {Path(n).stem for n in files_of(record) if n.endswith(".csv")} - {stem}
        own = [n for n in study_notes(record) if n.partition(":")[0].lower() not in stems]
        own = [worded(capital(n.removeprefix(f"{capital(stem)}: ")), record) for n in own]
        table = replace(table, data=sheet.table, notes=[*table.notes, *sides, *own])
        yield Exhibit("experiments", sheet.name, caption, table, of=sheet.result, twin=name in PLOTTED)


def table_title(record: Record, stem: str) -> str:
    """Return what an experiment's table shows, in the words of its data set."""
    data = record.get("dataset") or {}
    words = {"label": short_label(str(data.get("label") or "mos")), "group": group_word(data)}
    return TABLES.get(stem, capital(stem.replace("_", " "))).format(**words)


def study_table(frame: pd.DataFrame, record: Record, name: str = "", title: str = "") -> Table:
    """Return an experiment's table in the words of its data set and method."""
    table = frame_table(frame, name=name, title=title)
    heads = [(group, worded(head, record)) for group, head in table.columns]
    rows = [[replace(cell, text=worded(cell.text, record)) for cell in row] for row in table.rows]
    return replace(table, columns=heads, rows=rows)


def worded(text: str, record: Record) -> str:
    """Return text in which a paper's own method goes by its name, and MOS by what stands for it."""
    data, method = record.get("dataset") or {}, capital(score_name(record, "q").removeprefix("the "))
    words = {SCORES["q"]: method, "Group": capital(group_word(data)),
             "MOS": short_label(str(data.get("label") or "mos"))}  # fmt: skip
    return re.sub(rf"\b(?:{'|'.join(words)})", lambda match: words[match[0]], text)


def experiment_name(record: Record) -> str:
    """Return the name of a record's experiment; empty for any other record."""
    return str((record.get("experiment") or {}).get("name") or "")


def _cost(sheet: Sheet) -> Exhibit:
    """Return the cost of each method and backbone: a group of columns for each size of image."""
    table = sheet.table.assign(backbone=[backbone_name({"name": name}) for name in sheet.table["backbone"]])
    bone, alike = table.iloc[0], len(set(table["backbone"])) == 1
    shown = table.drop(columns=["backbone", "parameters"] if alike else [])
    heads = [(size, head) for head, _, size in (column(str(key)).partition(", ") for key in shown)]
    cells = [
        [Cell(f"{v:,}", v) if isinstance(v, int) else number(v, form=".0f" if v >= 1000 else ".1f")
         if isinstance(v, float) else Cell(v, v)
         for v in row] for row in shown.itertuples(index=False)]  # fmt: skip
    notes = [f"Backbone: {bone['backbone']}, {bone['parameters']:.1f} M parameters."] if alike else []
    engine = sheet.record.given["engine"]
    caption = (
        "Parameters, multiply-accumulates (GMACs) and time per image. "
        f"{engine['machine']}, {ENGINES.get(engine['engine'], engine['engine'])}, "
        f"{str(engine['precision']).replace('fp', 'float')}."
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
        caption = worded(str(captions.get(stem) or f"{stem}. {where(sheet.record)}"), sheet.record)
        main = experiment_name(sheet.record) == "teaser" and stem != "disagreements"
        twin = not main and experiment_name(sheet.record) not in (*PLOTTED, "teaser")
        yield Exhibit("teaser" if main else "experiments", f"{sheet.result}/{stem}", caption, draw=_copy(sheet, name),
                      of=sheet.result, wide=wide, twin=twin)  # fmt: skip


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
