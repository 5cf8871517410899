"""The main table: methods by data sets, with published rows and averages; and backbones by methods."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from magiqa.datasets.base import occurrences
from magiqa.errors import UserError
from magiqa.report.escape import DAGGER
from magiqa.report.exhibit import Exhibit
from magiqa.report.material import Material
from magiqa.report.methods import FEW, fit_words, method_names, primary, subsets_note, weights_note
from magiqa.report.plots import dots
from magiqa.report.published_exhibits import published_rows
from magiqa.report.table import MARKS, NONE, Cell, Table, best_marks, frame_table, name_cell, number, ranks
from magiqa.report.words import LOWER_IS_BETTER, STATISTICS, set_key, short_label, statistic
from magiqa.runs.read import CONTROLS, Run
from magiqa.stats.family import SIGNIFICANCE
from magiqa.stats.paired import MIN_SETS, against_best, compare, mean_over_sets
from magiqa.stats.sampling import TESTED, WITHIN, Sampling

DEFAULT = ("srcc", "plcc_logistic")

FITTED = ("plcc_logistic", "rmse_logistic")

GAIN = ["diff", "diff_low", "diff_high"]

UNTESTED = "‡"

KEYS = ["run", "score", "statistic"]


def signed_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with PLCC after the fit carrying the sign of the raw PLCC, and without its interval."""
    raw = rows[rows["statistic"] == "plcc"].set_index(KEYS[:2])["value"]
    raw = raw.reindex(pd.MultiIndex.from_frame(rows[KEYS[:2]])).to_numpy(float)
    signed = rows["value"].abs() * np.where(raw < 0, -1.0, 1.0)
    rows = rows.assign(value=rows["value"].where(rows["statistic"] != "plcc_logistic", signed))
    rows.loc[rows["statistic"].isin(FITTED), ["ci_low", "ci_high"]] = np.nan
    return rows


def statistics_of(material: Material) -> list[str]:
    """Return the statistics to show: those asked for, else SRCC and PLCC.

    Raises:
        UserError: a statistic that no run has.
    """
    present = [s for s in STATISTICS if s in set(material.rows["statistic"])]
    if missing := [name for name in material.asked.statistics if name not in present]:
        raise UserError(f"statistics={missing[0]} is in no run here: use {', '.join(present)}")
    return list(dict.fromkeys(material.asked.statistics)) or [s for s in DEFAULT if s in present]


