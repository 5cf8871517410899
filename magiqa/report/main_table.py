"""The main table: methods by data sets, with published rows and averages; and backbones by methods."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from magiqa.errors import UserError
from magiqa.report.captions import fit_words, weights_note
from magiqa.report.escape import DAGGER
from magiqa.report.exhibit import Exhibit
from magiqa.report.marks import UNTESTED, marks
from magiqa.report.material import Material
from magiqa.report.plots import forest
from magiqa.report.published_exhibits import published_rows
from magiqa.report.table import NONE, Cell, Table, number
from magiqa.report.words import LOWER_IS_BETTER, STATISTICS, set_key, statistic
from magiqa.runs.names import CONTROLS

DEFAULT = ("srcc", "plcc_logistic")

FITTED = ("plcc_logistic", "rmse_logistic")


def signed_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with PLCC after the fit carrying the sign of the raw PLCC, and without its interval."""
    rows = rows.copy()
    keys = ["run", "score"]
    raw = rows[rows["statistic"] == "plcc"].set_index(keys)["value"]
    fitted = rows["statistic"] == "plcc_logistic"
    sign = np.sign(raw.reindex(pd.MultiIndex.from_frame(rows.loc[fitted, keys])).to_numpy(float))
    rows.loc[fitted, "value"] = rows.loc[fitted, "value"].abs() * np.where(sign < 0, -1.0, 1.0)
    rows.loc[rows["statistic"].isin(FITTED), ["ci_low", "ci_high"]] = np.nan
    return rows


def statistics_of(material: Material) -> list[str]:
    """Return the statistics to show: those asked for, else SRCC and PLCC.

    Raises:
        UserError: a statistic that no run has.
    """
    present = set(material.rows["statistic"])
    for name in material.asked.statistics:
        if name not in present:
            raise UserError(
                f"statistics={name} is in no run here: use {', '.join(s for s in STATISTICS if s in present)}"
            )
    return list(dict.fromkeys(material.asked.statistics)) or [s for s in DEFAULT if s in present]


def main_table(material: Material) -> Iterator[Exhibit]:
    """Methods by data sets: best bold, second underlined, those not significantly worse than the best SRCC marked."""
    if not material.runs:
        return
    chosen = statistics_of(material)
    rows = signed_rows(material.rows)
    rows = rows[rows["statistic"].isin(chosen)]
    rows = rows.merge(marks(material, rows), on=["run", "score", "statistic"], how="left")
    sets = list(dict.fromkeys(rows["dataset"]))
    lines = _lines(material, rows)
    columns = [
        (one, s)
        for one in sets
        for s in chosen
        if ((rows["dataset"] == one) & (rows["statistic"] == s)).any()
    ]
    by = {(r["method"], r["backbone"], r["dataset"], r["statistic"]): r for r in rows.to_dict("records")}
    bones = list(dict.fromkeys(b for _, b, _ in lines if b))
    several = len(bones) > 1
    quoted = published_rows(material, columns)
    alike = sets_to_average(material, sets)
    averaged = [s for s in chosen if len(alike) > 1]
    cells: list[list[Cell]] = [
        [
            Cell(row.name, row.name),
            *([Cell(NONE)] if several else []),
            *row.cells,
            *([Cell(NONE)] * len(averaged)),
        ]
        for row in quoted
    ]
    means = {s: _averages(lines, alike, by, s) for s in averaged}
    for k, (method, bone, _) in enumerate(lines):
        line = [Cell(method, method), *([Cell(bone or NONE, bone)] if several else [])]
        line += [_cell(by.get((method, bone, *column)), column[1]) for column in columns]
        cells.append([*line, *(means[s][k] for s in averaged)])
    controls = next((k for k, (_, _, control) in enumerate(lines) if control), None)
    blocks = {len(quoted): ""} if quoted else {}
    blocks |= {len(quoted) + controls: ""} if controls else {}
    heads = [("", "Method"), *([("", "Backbone")] if several else [])]
    heads += [(one if len(sets) > 1 else "", statistic(s)) for one, s in columns]
    heads += [("Average", statistic(s)) for s in averaged]
    where = f"on {sets[0]}" if len(sets) == 1 else f"on {len(sets)} data sets"
    caption = f"{' and '.join(statistic(s) for s in chosen)} of each method {where}."
    caption += (
        f" Backbone: {bones[0]}." if len(bones) == 1 else f" {weights_note(list(material.records.values()))}"
    )
    notes = [" ".join(_notes(material, rows, chosen, alike if averaged else [], sets, bool(quoted)))]
    data = rows.assign(set=rows["dataset"]).drop(columns="set")
    table = Table("agreement", caption.strip(), heads, cells, data, notes, blocks, details=len(sets) == 1)
    yield Exhibit("main", "agreement", caption.strip(), table)


def _lines(material: Material, rows: pd.DataFrame) -> list[tuple[str, str, bool]]:
    """Return (method, backbone, is a control) of each row in order.

    Raises:
        UserError: a row that was asked for is not there.
    """
    control = rows["score"].isin(list(CONTROLS))
    every = list(dict.fromkeys(zip(rows["method"], rows["backbone"], control, strict=True)))
    lines = [line for line in every if not line[2]] + [line for line in every if line[2]]
    names = [method for method, _, _ in lines]
    for name in [*material.asked.rows, *([material.asked.last] if material.asked.last else [])]:
        if name not in names:
            raise UserError(
                f"rows: there is no method {name}; the methods here are {'; '.join(dict.fromkeys(names))}"
            )
    if material.asked.rows:
        lines = [line for name in material.asked.rows for line in lines if line[0] == name]
    last = material.asked.last
    return [line for line in lines if line[0] != last] + [line for line in lines if line[0] == last]


