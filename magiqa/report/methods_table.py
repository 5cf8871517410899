"""The methods table: rows methods, columns statistics by data set."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from magiqa.datasets.base import occurrences
from magiqa.errors import UserError
from magiqa.report.captions import main_protocol
from magiqa.report.display_names import STATISTICS, backbone_name, set_facts, set_name, statistic
from magiqa.report.escape import DAGGER
from magiqa.report.method_names import methods
from magiqa.report.other_programs import with_external
from magiqa.report.table import NONE, Cell, Table, number
from magiqa.runs.names import CONTROLS
from magiqa.runs.read import Run, long_table
from magiqa.stats.bootstrap import bootstrap_many, resample_counts
from magiqa.stats.correlation import point_many
from magiqa.stats.intervals import count_units, widened
from magiqa.stats.p_values import best_set
from magiqa.stats.paired import why_no_test

UNTESTED = "‡"

LOWER_IS_BETTER = ("rmse_logistic",)

RESAMPLES = 2000  # of the test for the best

MANY = 9  # columns: from there on, the kind of PLCC stands in the notes alone


def agreement_table(
    runs: Sequence[Run], statistics: Sequence[str] = (), others: Sequence[Run] = (), seed: int = 0
) -> Table:
    """Methods by data sets: best bold, second underlined, those that may be the best marked.

    Args:
        statistics: the columns of each set; by default SRCC, raw PLCC, and SRCC within groups where there are any.
        others: other programs' scores, from `external_runs`: a row each.
        seed: of the resamples of the test.

    Raises:
        UserError: a statistic that no run has.
    """
    rows = with_external(long_table(runs), others)
    chosen = _chosen(rows, statistics)
    shown = rows[rows["statistic"].isin(chosen)].assign(control=rows["score"].isin(list(CONTROLS)))
    found = marks([*runs, *others], shown[~shown["control"]], seed)
    data = rows.merge(found, on=["dataset", "method", "backbone", "statistic"], how="left")
    by = {(r.dataset, r.method, r.backbone, r.statistic): r for r in data.itertuples(index=False)}
    lines = shown[["control", "backbone", "method", "run", "score"]]
    lines = lines.drop_duplicates(["control", "backbone", "method"]).sort_values("control", kind="stable")
    records = {run.name: run.record for run in (*runs, *others)}
    sets = {r["dataset"]: records[r["run"]]["dataset"] for r in rows.to_dict("records")}
    columns = [
        (one, s)
        for one in sets
        for s in chosen
        if ((shown["dataset"] == one) & (shown["statistic"] == s)).any()
    ]
    names, above = _names(lines, records, {run.name for run in others})
    bones = [
        str(b) and backbone_name(records[r]["backbone"])
        for b, r in zip(lines["backbone"], lines["run"], strict=True)
    ]
    one_bone = len(set(bones) - {""}) == 1
    alike = _of_one_label(sets)
    averages = _averages(lines, [c for c in columns if c[0] in alike], by, chosen) if len(alike) > 1 else []
    cells = []
    for k, line in enumerate(lines.itertuples(index=False)):
        row = [Cell(names[k], names[k])] + ([] if one_bone else [Cell(bones[k] or NONE, bones[k])])
        row += [_cell(by.get((one, line.method, line.backbone, s))) for one, s in columns]
        cells.append(row + [average[k] for _, average in averages])
    titles = _set_titles(sets)
    heads = [("", "method"), *([] if one_bone else [("", "backbone")])]
    heads += [(titles[one], statistic(s)) for one, s in columns]
    heads += [head for head, _ in averages]
    if len(heads) > MANY and len({name for _, name in heads if name.startswith("PLCC")}) == 1:
        heads = [(group, "PLCC" if name.startswith("PLCC") else name) for group, name in heads]
    facts = "; ".join(f"{titles[one]}: {set_facts(data_)}" for one, data_ in sets.items())
    bone = f" Backbone {next(b for b in bones if b)}." if one_bone else ""
    first = int((~lines["control"]).sum())
    return Table(
        "agreement",
        "Agreement of each method with the label, by data set",
        heads,
        cells,
        data,
        _notes(
            chosen,
            data,
            lines["control"].any(),
            runs,
            [titles[s] for s in alike] if averages else [],
            len(sets),
        ),
        (first,) if 0 < first < len(lines) else (),
        len(sets) == 1,
        shared=" ".join(filter(None, (f"{facts}.{bone}", above, main_protocol([r.record for r in runs])))),
    )


def _chosen(rows: pd.DataFrame, statistics: Sequence[str]) -> list[str]:
    there = set(rows["statistic"])
    if not statistics:
        return [s for s in ("srcc", "plcc", "srcc_within") if s in there]
    for one in statistics:
        if one not in there:
            raise UserError(
                f"statistics={one} is in no run here: use {', '.join(s for s in STATISTICS if s in there)}"
            )
    return list(dict.fromkeys(statistics))


def _names(
    lines: pd.DataFrame, records: Mapping[str, Mapping[str, Any]], others: set[str]
) -> tuple[list[str], str]:
    """Names of the rows, unique with their backbone; and what stands above the table."""
    rows = lines.to_dict("records")
    own = [r for r in rows if r["run"] not in others]
    names, above = methods([(r["run"], records[r["run"]], r["score"]) for r in own])
    name_of = {id(r): n for r, n in zip(own, names, strict=True)}
    out = [name_of.get(id(r), r["method"]) for r in rows]
    pairs = [(n, r["backbone"]) for n, r in zip(out, rows, strict=True)]
    out = [
        f"{n} [{r['run']}]" if pairs.count((n, r["backbone"])) > 1 else n
        for n, r in zip(out, rows, strict=True)
    ]
    return out, above


def _set_titles(sets: dict[str, dict[str, Any]]) -> dict[str, str]:
    """A short title a set; the whole facts where two have one name."""
    short = {key: set_name(data) for key, data in sets.items()}
    return {key: key if list(short.values()).count(name) > 1 else name for key, name in short.items()}


def _cell(row: Any) -> Cell:
    """A value with its interval, its rank's mark, and the sign of the test."""
    if row is None:
        return Cell(NONE)
    ranked = not pd.isna(row.rank)
    mark = {1: "best", 2: "second"}.get(int(row.rank), "") if ranked else ""
    sign = UNTESTED if ranked and row.untested is True else DAGGER if row.in_best_set is True else ""
    return number(row.value, row.ci_low, row.ci_high, form=".3f", mark=mark, suffix=sign)


