"""The exhibits of runs: scatter plots, the magnitude cue, groups."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from magiqa.report.exhibit import Exhibit
from magiqa.report.material import Material
from magiqa.report.methods import clustered, each_once, fit_words, method_names, primary, score_name, where
from magiqa.report.plots import dots
from magiqa.report.scatter import Panel, binned_by_magnitude, groups_of, magnitude_figure, scatter
from magiqa.report.table import best_marks, frame_table
from magiqa.report.words import (
    AXES,
    backbone_name,
    group_name,
    group_word,
    set_key,
    set_name,
    set_words,
    short_label,
)
from magiqa.runs.read import CUES, Run
from magiqa.stats.correlation import srcc

MOST_METHODS = 8  # columns of a table by group


def agreement_words(run: Run, score: str) -> str:
    """Return SRCC and PLCC after the fit in one short line.

    PLCC after the fit carries the sign of the raw PLCC.
    """
    values = run.agreement[run.agreement["score"] == score].set_index("statistic")["value"]
    rank, raw, fitted = (float(values.get(name, np.nan)) for name in ("srcc", "plcc", "plcc_logistic"))
    plcc = raw if np.isnan(fitted) else np.copysign(fitted, raw)
    return ", ".join(f"{name} {value:.3f}".replace("-", "−") if np.isfinite(value) else f"{name} undefined"
                     for name, value in (("SRCC", rank), ("PLCC", plcc)))  # fmt: skip


def shown_scores(run: Run) -> list[str]:
    """Return the scores of a run that are not the same as another: a run of one cue has no fused score."""
    return [*CUES] if primary(run.record) == "q" else ["q_sim", "q_mag"]


def run_exhibits(run: Run) -> list[Exhibit]:
    """Return the figures of a run: each score against MOS, the magnitude cue in bins, SRCC by group."""
    label, place = short_label(run.label), where(run.record)
    panels = [Panel(run, score, agreement_words(run, score)) for score in shown_scores(run)]
    unfitted = ", ".join(AXES[p.score].lower() for p in panels if p.params is None)
    line = f"Line: {fit_words([run.record])} fit" + f" (none for {unfitted})" * bool(unfitted)
    method = score_name(run.record, "q")
    few = binned_by_magnitude(run)["low"].isna().any()
    colors = f" Colors: {group_word(run.record['dataset'])}s." if groups_of(panels) else ""
    out = [
        Exhibit("cues", "scatter", f"{label} against each cue and the score of {method} on {place} {line}.{colors}",
                draw=lambda stem: scatter(stem, panels), of=run.name, wide=len(panels) > 1),
        Exhibit("magnitude", "magnitude", f"{label} against the magnitude cue on {place} Line: mean {label} in ten "
                f"bins of the cue, with 95 % intervals{clustered(run.record)}."
                + f" No interval: too few {run.record['dataset'].get('cluster') or 'image'}s in the bin." * bool(few),
                draw=lambda stem: magnitude_figure(stem, run), of=run.name),
    ]  # fmt: skip
    return out if run.groups is None or run.groups.empty else [*out, _group_figure(run, run.groups, method)]


def _group_figure(run: Run, groups: pd.DataFrame, method: str) -> Exhibit:
    """Return SRCC by group, with all images and the mean over groups above them."""
    data, word = run.record["dataset"], group_word(run.record["dataset"])
    order = groups[(groups["statistic"] == "srcc") & (groups["score"] == primary(run.record))]
    names = {"srcc": "All images", "srcc_within": f"Mean over {word}s"}
    names |= {
        g: group_name(g, data) for g in order.sort_values("value", ascending=False)["group"].astype(str)
    }
    rows = pd.concat([run.agreement, groups[groups["statistic"] == "srcc"]])
    rows = rows.assign(
        name=rows["group"].fillna(rows["statistic"]).map(names),
        series=rows["score"].map({**AXES, "q": method}),
    )
    rows = rows[rows["name"].notna() & rows["score"].isin(shown_scores(run))]
    rows = rows.rename(columns={"ci_low": "low", "ci_high": "high"})
    order = [name for name in names.values() if name in set(rows["name"])]
    caption = f"SRCC by {word} on {where(run.record)} Bars: 95 % intervals."
    label = f"SRCC with {short_label(run.label)}"
    return Exhibit("group_figure", "srcc_by_group", caption, of=run.name,
                   draw=lambda stem: dots(stem, rows, xlabel=label, order=order))  # fmt: skip


def scatter_figure(material: Material) -> Iterator[Exhibit]:
    """MOS against predicted score: a figure each of one or two data sets, else a panel each in one figure."""
    runs = material.leading
    if len(runs) > 2:
        yield _scatter(material, runs, "scatter")
    else:
        yield from (_scatter(material, [run], f"{run.name}/predicted") for run in runs)


def _scatter(material: Material, runs: Sequence[Run], name: str) -> Exhibit:
    several, data, scores = len(runs) > 1, runs[0].record["dataset"], [primary(run.record) for run in runs]
    (method, *_) = method_names(
        [(r.name, r.record, s) for r, s in zip(runs, scores, strict=True)], material.asked.names
    )
    heads = [
        f"{set_name(d)}, n = {d['n']:,}\n" if several else "" for d in (run.record["dataset"] for run in runs)
    ]
    panels = [Panel(run, score, head + agreement_words(run, score))
              for run, score, head in zip(runs, scores, heads, strict=True)]  # fmt: skip
    label = " or ".join(dict.fromkeys(short_label(run.label) for run in runs))
    bones = "; ".join(sorted({backbone_name(run.record["backbone"]) for run in runs}))
    place = f"each data set. Backbone: {bones}." if several else where(runs[0].record)
    fit = fit_words(run.record for run in runs)
    caption = f"{label} against predicted score ({method}) on {place} Line: {fit} fit. PLCC: after the fit."
    caption += f" Colors: {group_word(data)}s." if groups_of(panels) else ""
    return Exhibit("scatter", name, caption, draw=lambda stem: scatter(stem, panels), wide=several)


def figures_of_runs(material: Material) -> Iterator[Exhibit]:
    """The figures of the first run on each set."""
    for run in material.leading:
        for exhibit in run_exhibits(run):
            twin = exhibit.kind == "magnitude" and run is not material.leading[0]  # which the cues show too
            kind = "cues" if twin else exhibit.kind
            yield replace(exhibit, kind=kind, name=f"{run.name}/{exhibit.name}", twin=twin)


def group_tables(material: Material) -> Iterator[Exhibit]:
    """SRCC by generator or distortion type of every method, other programs' too, a table a data set."""
    for lead in material.leading:
        if "group" not in lead.scores or lead.scores["group"].nunique() < 2:
            continue
        key = set_key(lead.record["dataset"])
        runs = [r for r in material.every_run if set_key(r.record["dataset"]) == key and "group" in r.scores]
        once = set(zip(material.rows["run"], material.rows["score"], strict=True))
        shown = [(run, score) for run in runs for score in CUES if (run.name, score) in once]
        if len(shown) > MOST_METHODS:
            shown = [(run, score) for run, score in shown if score == primary(run.record)][:MOST_METHODS]
        yield _group_table(material, lead, shown)