def _cell(row: Mapping[str, Any] | None, one: str) -> Cell:
    """Return a value with its interval, its rank's mark, and the sign of the test."""
    if row is None:
        return Cell(NONE)
    sign = (
        ""
        if one in FITTED
        else UNTESTED
        if row["untested"] is True
        else DAGGER
        if row["in_best_set"] is True
        else ""
    )
    mark = {1: "best", 2: "second"}.get(row["rank"], "")
    return number(row["value"], row["ci_low"], row["ci_high"], form=".3f", mark=mark, suffix=sign)


def sets_to_average(material: Material, sets: Sequence[str]) -> list[str]:
    """Return the sets of the label that most of them have, MOS before others: no SSIM is a MOS."""
    by: dict[str, list[str]] = {}
    for run in material.runs:
        title = material.titles[set_key(run.record["dataset"])]
        if title in sets and title not in by.setdefault(run.label, []):
            by[run.label].append(title)
    return max(by.values(), key=lambda some: (len(some), some is by.get("mos")), default=[])


def _averages(
    lines: Sequence[tuple[str, str, bool]], sets: Sequence[str], by: Mapping[Any, Any], one: str
) -> list[Cell]:
    """Return the mean over sets of each method that is on all of them."""
    values = []
    for method, bone, _ in lines:
        row = [by.get((method, bone, name, one), {}).get("value", np.nan) for name in sets]
        values.append(float(np.mean(row)))
    competing = pd.Series(
        [np.nan if control else v for v, (_, _, control) in zip(values, lines, strict=True)]
    )
    order = competing.round(3).rank(method="min", ascending=one in LOWER_IS_BETTER)
    marks = {1.0: "best", 2.0: "second"} if len(set(competing.dropna())) > 1 else {}
    return [number(v, form=".3f", mark=marks.get(r, "")) for v, r in zip(values, order, strict=True)]


def _notes(
    material: Material,
    rows: pd.DataFrame,
    chosen: Sequence[str],
    alike: Sequence[str],
    sets: Sequence[str],
    quoted: bool,
) -> list[str]:
    notes = ["Bold: best; underlined: second."]
    if "plcc_logistic" in chosen:
        notes.append(f"PLCC: after a {fit_words(list(material.records.values()))} fit on the same images.")
    if rows["in_best_set"].eq(True).any():
        notes.append(f"{DAGGER} not significantly worse than the best (paired tests, all pairs at once).")
    if (rows["untested"].eq(True) & ~rows["statistic"].isin(FITTED)).any():
        notes.append(f"{UNTESTED} not tested: other images.")
    if alike and len(alike) < len(sets):
        notes.append(f"Average: {', '.join(alike)}.")
    return notes + (["First rows: as published."] if quoted else [])


def backbones(material: Material) -> Iterator[Exhibit]:
    """Backbones by methods, SRCC, where several backbones ran."""
    if not material.runs:
        return
    rows = material.rows
    own = rows[(rows["statistic"] == "srcc") & (rows["backbone"] != "")]
    shared = own.groupby("method")["backbone"].nunique()
    own = own[own["method"].isin(shared[shared > 1].index)]
    if not len(own):
        return
    keys = ["dataset", "method"]
    table = own.pivot_table(index="backbone", columns=keys, values="value", aggfunc="first", sort=False)
    best = table.round(3).rank(ascending=False, method="min")
    cells = [
        [Cell(str(bone), str(bone)), *(number(table.loc[bone, c], form=".3f",
                                              mark={1.0: "best", 2.0: "second"}.get(best.loc[bone, c], ""))
                                       for c in table)]
        for bone in table.index
    ]  # fmt: skip
    several = len(set(own["dataset"])) > 1
    heads = [("", "Backbone"), *((one if several else "", method) for one, method in table)]
    where = "" if several else f" on {own['dataset'].iloc[0]}"
    caption = f"SRCC of each backbone{where}. {weights_note(list(material.records.values()))}".strip()
    notes = ["Bold: best of the column; underlined: second. Not tested."]
    yield Exhibit("backbones", "backbones", caption, Table("backbones", caption, heads, cells, own, notes))


def methods_figure(material: Material) -> Iterator[Exhibit]:
    """SRCC of every method on every set with intervals, in the order of the main table."""
    if not material.runs:
        return
    rows = material.rows[material.rows["statistic"] == "srcc"]
    lines = _lines(material, rows)
    bones = {b for _, b, _ in lines if b}
    name_of = {(m, b): m if len(bones) < 2 or not b else f"{m}, {b}" for m, b, _ in lines}
    frame = pd.DataFrame({
        "set": rows["dataset"],
        "name": [name_of.get(key, "") for key in zip(rows["method"], rows["backbone"], strict=True)],
        "value": rows["value"], "low": rows["ci_low"], "high": rows["ci_high"],
    })  # fmt: skip
    names, controls = list(name_of.values()), [m for m, _, control in lines if control]
    caption = "SRCC of each method with 95 % intervals. Hollow: controls, which know nothing of quality. "
    caption += weights_note(list(material.records.values()))
    yield Exhibit("methods", "methods", caption.strip(),
                  draw=lambda stem: forest(stem, frame, names, xlabel="SRCC", hollow=controls))  # fmt: skip
