"""Published values: a table beside measured ones, and rows of the main table."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from magiqa.errors import UserError
from magiqa.package import expanded
from magiqa.report.exhibit import Exhibit
from magiqa.report.material import Material
from magiqa.report.published import PROTOCOLS, comparable, follows, option, published
from magiqa.report.table import NONE, Cell, Table, number
from magiqa.report.words import backbone_name, set_key, statistic
from magiqa.runs.read import Run


def published_table(material: Material) -> Iterator[Exhibit]:
    """Published values beside measured ones of the same method, protocol and set."""
    found = [row for run in material.runs if not comparable(run.record) for row in _beside(run)[0]]
    if not found:
        return
    data = pd.DataFrame(found)
    cells = [
        [
            *(Cell(str(r[c]), r[c]) for c in ("dataset", "method")),
            Cell(statistic(r["compared"]), r["statistic"]),
            number(r["measured"], r["ci_low"], r["ci_high"], form=".3f"),
            Cell(f"{r['published']:g}", r["published"]),
            number(r["difference"], form="+.3f"),
            *(Cell(str(r[c]), r[c]) for c in ("source", "grade", "remarks")),
        ]
        for r in found
    ]
    names = (
        "Data set",
        "Method",
        "Statistic",
        "Measured",
        "Published",
        "Difference",
        "Source",
        "Grade",
        "Remarks",
    )
    caption = "Published values beside measured ones of the same protocol."
    notes = [
        "Grade A: read in the primary source; B: quoted by another paper; C: from a summary of the paper."
    ]
    heads = [("", name) for name in names]
    yield Exhibit("published", "published", caption, Table("published", caption, heads, cells, data, notes))


def refused(material: Material) -> list[str]:
    """Return why runs have no published value beside theirs."""
    out = []
    for run in material.runs:
        reason = comparable(run.record)
        out += [f"{run.name}: {reason}"] if reason else _beside(run)[1]
    return out


def _beside(run: Run) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the published values that a run may stand beside, and what keeps others away."""
    values = run.agreement.set_index(["score", "statistic"])
    record, bone = run.record, run.record["backbone"]
    found, problems = [], []
    for row in published().to_dict("records"):
        protocol = PROTOCOLS.get(str(row["method"]))
        if protocol is None or record["choices"].get("dataset") != option(row["method"], row["dataset"]):
            continue
        if bone["name"] != protocol.backbone or not follows(record, protocol):
            continue
        if (protocol.score, row["statistic"]) not in values.index:
            continue
        remarks, compared = [protocol.remark], row["statistic"]
        if compared == "plcc" and "raw" not in str(row["setting"]).lower():
            # of fitted values, or not said: only the same fit gives a number that can stand beside it
            fit = record.get("fits", {}).get(protocol.score) or {}
            if fit.get("method") != "official":
                problems.append(
                    f"{run.name}: {row['method']} published a PLCC not said to be raw: set fit=official"
                )
                continue
            compared = "plcc_logistic"
            remarks.append(
                "PLCC of the official fit" + ("" if fit.get("status") == "ok" else f" ({fit['status']})")
            )
        measured: Any = values.loc[(protocol.score, compared)]
        if not pd.isna(row["n"]) and row["n"] != record["dataset"]["n"]:
            remarks.append(f"n {record['dataset']['n']:,} here, {row['n']:,} there")
        remarks += ["weights given by path"] if bone["kind"] == "given" else []
        found.append({
            "dataset": record["choices"]["dataset"], "run": run.name, "backbone": backbone_name(bone),
            **{key: row[key] for key in ("method", "setting", "statistic")}, "compared": compared,
            "measured": measured["value"], "ci_low": measured["ci_low"], "ci_high": measured["ci_high"],
            "published": row["value"], "difference": measured["value"] - row["value"],
            "source": row["source"], "grade": row["grade"], "remarks": "; ".join(filter(None, remarks)),
        })  # fmt: skip
    return found, problems