def _group_table(material: Material, lead: Run, shown: Sequence[tuple[Run, str]]) -> Exhibit:
    data, word = lead.record["dataset"], group_word(lead.record["dataset"])
    names = method_names([(run.name, run.record, score) for run, score in shown], material.asked.names)
    names = each_once(names, [run.name for run, _ in shown])
    lines: list[dict[str, Any]] = []
    for group, part in lead.scores.groupby(lead.scores["group"].astype(str)):
        rows = [run.scores[run.scores["group"].astype(str) == group] for run, _ in shown]
        values = [srcc(r[score].to_numpy(float), r[run.label].to_numpy(float))
                  for r, (run, score) in zip(rows, shown, strict=True)]  # fmt: skip
        lines.append({"group": group, "n": len(part), **dict(zip(names, values, strict=True))})
    lines.sort(key=lambda line: group_name(line["group"], data).lower())
    frame = pd.DataFrame(lines)
    bones = sorted({backbone_name(r.record["backbone"]) for r, _ in shown if not r.record.get("external")})
    caption = f"SRCC by {word} on {set_words(data)}. Backbone: {'; '.join(bones)}."
    table = frame_table(frame.assign(group=[group_name(g, data) for g in frame["group"]]),
                        {"group": word.capitalize(), **{name: name for name in frame if name != "group"}})  # fmt: skip
    for row in table.rows:
        marks = best_marks([cell.value for cell in row[2:]])
        row[2:] = [replace(cell, mark=mark) for cell, mark in zip(row[2:], marks, strict=True)]
    notes = ["Bold: best of the row; underlined: second."] if len(shown) > 1 else []
    table = replace(table, name=f"groups_{lead.name}", title=caption, data=frame, notes=notes)
    return Exhibit("groups", table.name, caption, table, of=lead.name)
