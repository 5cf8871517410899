"""The exhibits of runs: scatter plots, the magnitude cue, groups, run times."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from magiqa.report.captions import fit_words, unit, where
from magiqa.report.exhibit import Exhibit
from magiqa.report.frames import best_marks
from magiqa.report.material import Material
from magiqa.report.methods import method_names, primary
from magiqa.report.plots import dots
from magiqa.report.scatter import Panel, magnitude_figure, scatter
from magiqa.report.table import Cell, Table, number
from magiqa.report.words import AXES, backbone_name, group_name, group_word, set_key, set_name, short_label
from magiqa.runs.names import CUES
from magiqa.runs.read import Run
from magiqa.stats.correlation import srcc

MOST_METHODS = 8  # columns of a table by group


def agreement_words(run: Run, score: str) -> str:
    """Return SRCC and PLCC after the fit in one short line.

    PLCC after the fit carries the sign of the raw PLCC.
    """
    values = run.agreement[run.agreement["score"] == score].set_index("statistic")["value"]
    raw, fitted = float(values.get("plcc", np.nan)), float(values.get("plcc_logistic", np.nan))
    plcc = raw if np.isnan(fitted) else abs(fitted) * (-1 if raw < 0 else 1)
    parts = [f"{name} {value:.3f}" if np.isfinite(value) else f"{name} undefined"
             for name, value in (("SRCC", float(values.get("srcc", np.nan))), ("PLCC", plcc))]  # fmt: skip
    return ", ".join(parts)


def shown_scores(run: Run) -> list[str]:
    """Return the scores of a run that are not the same as another: a run of one cue has no fused score."""
    return [*CUES] if primary(run.record) == "q" else ["q_sim", "q_mag"]


def run_exhibits(run: Run) -> list[Exhibit]:
    """Return the figures of a run: each score against MOS, the magnitude cue in bins, SRCC by group."""
    label, place = short_label(run.label), where(run.record)
    panels = [Panel(run, score, agreement_words(run, score)) for score in shown_scores(run)]
    unfitted = [
        p.score for p in panels if (run.record.get("fits", {}).get(p.score) or {}).get("params") is None
    ]
    line = f"Line: {fit_words([run.record])} fit" + (f" (none for {', '.join(unfitted)})" if unfitted else "")
    out = [
        Exhibit("cues", "scatter", f"Cues and predicted score against {label} on {place} {line}.",
                draw=lambda stem: scatter(stem, panels), of=run.name, wide=len(panels) > 1),
        Exhibit("magnitude", "magnitude", f"{label} against the magnitude cue on {place} Line: mean {label} in ten "
                f"bins of the cue, with 95 % intervals, by {unit(run.record)}.",
                draw=lambda stem: magnitude_figure(stem, run), of=run.name),
    ]  # fmt: skip
    return out + ([_group_figure(run)] if run.groups is not None and len(run.groups) else [])


def _group_figure(run: Run) -> Exhibit:
    """Return SRCC by group, with all images and the mean over groups above them."""
    assert run.groups is not None
    data, scores = run.record["dataset"], shown_scores(run)
    rows = run.groups[(run.groups["statistic"] == "srcc") & run.groups["score"].isin(scores)]
    order = rows[rows["score"] == primary(run.record)].sort_values("value", ascending=False)["group"].tolist()
    rows = rows.set_index("group").loc[order].reset_index()
    rows = rows.assign(name=[group_name(str(g), data) for g in rows["group"]])
    every = run.agreement[
        run.agreement["statistic"].isin(["srcc", "srcc_within"]) & run.agreement["score"].isin(scores)
    ]
    names = {"srcc": "All images", "srcc_within": f"Mean over {group_word(data)}s"}
    every = every.assign(name=every["statistic"].map(names)).sort_values("statistic", kind="stable")
    rows = pd.concat([every, rows], ignore_index=True)
    rows = rows.assign(series=rows["score"].map(AXES)).rename(columns={"ci_low": "low", "ci_high": "high"})
    caption = f"SRCC by {group_word(data)} on {where(run.record)} Bars: 95 % intervals. Nothing is tested."
    label = f"SRCC with {short_label(run.label)}"
    return Exhibit(
        "group_figure",
        "srcc_by_group",
        caption,
        of=run.name,
        draw=lambda stem: dots(stem, rows, xlabel=label),
    )


def scatter_figure(material: Material) -> Iterator[Exhibit]:
    """Predicted score against MOS: a figure each of one or two data sets, else a panel each in one figure."""
    runs = material.leading
    if len(runs) > 2:
        yield _scatter(material, runs, "scatter")
    else:
        yield from (_scatter(material, [run], f"{run.name}/predicted") for run in runs)


def _scatter(material: Material, runs: Sequence[Run], name: str) -> Exhibit:
    names = method_names([(r.name, r.record, primary(r.record)) for r in runs], material.asked.names)
    several, data = len(runs) > 1, runs[0].record["dataset"]
    panels = [Panel(run, primary(run.record), (f"{set_name(run.record['dataset'])}\n" if several else "")
                    + agreement_words(run, primary(run.record))) for run in runs]  # fmt: skip
    label = " or ".join(dict.fromkeys(short_label(run.label) for run in runs))
    bones = "; ".join(sorted({backbone_name(run.record["backbone"]) for run in runs}))
    place = f"each data set. Backbone: {bones}." if several else where(runs[0].record)
    fit = fit_words([run.record for run in runs])
    caption = f"Predicted score ({names[0]}) against {label} on {place} Line: {fit} fit."
    caption += f" Colors: {group_word(data)}s." if "group" in runs[0].scores and not several else ""
    return Exhibit("scatter", name, caption, draw=lambda stem: scatter(stem, panels), wide=several)


def figures_of_runs(material: Material) -> Iterator[Exhibit]:
    """The figures of the first run on each set."""
    for run in material.leading:
        for exhibit in run_exhibits(run):
            yield Exhibit(**{**exhibit.__dict__, "name": f"{run.name}/{exhibit.name}"})


def group_tables(material: Material) -> Iterator[Exhibit]:
    """SRCC by generator or distortion type of every method, other programs' too, a table a data set."""
    for lead in material.leading:
        if "group" not in lead.scores or lead.scores["group"].nunique() < 2:
            continue
        key = set_key(lead.record["dataset"])
        runs = [r for r in material.every_run if set_key(r.record["dataset"]) == key and "group" in r.scores]
        rows = [
            (r.name, r.record, s)
            for r in runs
            for s in (["q"] if r.record.get("external") else shown_scores(r))
        ]
        if len(rows) > MOST_METHODS:
            rows = [(name, record, s) for name, record, s in rows if s == primary(record)][:MOST_METHODS]
        yield _group_table(material, lead, {r.name: r for r in runs}, rows)


