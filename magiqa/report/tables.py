"""The tables of a report: methods by data sets, published values beside measured ones, groups, and any CSV.

The same folders give the same bytes: nothing of this machine or of the day goes into a table.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from magiqa.datasets.base import occurrences
from magiqa.report.escape import DAGGER
from magiqa.report.published import PROTOCOLS, comparable, follows, published
from magiqa.report.published import option as option_of
from magiqa.report.table import NONE, Cell, Table, interval, number
from magiqa.runs.names import CONTROLS, CUES, backbone, dataset
from magiqa.runs.read import Run, long_table
from magiqa.stats.paired import compare


def agreement_table(runs: Sequence[Run], seed: int = 0) -> Table:
    """Methods by data sets: SRCC and PLCC, best bold, second underlined, ties with the best marked.

    A dagger stands where the difference to the best of the column is not significant: paired percentile bootstrap on
    the same images, p corrected by Holm within the column, 5 %.
    """
    rows = long_table(runs)
    shown = rows[rows["statistic"].isin(["srcc", "plcc"])]
    shown = shown.assign(control=shown["score"].isin(list(CONTROLS)))
    marks = _marks(runs, shown[~shown["control"]], seed)
    data = rows.merge(marks, on=["dataset", "method", "backbone", "statistic"], how="left")
    sets = list(dict.fromkeys(shown["dataset"]))
    names = shown[["control", "backbone", "method"]].drop_duplicates().sort_values("control", kind="stable")
    by = {(r.dataset, r.method, r.backbone, r.statistic): r for r in data.itertuples(index=False)}
    cells: list[list[Cell]] = []
    for name in names.itertuples(index=False):
        row = [Cell(str(name.method), str(name.method)), Cell(str(name.backbone) or "–", str(name.backbone))]
        for one in sets:
            for statistic in ("srcc", "plcc"):
                found: Any = by.get((one, name.method, name.backbone, statistic))
                row.append(_number_cell(found) if found is not None else Cell(NONE))
        cells.append(row)
    columns = [
        ("", "method"),
        ("", "backbone"),
        *((one, s.upper()) for one in sets for s in ("srcc", "plcc")),
    ]
    notes = [
        "Signed, on raw scores; 95 % bootstrap intervals. Bold: best of the column, underlined: second; controls do "
        "not compete."
    ]
    if marks["tie"].any():
        notes.append(
            f"{DAGGER} the difference to the best is not significant: paired bootstrap on the same images, "
            "Holm-corrected within the column, 5 %."
        )
    if marks["untested"].any():
        notes.append("Not tested against the best where two runs do not cover the same images of a set.")
    labels = sorted(
        {str(r.record["backbone"]["label"]) for r in runs if r.record.get("backbone", {}).get("label")}
    )
    notes += [f"Not published weights: {'; '.join(labels)}."] if labels else []
    first = int((~names["control"]).sum())
    rules = (first,) if 0 < first < len(names) else ()
    return Table(
        "agreement",
        "Agreement of each method with the label, by data set",
        columns,
        cells,
        data,
        notes,
        rules,
        len(sets) == 1,
    )


def _number_cell(row: Any) -> Cell:
    """A value with its interval, its rank's mark, and the dagger."""
    mark = {1: "best", 2: "second"}.get(int(row.rank), "") if not pd.isna(row.rank) else ""
    tie = DAGGER if row.tie is True or row.tie == 1 else ""
    return number(row.value, row.ci_low, row.ci_high, form=".3f", mark=mark, suffix=tie)


_MARKS = ["rank", "diff", "diff_low", "diff_high", "p", "p_holm", "tie", "untested"]