@dataclass(frozen=True)
class Quoted:
    """A published row of the main table: a name with its source, and a cell a column."""

    name: str
    cells: list[Cell]


def published_rows(material: Material, columns: Sequence[tuple[str, str]]) -> list[Quoted]:
    """Return the published rows that were asked for.

    A value stands only in the column of its own data set option, count of images and kind of PLCC.

    Args:
        columns: (data set, statistic) each.

    Raises:
        UserError: an unknown method, one that is known from summaries alone (grade C), or weights here that never
            stand beside a published number.
    """
    asked = material.asked.published
    if not asked:
        return []
    for run in material.runs:
        bone = run.record["backbone"]
        if bone.get("label") or bone.get("kind") not in ("published", "given"):
            raise UserError(
                f"published: {run.name}: {comparable(run.record)}; leave out that run or published="
            )
    table = _asked_rows(asked)
    of_set: dict[str, list[Run]] = {}
    for run in material.runs:
        of_set.setdefault(material.titles[set_key(run.record["dataset"])], []).append(run)
    out = []
    for method, part in table.groupby("method", sort=False):
        cells = []
        for title, one in columns:
            runs = of_set.get(title, [])
            values = [float(r["value"]) for r in part.to_dict("records")
                      if r["kind"] == one and runs and all(_same_set(run, r) for run in runs)]  # fmt: skip
            cells.append(number(values[0] if values else np.nan, form=".3f"))
        if all(cell.text == NONE for cell in cells):
            raise UserError(
                f"published={method}: no value of it is of a data set, count of images and statistic here"
            )
        out.append(Quoted(f"{method} {_source(part.iloc[0])}", cells))
    return out


def _asked_rows(asked: Sequence[str]) -> pd.DataFrame:
    """Return the rows of the methods that were asked for, with the kind of each statistic."""
    parts = []
    for name in asked:
        if name.endswith(".csv"):
            own = pd.read_csv(expanded(name), dtype={"dataset": str, "method": str})
            missing = [c for c in ("method", "dataset", "statistic", "value") if c not in own]
            if missing:
                raise UserError(
                    f"{name}: the column {missing[0]} is missing; it needs method, dataset, statistic, value"
                )
            parts.append(own.assign(kind=own["statistic"]))
            continue
        table = published()
        rows = table[table["method"] == name]
        if not len(rows):
            raise UserError(f"published={name} is not known: use {'; '.join(sorted(set(table['method'])))}")
        rows = rows[rows["grade"] != "C"]
        if not len(rows):
            raise UserError(
                f"published={name}: known from a summary alone (grade C), which is not shown; leave it out"
            )
        parts.append(rows.assign(kind=[_kind(r) for r in rows.to_dict("records")]))
    return pd.concat(parts, ignore_index=True)


def _kind(row: Mapping[str, Any]) -> str:
    """Return the statistic of a row, with the kind of its PLCC; empty where its source does not say."""
    words = f"{row['setting']} {row['source']}".lower()
    if row["statistic"] != "plcc":
        return str(row["statistic"])
    return "plcc" if "raw" in words else "plcc_logistic" if "logistic" in words else ""


def _same_set(run: Run, row: Mapping[str, Any]) -> bool:
    n = row.get("n")
    if comparable(run.record) or (n is not None and not pd.isna(n) and int(n) != run.record["dataset"]["n"]):
        return False
    return run.record["choices"].get("dataset") == option(str(row["method"]), str(row["dataset"]))


def _source(row: Mapping[str, Any]) -> str:
    """Return the citation of a row, or its source in words."""
    cite = row.get("cite")
    if cite is not None and not pd.isna(cite):
        return f"[@{cite}]"
    source = str(row.get("source") or "")
    if arxiv := re.search(r"\d{4}\.\d{5}", source):
        return f"[@arxiv{arxiv[0]}]"
    return f"({source.partition(';')[0][:40]})" if source and source != "nan" else ""
