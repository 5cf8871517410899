"""Several runs in one table."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from magiqa import __version__
from magiqa.report.console import screen
from magiqa.report.table import Table, frame_table
from magiqa.report.words import set_line
from magiqa.runs.folder import ResultFolder
from magiqa.runs.read import CONTROLS

SWEEP = "evaluate -m"


def sweep_folder(path: Path) -> ResultFolder:
    """Return the folder of a sweep's combined tables."""
    return ResultFolder(path, SWEEP, ["agreement.csv", "table.md"], record="sweep.json")


def combine(
    results: ResultFolder,
    done: list[tuple[pd.DataFrame, dict[str, Any]]],
    failures: list[dict[str, str]],
) -> str:
    """Write the combined tables of several runs: ``agreement.csv`` (long), ``table.md`` (methods by data sets).

    Returns:
        The table for the console, failures below it.
    """
    frames = [table.assign(**_columns(record)) for table, record in done]
    shown: list[Table] = []
    if frames:
        long = pd.concat(frames, ignore_index=True)
        keys = [*done[0][1]["choices"], "run", "weights"]
        results.csv("agreement", long[[*keys, *done[0][0].columns]])
        shown = [_wide(long, [c for c in done[0][1]["choices"] if c != "dataset" and len(set(long[c])) > 1])]
    failed = [f"{f['job']}: {f['error']}" for f in failures]
    failed = [f"{len(failures)} failed:", *failed] if failures else []
    markdown = [*(table.markdown() for table in shown), *(f"- {line}" for line in failed)]
    results.text("table.md", "\n".join(markdown).rstrip() + "\n")
    jobs = {"runs": [record["name"] for _, record in done], "failed": failures}
    results.record({"magiqa": __version__, "command": SWEEP, **jobs})
    return screen([], [*shown, *failed])


def _columns(record: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that say which run a row is of."""
    label, kind = record["backbone"]["label"], record["backbone"]["kind"]
    weights = label or ("given" if kind == "given" else "published")
    return {
        **record["choices"],
        "run": record["name"],
        "weights": weights,
        "set": set_line(record["dataset"]),
    }


def _wide(long: pd.DataFrame, chosen: list[str]) -> Table:
    """Return SRCC and PLCC of each method by data set."""
    rows = long[long["statistic"].isin(["srcc", "plcc"])]
    rows = rows.assign(score=rows["score"].map(lambda s: f"{s} (control)" if s in CONTROLS else s))
    keys = [*chosen, *(["weights"] if len(set(rows["weights"])) > 1 else []), "score"]
    # a parameter that varies inside an option has no column: the run's name tells
    keys = [*keys, "run"] if rows.duplicated(["set", "statistic", *keys]).any() else keys
    order = rows[keys].drop_duplicates()
    wide = rows.set_index([*keys, "set", "statistic"])["value"].unstack(["set", "statistic"])  # noqa: PD010
    wide = wide.loc[list(order.itertuples(index=False, name=None)) if len(keys) > 1 else order[keys[0]]]
    wide.columns = [f"{s} {statistic.upper()}" for s, statistic in wide.columns]
    table = frame_table(wide.reset_index(), {c: c for c in [*keys, *wide.columns]}, best=wide.columns)
    return table if "weights" in keys else replace(table, notes=[f"weights: {rows['weights'].iloc[0]}"])