def _group_table(
    material: Material, lead: Run, runs: dict[str, Run], rows: Sequence[tuple[str, Any, str]]
) -> Exhibit:
    data, word = lead.record["dataset"], group_word(lead.record["dataset"])
    names = method_names([(n, runs[n].record, s) for n, _, s in rows], material.asked.names)
    groups = lead.scores["group"].astype(str).to_numpy()
    lines, cells = [], []
    for group in sorted(set(groups)):
        values = []
        for name, _, score in rows:
            part = runs[name].scores
            part = part[part["group"].astype(str) == group]
            values.append(srcc(part[score].to_numpy(float), part[runs[name].label].to_numpy(float)))
        marks = best_marks(pd.Series(values), pd.Series(np.isfinite(values)))
        n = int((groups == group).sum())
        lines.append({"group": group, "n": n, **dict(zip(names, values, strict=True))})
        shown = group_name(group, data)
        cells.append([Cell(shown, shown), Cell(f"{n:,}", n),
                      *(number(v, form=".3f", mark=m) for v, m in zip(values, marks, strict=True))])  # fmt: skip
    bones = {backbone_name(r.record["backbone"]) for r in runs.values() if not r.record.get("external")}
    caption = f"SRCC by {word} on {set_name(data)}. Backbone: {'; '.join(sorted(bones))}."
    heads = [("", word.capitalize()), ("", "n"), *(("", name) for name in names)]
    notes = ["Bold: best of the row; underlined: second. Not tested."] if len(rows) > 1 else []
    table = Table(f"groups_{lead.name}", caption, heads, cells, pd.DataFrame(lines), notes)
    return Exhibit("groups", table.name, caption, table, of=lead.name)


def run_times(material: Material) -> Iterator[Exhibit]:
    """Milliseconds a view of runs that encoded something themselves."""
    rows: list[list[Any]] = []
    for run in material.runs:
        record = run.record
        views = int((record.get("cache") or {}).get("views_encoded") or 0)
        seconds, engine = (record.get("seconds") or {}).get("encode"), record.get("engine") or {}
        if views and seconds:
            words = " ".join(str(engine[k]) for k in ("engine", "precision", "device") if engine.get(k))
            rows.append([set_name(record["dataset"]), str(record["choices"].get("views", "")),
                         backbone_name(record["backbone"]), words, views, 1000 * float(seconds) / views])  # fmt: skip
    if rows:
        heads = ("Data set", "Views", "Backbone", "Engine", "Views encoded", "ms a view")
        cells = [
            [*(Cell(w, w) for w in r[:4]), Cell(f"{r[4]:,}", r[4]), number(r[5], form=".1f")] for r in rows
        ]
        caption = "Wall-clock time of encoding a view, decoding included. Cached views are not counted."
        table = Table(
            "run_time", caption, [("", h) for h in heads], cells, pd.DataFrame(rows, columns=list(heads))
        )
        yield Exhibit("time", "run_time", caption, table)
