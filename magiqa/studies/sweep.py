"""Several runs in one table."""

from pathlib import Path
from typing import Any

import pandas as pd

from magiqa import __version__
from magiqa.report.table import Cell, Table
from magiqa.runs.folder import ResultFolder
from magiqa.runs.names import dataset as dataset_name

SWEEP = "evaluate -m"


def sweep_folder(path: Path) -> ResultFolder:
    """Where a sweep's combined tables go."""
    return ResultFolder(path, SWEEP, ["agreement.csv", "table.md"], record="sweep.json")


def combine(
    results: ResultFolder,
    done: list[tuple[pd.DataFrame, dict[str, Any]]],
    failures: list[dict[str, str]],
) -> str:
    """The combined table of several runs: ``agreement.csv`` (long) and ``table.md`` (methods by data sets).

    Returns:
        The Markdown, failures listed below the table.
    """
    frames = []
    for table, record in done:
        columns = {
            **record["choices"],
            "run": record["name"],
            "weights": record["backbone"]["label"] or "published",
        }
        if record["backbone"]["kind"] == "given" and not record["backbone"]["label"]:
            columns["weights"] = "given"
        columns["set"] = dataset_name(record)
        frames.append(table.assign(**columns)[[*columns, *table.columns]])
    lines = []
    if frames:
        long = pd.concat(frames, ignore_index=True)
        results.csv("agreement", long.drop(columns="set"))
        chosen = [c for c in done[0][1]["choices"] if c != "dataset" and len(set(long[c])) > 1]
        rows = long[long["statistic"].isin(["srcc", "plcc"])]
        sets = list(dict.fromkeys(rows["set"]))
        keys = [*chosen, "weights", "score"]
        # what varies inside a group of options (an overridden parameter) still gets a row of its own
        repeated = rows.duplicated(["set", "statistic", *keys]).any()
        keys = [*keys, "run"] if repeated else keys
        cells: list[list[Cell | str]] = []
        for values, group in rows.groupby(keys, sort=False):
            row: list[Cell | str] = [str(value) for value in values]
            for name in sets:
                value = group[group["set"] == name].set_index("statistic")["value"]
                row.append(f"{value['srcc']:.4f} / {value['plcc']:.4f}" if len(value) else "")
            cells.append(row)
        lines.append(Table.plain([*keys, *(f"{s} SRCC / PLCC" for s in sets)], cells).markdown().rstrip())
    if failures:
        lines += ["", f"{len(failures)} failed:", *(f"- `{f['job']}`: {f['error']}" for f in failures)]
    text = "\n".join(lines)
    results.text("table.md", text + "\n")
    jobs = {"runs": [record["name"] for _, record in done], "failed": failures}
    results.record({"magiqa": __version__, "command": SWEEP, **jobs})
    return text
