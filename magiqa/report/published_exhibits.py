"""Published values: a table beside measured ones, and rows of the main table."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from magiqa.errors import UserError
from magiqa.package import expanded
from magiqa.report.exhibit import Exhibit
from magiqa.report.material import Material
from magiqa.report.published import PROTOCOLS, comparable, follows, option, published
from magiqa.report.table import Cell, frame_table, number
from magiqa.report.words import backbone_name, set_key, statistic
from magiqa.runs.read import Run

HEADS = {
    "dataset": "Data set",
    "method": "Method",
    "compared": "Statistic",
    "measured": "Measured",
    "published": "Published",
    "difference": "Difference",
    "source": "Source",
    "grade": "Grade",
    "remarks": "Remarks",
}


def published_table(material: Material) -> Iterator[Exhibit]:
    """Published values beside measured ones of the same method, protocol and set."""
    rows = [row for run in material.runs if not comparable(run.record) for row in _beside(run)[0]]
    if rows:
        caption = "Published values beside measured ones of the same protocol."
        data = pd.DataFrame(rows)
        table = frame_table(
            data.assign(compared=data["compared"].map(statistic)), HEADS, name="published", title=caption
        )
        grades = (
            "Grade A: read in the primary source; B: quoted by another paper; C: from a summary of the paper."
        )
        yield Exhibit("published", "published", caption, replace(table, data=data, notes=[grades]))


def refused(material: Material) -> list[str]:
    """Return why runs have no published value beside theirs."""
    out = []
    for run in material.runs:
        reason = comparable(run.record)
        out += [f"{run.name}: {text}" for text in ([reason] if reason else _beside(run)[1])]
    return out


def _beside(run: Run) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the published values that a run may stand beside, and what keeps others away."""
    values = run.agreement.set_index(["score", "statistic"])
    record, bone = run.record, run.record["backbone"]
    rows, problems = [], []
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
            fit = record["fits"].get(protocol.score) or {}
            if fit.get("method") != "official":
                problems.append(f"{row['method']} published a PLCC not said to be raw: set fit=official")
                continue
            compared = "plcc_logistic"
            remarks.append("PLCC of the official fit" + f" ({fit['status']})" * (fit.get("status") != "ok"))
        if not pd.isna(row["n"]) and row["n"] != record["dataset"]["n"]:
            remarks.append(f"n {record['dataset']['n']:,} here, {row['n']:,} there")
        remarks += ["weights given by path"] if bone["kind"] == "given" else []
        measured: Any = values.loc[(protocol.score, compared)]
        rows.append({
            "dataset": record["choices"]["dataset"], "run": run.name, "backbone": backbone_name(bone),
            **{key: row[key] for key in ("method", "setting", "statistic", "source", "grade")}, "compared": compared,
            "measured": measured["value"], "measured_low": measured["ci_low"], "measured_high": measured["ci_high"],
            "published": row["value"], "difference": measured["value"] - row["value"],
            "remarks": "; ".join(filter(None, remarks)),
        })  # fmt: skip
    return rows, problems


def published_rows(material: Material, columns: Sequence[tuple[str, str]]) -> dict[str, list[Cell]]:
    """Return the published rows that were asked for: a cell a column by the name with its source.

    A value stands only in the column of its own data set option, count of images and kind of PLCC.

    Args:
        columns: (data set, statistic) each.

    Raises:
        UserError: an unknown method, one that is known from summaries alone (grade C), or weights here that never
            stand beside a published number.
    """
    rows = [row for name in material.asked.published for row in _asked_rows(name)]
    of_set: dict[str, list[Run]] = {}
    for run in material.runs if rows else ():
        of_set.setdefault(material.titles[set_key(run.record["dataset"])], []).append(run)
        bone = run.record["backbone"]
        if bone.get("label") or bone.get("kind") not in ("published", "given"):
            raise UserError(
                f"published: {run.name}: {comparable(run.record)}; leave out that run or published="
            )
    out = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        values = [
            next(
                (
                    r["value"]
                    for r in own
                    if _kind(r) == name and all(_same_set(run, r) for run in of_set[title])
                ),
                np.nan,
            )
            for title, name in columns
        ]
        if np.isnan(values).all():
            raise UserError(
                f"published={method}: no value of it is of a data set, count of images and statistic here"
            )
        out[f"{method} {_source(own[0])}"] = [number(value, form=".3f") for value in values]
    return out


def _asked_rows(name: str) -> list[dict[str, Any]]:
    """Return the published rows of a method, or of a CSV of the user's own."""
    if name.endswith(".csv"):
        own = pd.read_csv(expanded(name), dtype={"dataset": str, "method": str})
        needed = ("method", "dataset", "statistic", "value")
        if missing := [c for c in needed if c not in own]:
            raise UserError(f"{name}: the column {missing[0]} is missing; it needs {', '.join(needed)}")
        return own.assign(kind=own["statistic"]).to_dict("records")
    table = published()
    rows = table[table["method"] == name]
    if rows.empty:
        raise UserError(f"published={name} is not known: use {'; '.join(sorted(set(table['method'])))}")
    if set(rows["grade"]) == {"C"}:
        raise UserError(
            f"published={name}: known from a summary alone (grade C), which is not shown; leave it out"
        )
    return rows[rows["grade"] != "C"].to_dict("records")


def _kind(row: Mapping[str, Any]) -> str:
    """Return the statistic of a row, with the kind of its PLCC; empty where its source does not say."""
    if "kind" in row or row["statistic"] != "plcc":
        return str(row["statistic"])
    words = f"{row['setting']} {row['source']}".lower()
    return "plcc" if "raw" in words else "plcc_logistic" if "logistic" in words else ""


def _same_set(run: Run, row: Mapping[str, Any]) -> bool:
    """Return whether a run is on the data set option and the images of a published row."""
    n, here = row.get("n"), run.record["dataset"]["n"]
    same_count = pd.isna(n) or int(n or 0) == here
    same = run.record["choices"].get("dataset") == option(str(row["method"]), str(row["dataset"]))
    return same and same_count and not comparable(run.record)


def _source(row: Mapping[str, Any]) -> str:
    """Return the citation of a row, or its source in words."""
    cite, source = (str(row[key]) if not pd.isna(row.get(key)) else "" for key in ("cite", "source"))
    arxiv = re.search(r"\d{4}\.\d{5}", source)
    cite = cite or (f"arxiv{arxiv[0]}" if arxiv else "")
    return f"[@{cite}]" if cite else f"({source.partition(';')[0][:40]})" if source else ""
