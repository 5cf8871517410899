"""Published values beside measured ones of the same method on the same set."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from magiqa.report.published import PROTOCOLS, comparable, follows, published
from magiqa.report.published import option as option_of
from magiqa.report.table import Cell, Table, number
from magiqa.runs.names import backbone, dataset
from magiqa.runs.read import Run


def published_table(runs: Sequence[Run]) -> tuple[Table | None, list[str]]:
    """Published values beside measured ones of the same method on the same set, and why any run has none."""
    rows = published()
    found, refused = [], []
    for run in runs:
        reason = comparable(run.record)
        if reason:
            refused.append(f"{run.name}: {reason}")
            continue
        values = run.agreement.set_index(["score", "statistic"])
        chosen = run.record["choices"].get("dataset")
        for row in rows.to_dict("records"):
            protocol = PROTOCOLS.get(str(row["method"]))
            if protocol is None or chosen != option_of(row["method"], row["dataset"]):
                continue
            if run.record["backbone"]["name"] != protocol.backbone or not follows(run.record, protocol):
                continue
            if (protocol.score, row["statistic"]) not in values.index:
                continue
            remarks = [protocol.remark] if protocol.remark else []
            compared = row["statistic"]
            if compared == "plcc" and "raw" not in str(row["setting"]).lower():
                # of fitted values, or not said: only the same fit gives a number that can stand beside it
                fit = run.record.get("fits", {}).get(protocol.score) or {}
                if fit.get("method") != "official":
                    refused.append(
                        f"{run.name}: {row['method']} published a PLCC not said to be raw: set fit=official"
                    )
                    continue
                compared = "plcc_logistic"
                remarks.append(
                    "PLCC of the official fit" + ("" if fit.get("status") == "ok" else f" ({fit['status']})")
                )
            measured: Any = values.loc[(protocol.score, compared)]
            if not pd.isna(row["n"]) and row["n"] != run.record["dataset"]["n"]:
                remarks.append(f"n {run.record['dataset']['n']:,} here, {row['n']:,} there")
            if run.record["backbone"]["kind"] == "given":
                remarks.append("weights given by path")
            found.append(
                {
                    "dataset": dataset(run.record),
                    "run": run.name,
                    "backbone": backbone(run.record),
                    "method": row["method"],
                    "setting": row["setting"],
                    "statistic": row["statistic"],
                    "measured": measured["value"],
                    "ci_low": measured["ci_low"],
                    "ci_high": measured["ci_high"],
                    "published": row["value"],
                    "difference": measured["value"] - row["value"],
                    "source": row["source"],
                    "grade": row["grade"],
                    "remarks": "; ".join(remarks),
                }
            )
    if not found:
        return None, refused
    data = pd.DataFrame(found)
    cells = [
        [
            Cell(r["dataset"], r["dataset"]),
            Cell(r["method"], r["method"]),
            Cell(r["statistic"].upper(), r["statistic"]),
            number(r["measured"], r["ci_low"], r["ci_high"]),
            Cell(f"{r['published']:g}", r["published"]),
            number(r["difference"], form="+.4f"),
            Cell(r["source"], r["source"]),
            Cell(r["grade"], r["grade"]),
            Cell(r["remarks"], r["remarks"]),
        ]
        for r in found
    ]
    names = (
        "data set",
        "method",
        "statistic",
        "measured",
        "published",
        "difference",
        "source",
        "grade",
        "remarks",
    )
    notes = [
        "Grade A: read in the primary source; B: quoted by another paper; C: from a summary of the paper."
    ]
    return Table(
        "published", "Published values beside measured ones", [("", n) for n in names], cells, data, notes
    ), refused