def best_tests(material: Material, rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``rank, p_best, in_best_set, untested`` of each run, score and statistic; controls do not compete.

    Values that print alike have the same rank. A test is on the images of the best method.
    """
    by_name = {run.name: run for run in material.every_run}
    out = []
    competing = rows[~rows["score"].isin(list(CONTROLS)) & rows["value"].notna()]
    for (_, name), part in competing.groupby(["dataset", "statistic"], sort=False):
        if name == WITHIN:  # a score that is defined in some groups only does not compete
            part = part[part["n"] == part["n"].max()]
        lower = name in LOWER_IS_BETTER
        part = part.sort_values("value", ascending=lower, kind="stable")
        p = _p_best(part, str(name), by_name)
        tied = np.nan_to_num(p) >= SIGNIFICANCE
        untested = (name in TESTED) & ~np.isfinite(p) & (len(part) > 1)
        marks = {"rank": ranks(part["value"], lower), "p_best": p, "untested": untested}
        marks["in_best_set"] = tied
        out.append(part[KEYS].assign(**marks))
    return pd.concat(out, ignore_index=True).astype({"untested": object, "in_best_set": object})


def _p_best(part: pd.DataFrame, name: str, runs: Mapping[str, Run]) -> np.ndarray:
    """Return p of the hypothesis that a method is as good as the first, the best; NaN where it is not tested."""
    best, p = runs[part["run"].iloc[0]], np.full(len(part), np.nan)
    scores = [_on_images_of(best, runs[r], s) for r, s in zip(part["run"], part["score"], strict=True)]
    usable = {
        k: values for k, values in enumerate(scores) if values is not None and np.isfinite(values).all()
    }
    if name in TESTED and len(usable) > 1:
        sampling = Sampling.of(best.scores, best.record["dataset"].get("cluster"))
        y = best.scores[best.label].to_numpy(float)
        p[list(usable)] = against_best(np.stack(list(usable.values())), y, name, sampling)[0]
    return p


def _on_images_of(best: Run, run: Run, score: str) -> np.ndarray | None:
    """Return a run's score in the order of another's images; None where images or labels differ."""
    mine, theirs = (r.scores.set_index(pd.Index(occurrences(r.scores["image"]))) for r in (run, best))
    if set(mine.index) != set(theirs.index) or run.label != best.label:
        return None
    mine = mine.loc[theirs.index]
    return mine[score].to_numpy(float) if np.array_equal(mine[run.label], theirs[best.label]) else None


def main_table(material: Material) -> Iterator[Exhibit]:
    """Methods by data sets: best bold, second underlined, those not significantly worse than the best marked."""
    if not material.runs:
        return
    chosen = statistics_of(material)
    rows = signed_rows(material.rows)
    rows = rows[rows["statistic"].isin(chosen)]
    rows = rows.merge(best_tests(material, rows), on=KEYS, how="left")
    sets, lines = list(dict.fromkeys(rows["dataset"])), _lines(material, rows)
    present = set(zip(rows["dataset"], rows["statistic"], strict=True))
    columns = [(title, s) for title in sets for s in chosen if (title, s) in present]
    cells = {
        (r["method"], r["backbone"], r["dataset"], r["statistic"]): _cell(r) for r in rows.to_dict("records")
    }
    alike = sets_to_average(material, sets)
    averages = [("Average", s) for s in chosen if len(alike) > 1]
    for _, s in averages:
        cells |= _averages(lines, rows[rows["dataset"].isin(alike) & (rows["statistic"] == s)], len(alike), s)
    bones = list(dict.fromkeys(bone for _, bone, _ in lines if bone))
    several = len(bones) > 1
    quoted = published_rows(material, columns)
    body = [[name_cell(name), *[Cell(NONE)] * several, *values, *[Cell(NONE)] * len(averages)]
            for name, values in quoted.items()]  # fmt: skip
    for method, bone, _ in lines:
        line = [cells.get((method, bone, *column), Cell(NONE)) for column in [*columns, *averages]]
        body.append([name_cell(method), *[Cell(bone or NONE, bone)] * several, *line])
    controls = [control for _, _, control in lines]
    blocks = {len(quoted): ""} if quoted else {}
    blocks |= {len(quoted) + controls.index(True): ""} if any(controls[1:]) else {}
    heads = [("", "Method"), *[("", "Backbone")] * several]
    heads += [(title if len(sets) > 1 else "", statistic(s)) for title, s in columns]
    heads += [(group, statistic(s)) for group, s in averages]
    place = f"on {sets[0]}" if len(sets) == 1 else f"on {len(sets)} data sets"
    weights = weights_note(material.records.values())
    caption = f"{' and '.join(map(statistic, chosen))} of each method {place}. {weights}".strip()
    if averages and len(alike) < len(sets):
        caption += f" Average: without {', '.join(title for title in sets if title not in alike)}."
    notes = _notes(material, chosen, {cell.text[-1:] for row in body for cell in row})
    notes += ["First rows: as published."] if quoted else []
    table = Table("agreement", caption, heads, body, rows, [" ".join(notes)], blocks, details=len(sets) == 1)
    yield Exhibit("main", "agreement", caption, table)


def _lines(material: Material, rows: pd.DataFrame) -> list[tuple[str, str, bool]]:
    """Return (method, backbone, is a control) of each row in order.

    Raises:
        UserError: a row that was asked for is not there.
    """
    control = rows["score"].isin(list(CONTROLS))
    every = dict.fromkeys(zip(rows["method"], rows["backbone"], control, strict=True))
    lines = sorted(every, key=lambda line: line[2])
    names, last = list(dict.fromkeys(method for method, _, _ in lines)), material.asked.last
    for name in filter(None, [*material.asked.rows, last]):
        if name not in names:
            raise UserError(f"rows: there is no method {name}; the methods here are {'; '.join(names)}")
    order = [name for name in material.asked.rows or names if name != last] + [last]
    return [line for name in order for line in lines if line[0] == name]


def _cell(row: Mapping[str, Any]) -> Cell:
    """Return a value with its interval, its rank's mark, and the sign of the test."""
    mark = MARKS.get(row["rank"], "")
    tied = row["in_best_set"] is True and mark != "best"
    sign = UNTESTED if row["untested"] is True else DAGGER if tied else ""
    sign = "" if row["statistic"] in FITTED else sign
    return number(row["value"], row["ci_low"], row["ci_high"], form=".3f", mark=mark, suffix=sign)


def sets_to_average(material: Material, sets: Sequence[str]) -> list[str]:
    """Return the sets of the label that most of them have, MOS before others: no SSIM is a MOS."""
    labels = {material.titles[set_key(run.record["dataset"])]: run.label for run in material.runs}
    by = {label: [title for title in sets if labels.get(title) == label] for label in labels.values()}
    return max(by.values(), key=lambda some: (len(some), some is by.get("mos")), default=[])


def _averages(
    lines: Sequence[tuple[str, str, bool]], rows: pd.DataFrame, count: int, name: str
) -> dict[tuple[str, str, str, str], Cell]:
    """Return the mean over sets of each method that is on all of them."""
    values = rows.groupby(["method", "backbone"])["value"].agg(
        lambda v: v.mean(skipna=False) if len(v) == count else np.nan
    )
    means = [float(values.get((method, bone), np.nan)) for method, bone, _ in lines]
    marks = best_marks(means, [not control for _, _, control in lines], name in LOWER_IS_BETTER)
    return {(method, bone, "Average", name): number(mean, form=".3f", mark=mark)
            for (method, bone, _), mean, mark in zip(lines, means, marks, strict=True)}  # fmt: skip


def _notes(material: Material, chosen: Sequence[str], signs: Collection[str]) -> list[str]:
    """Return the notes of the main table, of 40 words or fewer on six data sets."""
    notes, records = ["Bold: best; underlined: second."], material.records.values()
    if "plcc_logistic" in chosen:
        few = any(r["dataset"]["n"] < FEW for r in records)
        notes.append(f"PLCC: {fit_words(records)} fit on the same images, signed as raw PLCC"
                     f"{f'; inflated below {FEW} images' * few}.")  # fmt: skip
    texts = {DAGGER: "not significantly worse than the best (controls untested).",
             UNTESTED: "not tested: other images."}  # fmt: skip
    notes += [f"{sign} {text}" for sign, text in texts.items() if sign in signs]
    return [*notes, *filter(None, [subsets_note(records)])]


def backbones(material: Material) -> Iterator[Exhibit]:
    """Backbones by methods, SRCC, where several backbones ran."""
    rows = material.rows if material.runs else pd.DataFrame({"statistic": [], "backbone": [], "method": []})
    own = rows[(rows["statistic"] == "srcc") & (rows["backbone"] != "")]
    own = own[own.groupby("method")["backbone"].transform("nunique") > 1]
    if not len(own):
        return
    table = own.pivot_table(
        index="backbone", columns=["dataset", "method"], values="value", aggfunc="first", sort=False
    )
    columns = [
        [number(v, form=".3f", mark=m) for v, m in zip(table[c], best_marks(table[c]), strict=True)]
        for c in table
    ]
    cells = [
        [name_cell(bone), *line] for bone, line in zip(table.index, zip(*columns, strict=True), strict=True)
    ]
    sets = list(dict.fromkeys(own["dataset"]))
    heads = [("", "Backbone"), *((title if len(sets) > 1 else "", method) for title, method in table)]
    place = f" on {sets[0]}" if len(sets) == 1 else ""
    caption = f"SRCC of each backbone{place}. {weights_note(material.records.values())}".strip()
    notes = ["Bold: best of the column; underlined: second."]
    yield Exhibit("backbones", "backbones", caption, Table("backbones", caption, heads, cells, own, notes))


def methods_figure(material: Material) -> Iterator[Exhibit]:
    """SRCC of every method on every set with intervals, in the order of the main table."""
    if not material.runs:
        return
    rows = material.rows[material.rows["statistic"] == "srcc"]
    lines = _lines(material, rows)
    several = len({bone for _, bone, _ in lines if bone}) > 1
    names = {(method, bone): f"{method}, {bone}" if several and bone else method for method, bone, _ in lines}
    rows = rows.rename(columns={"dataset": "panel", "ci_low": "low", "ci_high": "high"})
    rows["name"] = [names.get(key) for key in zip(rows["method"], rows["backbone"], strict=True)]
    order, controls = list(names.values()), [method for method, _, control in lines if control]
    caption = "SRCC of each method with 95 % intervals. Hollow: controls. "
    caption += weights_note(material.records.values())
    yield Exhibit("methods", "methods", caption.strip(), wide=rows["panel"].nunique() > 2,
                  draw=lambda stem: dots(stem, rows, xlabel="SRCC", order=order, hollow=controls))  # fmt: skip


def gains(material: Material) -> Iterator[Exhibit]:
    """A forest plot of the gain in SRCC, from two data sets on; from five on with the mean over them."""
    rows: list[dict[str, Any]] = []
    sets: dict[str, float] = {}
    alike = sets_to_average(material, list(material.titles.values()))
    for run in material.leading:
        data = run.record["dataset"]
        if primary(run.record) != "q":
            continue
        pair, y = {"q": run.scores["q"], "q_sim": run.scores["q_sim"]}, run.scores[run.label]
        tested = compare(pair, y, Sampling.of(run.scores, data["cluster"])).iloc[0]
        title = material.titles[set_key(data)]
        rows.append({"set": title, "n": data["n"], **tested[GAIN].to_dict()})
        if title in alike:
            sets.setdefault(data["name"], tested["diff"])  # variants of one set count once
    if len(rows) < 2:
        return
    lead = material.leading[0]
    (method,) = method_names([(lead.name, lead.record, "q")], material.asked.names)
    caption = f"Gain in SRCC of {method} over its similarity cue, with 95 % intervals."
    if len(sets) >= MIN_SETS:
        mean = mean_over_sets(list(sets.values()))
        rows.append(
            {"set": f"Mean of {len(sets)} data sets", "n": None, **dict(zip(GAIN, mean, strict=True))}
        )
        label = next(
            run.label for run in material.runs if material.titles[set_key(run.record["dataset"])] in alike
        )
        caption += f" Mean: over the data sets with {short_label(label)}, t interval."
    caption = f"{caption} {weights_note(material.records.values())}".strip()
    table, columns = pd.DataFrame(rows), {"set": "Data set", "n": "n", "diff": "Gain in SRCC"}
    frame = table.rename(columns=dict(zip(["set", *GAIN], ["name", "value", "low", "high"], strict=True)))
    yield Exhibit("gains", "gains", caption, frame_table(table, columns, name="gains", title=caption),
                  draw=lambda stem: dots(stem, frame, xlabel="Gain in SRCC"))  # fmt: skip