def _of_one_label(sets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The sets to average over: those of the label that most of them have, MOS before others. No SSIM is a MOS."""
    by: dict[str, list[str]] = {}
    for key, data in sets.items():
        by.setdefault(str(data.get("label")), []).append(key)
    return max(by.values(), key=lambda some: (len(some), some is by.get("mos")), default=[])


def _averages(
    lines: pd.DataFrame, columns: Sequence[tuple[str, str]], by: dict[Any, Any], chosen: Sequence[str]
) -> list[tuple[tuple[str, str], list[Cell]]]:
    """Mean and n-weighted mean of a statistic over the sets, for methods that are on all of them."""
    out = []
    competing = ~lines["control"].to_numpy()
    for weighted in (False, True):
        for one in chosen:
            sets = [name for name, s in columns if s == one]
            values = []
            for line in lines.itertuples(index=False):
                found: list[Any] = [by.get((name, line.method, line.backbone, one)) for name in sets]
                whole = len(found) > 1 and all(f is not None and np.isfinite(f.value) for f in found)
                weights = [f.n for f in found] if whole and weighted else None
                values.append(
                    float(np.average([f.value for f in found], weights=weights)) if whole else np.nan
                )
            if np.isfinite(values).any():
                sign = 1 if one in LOWER_IS_BETTER else -1
                ranked = np.where(competing, sign * np.array(values), np.nan).round(12)
                order = pd.Series(ranked).rank(method="min")
                cells = [
                    number(v, form=".3f", mark={1.0: "best", 2.0: "second"}.get(r, ""))
                    for v, r in zip(values, order, strict=True)
                ]
                out.append((("weighted by n" if weighted else "average", statistic(one)), cells))
    return out


def _notes(
    chosen: Sequence[str],
    found: pd.DataFrame,
    controls: bool,
    runs: Sequence[Run],
    averaged: Sequence[str],
    sets: int,
) -> list[str]:
    kinds = "PLCC (raw): of the scores as they are. " if "plcc" in chosen else ""
    if set(chosen) & {"plcc_logistic", "rmse_logistic", "srcc_logistic"}:
        kinds += "(fitted): after a logistic curve fitted on these images. "
    if "srcc_within" in chosen:
        kinds += "SRCC in groups: mean over the groups of the set. "
    competing = "; controls do not compete." if controls else "."
    notes = [
        f"Values are signed. {kinds}Intervals: 95 %, bootstrap. Bold: best of the column, underlined: second{competing}"
    ]
    if averaged:
        over = "all sets" if len(averaged) == sets else f"sets of one kind of label ({', '.join(averaged)})"
        notes.append(f"Averages are over {over}, of methods that are on each of them, and are not tested.")
    if found["in_best_set"].eq(True).any():
        notes.append(
            f"{DAGGER} may be the best of its column: in the 95 % model confidence set (paired resamples of the same "
            "images)."
        )
    if found["untested"].eq(True).any():
        notes.append(
            f"{UNTESTED} Not tested: no test of this statistic, or other images than the best of its column."
        )
    why = found.get("withheld", pd.Series("", index=found.index)).astype(str)
    empty = found[found["value"].isna() & found["statistic"].isin(chosen) & why.str.startswith("undefined:")]
    for r in empty.drop_duplicates(["dataset", "method"]).to_dict("records"):
        notes.append(f"{r['method']}, {r['dataset']}: {r['withheld']}.")
    labels = sorted(
        {str(r.record["backbone"]["label"]) for r in runs if r.record.get("backbone", {}).get("label")}
    )
    return notes + ([f"Not published weights: {'; '.join(labels)}."] if labels else [])


_MARKS = ["rank", "p_best", "in_best_set", "untested"]

TESTABLE = ("srcc", "krcc", "plcc", "srcc_within")


def marks(runs: Sequence[Run], rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Rank within each column, and whether a method may be its best: tested on the images of the best."""
    by_name = {run.name: run for run in runs}
    keys = ["dataset", "method", "backbone", "statistic"]
    out = []
    for (_, one), part in rows.groupby(["dataset", "statistic"], sort=False):
        part = part[part["value"].notna()].sort_values(
            "value", ascending=one in LOWER_IS_BETTER, kind="stable"
        )
        if not len(part):
            continue
        places = part["value"].round(12).rank(method="min", ascending=one in LOWER_IS_BETTER).astype(int)
        entries = part[keys].assign(rank=places).to_dict("records")
        best = by_name[str(part["run"].iloc[0])]
        found = [_on_images_of(best, by_name[r], s) for r, s in zip(part["run"], part["score"], strict=True)]
        p = _p_best(best, str(one), found, seed)
        for entry, value in zip(entries, p, strict=True):
            known = bool(np.isfinite(value))
            entry |= {"p_best": value, "in_best_set": known and bool(value >= 0.05), "untested": not known}
        if not any(e["in_best_set"] for e in entries[1:]):  # nothing to mark beside the best itself
            entries[0]["in_best_set"] = False
        if len(entries) == 1:
            entries[0]["untested"] = False
        out += entries
    return pd.DataFrame(out, columns=[*keys, *_MARKS]).astype({"rank": "Int64"})


def _p_best(best: Run, one: str, scores: Sequence[np.ndarray | None], seed: int) -> np.ndarray:
    """P of the hypothesis that a method is among the best (M,), NaN where it is not tested."""
    out = np.full(len(scores), np.nan)
    y = best.scores[best.label].to_numpy(float)
    at = [
        k
        for k, values in enumerate(scores)
        if values is not None and np.isfinite(values).all() and not why_no_test(one, values[None], y)
    ]
    if one not in TESTABLE or len(at) < 2:
        return out
    cluster = best.record["dataset"].get("cluster")
    clusters = best.scores[cluster].astype(str).to_numpy() if cluster in best.scores else None
    groups = best.scores["group"].astype(str).to_numpy() if one == "srcc_within" else None
    units = count_units(len(y), clusters)
    counts = resample_counts(len(y), clusters, groups if clusters is None else None, RESAMPLES, seed)
    matrix = np.stack([scores[k] for k in at])  # type: ignore[misc]
    draws = bootstrap_many(one, matrix, y, counts, groups)
    if one == "plcc":
        draws *= widened(*matrix, y, units=units)
    out[at] = best_set(point_many(one, matrix, y, groups), draws, units)
    return out


def _on_images_of(best: Run, run: Run, score: str) -> np.ndarray | None:
    """A run's score in the order of another's images; None where images or labels differ."""
    mine, theirs = (r.scores.set_index(pd.Index(occurrences(r.scores["image"]))) for r in (run, best))
    if set(mine.index) != set(theirs.index) or run.label != best.label:
        return None
    mine = mine.loc[theirs.index]
    return mine[score].to_numpy(float) if np.array_equal(mine[run.label], theirs[best.label]) else None