def _marks(runs: Sequence[Run], rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Rank within each column, and the paired difference to its best, tested where both cover the same images."""
    by_name = {run.name: run for run in runs}
    keys = ["dataset", "method", "backbone", "statistic"]
    out = []
    for (_, statistic), part in rows.groupby(["dataset", "statistic"], sort=False):
        part = part[part["value"].notna()].sort_values("value", ascending=False, kind="stable")
        entries = part[keys].assign(rank=range(1, len(part) + 1), untested=False).to_dict("records")
        if not entries:
            continue
        best = by_name[str(part["run"].iloc[0])]
        scores = {
            str(k): values
            for k, (run, score) in enumerate(zip(part["run"], part["score"], strict=True))
            if (values := _on_images_of(best, by_name[run], score)) is not None
        }
        labels = best.scores[best.label].to_numpy(float)
        cluster = best.record["dataset"].get("cluster")
        clusters = best.scores[cluster].astype(str).to_numpy() if cluster in best.scores else None
        options: dict[str, Any] = {"statistic": str(statistic), "clusters": clusters, "seed": seed}
        pairs = compare(scores, labels, reference="0", **options) if "0" in scores else []
        for pair in pairs:
            test, entry = pair.test, entries[int(pair.a)]
            entry |= {"diff": test.diff, "diff_low": test.ci_low, "diff_high": test.ci_high, "p": test.p}
            entry |= {"p_holm": pair.p_holm, "tie": pair.p_holm >= 0.05}
        tested = {int(pair.a) for pair in pairs if np.isfinite(pair.p_holm)}
        for k, entry in enumerate(entries):
            entry["untested"] = k > 0 and k not in tested
        out += entries
    return pd.DataFrame(out, columns=[*keys, *_MARKS]).astype({"rank": "Int64"})


def _on_images_of(best: Run, run: Run, score: str) -> np.ndarray | None:
    """A run's score in the order of another's images; None where images or labels differ."""
    mine, theirs = (r.scores.set_index(pd.Index(occurrences(r.scores["image"]))) for r in (run, best))
    if set(mine.index) != set(theirs.index) or run.label != best.label:
        return None
    mine = mine.loc[theirs.index]
    return mine[score].to_numpy(float) if np.array_equal(mine[run.label], theirs[best.label]) else None


def groups_table(run: Run) -> Table | None:
    """SRCC of each score by group; None where there are no groups."""
    if run.groups is None or not len(run.groups):
        return None
    rows = run.groups[(run.groups["statistic"] == "srcc") & run.groups["score"].isin(CUES)]
    by = {(r.group, r.score): r for r in rows.itertuples(index=False)}
    cells = []
    for group in sorted(dict.fromkeys(rows["group"])):
        n = max(int(by[key].n) for key in ((group, s) for s in CUES) if key in by)
        row = [Cell(str(group), str(group)), Cell(f"{n:,}", n)]
        for score in CUES:
            found = by.get((group, score))
            row.append(
                Cell(NONE) if found is None else number(found.value, found.ci_low, found.ci_high, form=".3f")
            )
        cells.append(row)
    columns = [("", "group"), ("", "n"), *(("SRCC", score) for score in CUES)]
    title = f"SRCC by group: {dataset(run.record)}, {backbone(run.record)}"
    return Table(f"groups_{run.name}", title, columns, cells, run.groups, ["95 % bootstrap intervals."])


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
            measured: Any = values.loc[(protocol.score, row["statistic"])]
            remarks = [protocol.remark] if protocol.remark else []
            if not pd.isna(row["n"]) and row["n"] != run.record["dataset"]["n"]:
                remarks.append(f"n {run.record['dataset']['n']:,} here, {row['n']:,} there")
            if row["statistic"] == "plcc" and "raw" not in str(row["setting"]).lower():
                remarks.append("PLCC raw here; the source may have fitted")
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


def frame_table(name: str, title: str, frame: pd.DataFrame, *, reference: str | None = None) -> Table:
    """Any CSV as a table: `x, x_low, x_high` become one cell, columns that never change move into a note.

    Of variants, the best of a column `srcc` is bold, the second underlined; the row of `reference` is marked.
    """
    frame = frame.reset_index(drop=True)
    sides = {
        f"{c}_{side}" for c in frame for side in ("low", "high") if {f"{c}_low", f"{c}_high"} <= set(frame)
    }
    sides |= {"ci_low", "ci_high"} if "value" in frame else set()
    notes, shown = [], []
    for column in (c for c in frame if c not in sides):
        values = set(frame[column].astype(str))
        if len(frame) > 1 and len(values) == 1 and column not in ("variant", "srcc"):
            text = _texts(frame[column].head(1))[0]
            notes += [f"{column}: {text or NONE} in every row."] if text else []
        else:
            shown.append(str(column))
    ranks: dict[int, str] = {}
    if "srcc" in frame and "variant" in frame:
        competing = ~frame["variant"].astype(str).str.contains("(control)", regex=False)
        order = frame["srcc"].where(competing).rank(ascending=False, method="first")
        ranks = {i: "best" if r == 1 else "second" for i, r in enumerate(order) if r in (1, 2)}
    if "srcc" in frame and "variant" in frame and len(frame) > 2:
        notes.append(
            "Bold: highest SRCC; underlined: second. Picking the best of a grid on its own data is optimistic."
        )
    columns = []
    for column in shown:
        lows, highs = (
            frame.get(f"{column}_{side}", frame.get(f"ci_{side}") if column == "value" else None)
            for side in ("low", "high")
        )
        texts = _texts(frame[column], 3 if lows is not None else None)
        line = []
        for i, (value, text) in enumerate(zip(frame[column], texts, strict=True)):
            if column == "variant" and reference is not None and str(value) == reference:
                text += " (reference)"
            detail = interval(lows[i], highs[i]) if lows is not None and highs is not None else ""
            sort = None if not text else float(value) if _is_number(value) else str(value)
            line.append(Cell(text or NONE, sort, ranks.get(i, "") if column == "srcc" else "", detail))
        columns.append(line)
    cells = [list(row) for row in zip(*columns, strict=True)]
    return Table(name, title, [("", column) for column in shown], cells, frame, notes)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and not pd.isna(value)


def _texts(values: pd.Series, decimals: int | None = None) -> list[str]:
    """Values as text; floats all with the same decimals: as given, else as many as they need, at most four."""
    if not pd.api.types.is_float_dtype(values):
        return ["" if pd.isna(value) else str(value) for value in values]
    some = values[np.isfinite(values)]
    if decimals is None:
        decimals = next((d for d in range(4) if np.allclose(some, some.round(d), rtol=0, atol=1e-9)), 4)
    tiny = len(some) and 0 < float(some.abs().max()) < 1e-3 and decimals == 4
    form = ".3e" if tiny else f".{decimals}f"
    return ["" if pd.isna(value) else format(value, form) for value in values]
