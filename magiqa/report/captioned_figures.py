"""Figures with their captions: what a report and a paper are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from magiqa.report.ablation_plots import ablation_figure, ablation_figures, curves_of_sets
from magiqa.report.agreement_plots import fit_remarks, grid_figure, run_figures
from magiqa.report.captions import caption, describe, main_protocol, method_words, resampling, unit
from magiqa.report.color_tables import heat_map
from magiqa.report.display_names import (
    SCORES,
    backbone_name,
    parameter,
    set_facts,
    set_name,
    statistic,
    variant_name,
)
from magiqa.report.escape import md, tex
from magiqa.report.forest_plot import forest
from magiqa.report.method_names import methods
from magiqa.report.significance import named_pairs, protocols, significance_figure
from magiqa.report.style import Width, printed_width
from magiqa.report.table import interval, number
from magiqa.report.titles import ablation_title
from magiqa.report.verdicts import pairs_verdict, verdict
from magiqa.runs.listed_files import files_of, read_listed
from magiqa.runs.names import CONTROLS, CUES
from magiqa.runs.read import Run, Sheet


@dataclass(frozen=True)
class Drawn:
    """A figure's files and its caption; wide ones take both columns."""

    png: Path
    caption: str
    wide: bool = False

    def write_captions(self) -> list[Path]:
        """The caption beside the figure, in Markdown and LaTeX."""
        files = [self.png.with_suffix(".md"), self.png.with_suffix(".tex")]
        files[0].write_text(md(self.caption) + "\n", encoding="utf-8")
        files[1].write_text(tex(self.caption) + "\n", encoding="utf-8")
        return files

    @property
    def files(self) -> list[Path]:
        """The PNG and the PDF."""
        return [self.png, self.png.with_suffix(".pdf")]


def leading(runs: Sequence[Run]) -> list[Run]:
    """The runs whose score fuses both cues before the others."""
    return sorted(
        runs, key=lambda run: run.record.get("choices", {}).get("fusion") in ("similarity", "magnitude")
    )


def drawn_run(run: Run, folder: Path, width: Width = "page") -> list[Drawn]:
    """A run's scatter plots, magnitude and groups."""
    words = describe(run.record)
    if run.groups is not None:
        words += f" They hold these {run.groups['group'].nunique()} groups fixed."
    captions = {
        "scatter": "Scores against the label, a point an image. Curve: the fitted logistic function. Each title gives "
        f"SRCC and raw PLCC with their intervals, each alone. {_without_interval(run)}{fit_remarks(run.record)} "
        f"{_srcc(run, CUES)}",
        "magnitude": "The magnitude cue against the label: points are images; the line is the label's mean in bins of "
        f"the cue of about equal size. {_srcc(run, ('q_mag',))}",
        "srcc_by_group": "SRCC of each cue and the fused score inside each group; the first two rows are all images "
        "pooled, and the mean over groups. Bars: 95 % intervals, each alone; nothing is tested between groups. "
        f"{_srcc(run, CUES)}",
    }
    files = run_figures(folder, run.scores, run.agreement, run.groups, run.record, width=width)
    return [
        Drawn(f, f"{captions[f.stem]} {words}", f.stem != "magnitude" and width == "page")
        for f in files
        if f.suffix == ".png"
    ]


def _srcc(run: Run, scores: Sequence[str]) -> str:
    """SRCC on all images with its interval, and whether it leaves out 0."""
    rows = run.agreement[run.agreement["statistic"] == "srcc"].set_index("score")
    parts = []
    for score in (s for s in scores if s in rows.index):
        value, low, high = (float(rows.loc[score, c]) for c in ("value", "ci_low", "ci_high"))
        side = "above 0" if low > 0 else "below 0" if high < 0 else "around 0"
        sure = "" if pd.isna(low) else f", interval {side}"
        parts.append(
            f"{SCORES[score]} {number(value, low, high, form='.3f').text} {interval(low, high)}{sure}".strip()
        )
    return f"SRCC on all images: {'; '.join(parts)}."


def _without_interval(run: Run) -> str:
    """Which PLCC has no interval, and why."""
    rows = run.agreement[(run.agreement["statistic"] == "plcc") & run.agreement["ci_low"].isna()]
    said = [
        f"{SCORES[r['score']]} ({r.get('withheld') or 'not computed'})"
        for r in rows.to_dict("records")
        if r["score"] in CUES
    ]
    return f"No interval of PLCC: {'; '.join(said)}. " if said else ""


def drawn_methods(
    runs: Sequence[Run], others: Sequence[Run], rows: pd.DataFrame, folder: Path, width: Width = "page"
) -> list[Drawn]:
    """All methods on all sets; scores against labels, sets by cues; backbones by sets."""
    rows = rows[rows["statistic"] == "srcc"]
    records = {run.name: run.record for run in (*runs, *others)}
    external = {run.name for run in others}
    own = [r for r in rows.to_dict("records") if r["run"] not in external]
    names, above = methods([(r["run"], records[r["run"]], r["score"]) for r in own])
    bones = {r["backbone"] for r in own if r["backbone"]}
    shown = [n if len(bones) < 2 or not r["backbone"] else f"{n}, {backbone_name(records[r['run']]['backbone'])}"
             for n, r in zip(names, own, strict=True)]  # fmt: skip
    frame = pd.DataFrame([*own, *(r for r in rows.to_dict("records") if r["run"] in external)])
    frame["name"] = [*shown, *frame["method"].iloc[len(shown) :]]
    # what these names do not tell apart, their runs' names do
    twice = frame.duplicated(["dataset", "name"], keep=False)
    frame.loc[twice, "name"] = frame["name"] + " [" + frame["run"] + "]"
    frame["set"] = [f"{set_name(d)}, n = {d['n']:,}" for d in (records[r]["dataset"] for r in frame["run"])]
    frame = frame.rename(columns={"ci_low": "low", "ci_high": "high"})
    labels = sorted(
        {str(r["backbone"]["label"]) for r in records.values() if r.get("backbone", {}).get("label")}
    )
    note = f"weights: {'; '.join(labels)}" if labels else ""
    words, about = _about(list(records.values()), above)
    out = [_forest(folder / "methods", frame, list(records.values()), about, note, width)]
    firsts: dict[str, Run] = {}
    for run in leading(runs):
        firsts.setdefault(set_name(run.record["dataset"]), run)
    alike = len({str(r.record.get("choices", {}) | {"dataset": ""}) for r in firsts.values()}) == 1
    if len(firsts) > 1 and alike:
        out.append(_grid(folder / "scatter", list(firsts.values()), words, note))
    if len(bones) > 1:
        bone = [backbone_name(records[r]["backbone"]) for r in frame["run"]]
        out.append(_backbones(folder / "backbones", frame.assign(bone=bone), about, note, width))
    return out


def _about(records: Sequence[Mapping[str, Any]], above: str) -> tuple[str, str]:
    """Sets and backbones of records, and the same with what all methods share."""
    words = "; ".join(dict.fromkeys(f"{set_name(r['dataset'])}: {set_facts(r['dataset'])}" for r in records))
    bones = {backbone_name(r["backbone"]) for r in records if r.get("backbone") and r["backbone"]["name"]}
    words = f"{words}. Backbone {'; '.join(sorted(bones))}."
    return words, f"{words} {above}".strip()


def _forest(
    stem: Path, frame: pd.DataFrame, records: Sequence[Mapping[str, Any]], about: str, note: str, width: Width
) -> Drawn:
    controls = [n for n, s in zip(frame["name"], frame["score"], strict=True) if s in CONTROLS]
    files = forest(stem, frame, xlabel="SRCC, 95 % interval", controls=controls, note=note, width=width)
    bands = " ".join(dict.fromkeys(f"{set_name(r['dataset'])}: {resampling(r)}" for r in records))
    caption = (
        "SRCC of every method on every data set, from the best in the mean down; intervals are each alone, and the "
        "table says which methods may be the best. Hollow: controls, which know nothing of quality. Dashed: the set's "
        f"best value. {about} {main_protocol(records)} {bands}"
    )
    return Drawn(files[0], caption, width == "page")


def _grid(stem: Path, runs: Sequence[Run], words: str, note: str) -> Drawn:
    files = grid_figure(stem, [(r.scores, r.agreement, r.record) for r in runs], note=note)
    caption = (
        "Scores against labels on each data set, a point an image. Curves: fitted logistic functions. "
        f"{fit_remarks(*(r.record for r in runs))} {words} {method_words(runs[0].record)}."
    )
    return Drawn(files[0], caption, True)


def _backbones(stem: Path, frame: pd.DataFrame, about: str, note: str, width: Width) -> Drawn:
    """One method for all: the one that most runs of these backbones are of."""
    top = frame[(frame["score"] == "q") & (frame["backbone"] != "")]
    method = top["method"].value_counts().index[0]
    grid = top[top["method"] == method].pivot_table(
        index="bone", columns="set", values="value", aggfunc="first"
    )
    files = heat_map(
        stem, grid, zlabel=f"SRCC of {method}", note=note, best=len(grid.columns) == 1, width=width
    )
    return Drawn(files[0], f"SRCC of {method} by backbone and data set. {about}", width == "page")


def varied(sheet: Sheet) -> list[str]:
    """The groups and keys that an ablation's variants set: captions leave them out."""
    table = sheet.table
    groups = ("backbone", "prompts", "views", "magnitude", "fusion")
    if not sheet.ablation:
        return []
    return [str(c) for c in table if "." in str(c) or (c in groups and len(set(table[c].astype(str))) > 1)]


def drawn_ablation(sheet: Sheet, folder: Path, name: str, width: Width = "page") -> list[Drawn]:
    """An ablation's curve or dots with the paired differences, or the heat maps of a grid."""
    about, table = sheet.record["ablation"], sheet.table
    reference = variant_name(str(about["reference"]))
    keys = [c for c in varied(sheet) if len(set(table[c].astype(str))) > 1]
    numeric = [k for k in keys if pd.api.types.is_numeric_dtype(table[k]) and table[k].nunique() >= 5]
    words = describe(sheet.record, varied=varied(sheet), intervals=len(numeric) < 2)
    if len(numeric) > 1:
        at = table["variant"].astype(str).tolist().index(str(about["reference"]))
        files = ablation_figures(folder / name, table, sheet.record, keys, at, width="column")
        pairs = [" and ".join(map(parameter, pair)) for pair in combinations(numeric, 2)]
        what = f"what else varies at the reference ({reference}). Nothing is tested. Square: the reference; star: the "
        what += f"best, picked on these images, which is optimistic. {words}"
        figures = [f for f in files if f.suffix == ".png"]
        return [Drawn(f, f"{ablation_title(about)}: SRCC over {pair}, {what}")
                for f, pair in zip(figures, pairs, strict=True)]  # fmt: skip
    files = ablation_figure(folder / name, table, sheet.record, width=width)
    together = "ci_simultaneous_low" in table
    band = "its 95 % band holds for all variants at once" if together else "its interval is of one pair"
    what = f"{ablation_title(about)}: SRCC of each variant, and its paired difference to the "
    what += f"reference ({reference}) on the same resamples: {band}."
    if keys:
        what += f" Varied: {', '.join(map(parameter, keys))}."
    names = [variant_name(str(name)) for name in table["variant"]]
    found = verdict(table, names, "Difference to the reference", "variants", ordered=len(numeric) == 1)
    what = f"{what} {found}".strip()
    return [Drawn(files[0], f"{what} {words}", width == "page")]


def drawn_curves(sheets: Sequence[Sheet], folder: Path, width: Width = "column") -> list[Drawn]:
    """One figure an ablation of one number that ran on several sets."""
    by: dict[str, list[Sheet]] = {}
    for sheet in sheets:
        about = sheet.record.get("ablation") or {}
        if sheet.ablation and isinstance(about, Mapping) and about.get("parameter") in sheet.table:
            by.setdefault(str(about["name"]), []).append(sheet)
    out = []
    for name, some in by.items():
        sets = {str(s.record["dataset"]): s for s in some}
        if len(sets) > 1:
            pairs: list[tuple[pd.DataFrame, Mapping[str, Any]]] = [(s.table, s.record) for s in sets.values()]
            place: Width = "page" if len(sets) > 3 else width  # so many captions' words fill a column
            files = curves_of_sets(folder / f"{name}_of_sets", pairs, width=place)
            about = some[0].record["ablation"]
            words = "; ".join(
                f"{set_name(r['dataset'])}: {set_facts(r['dataset'])}, resampled by {unit(r)}"
                for _, r in pairs
            )
            found = " ".join(
                verdict(t, list(map(variant_name, t["variant"].astype(str))), set_name(r["dataset"]), "variants",
                        ordered=True)
                for t, r in pairs)  # fmt: skip
            bone = "; ".join(sorted({backbone_name(r["backbone"]) for _, r in pairs}))
            protocol = method_words(some[0].record, varied=varied(some[0]))
            out.append(Drawn(files[0], f"{ablation_title(about)}: SRCC on each data set; below, set by set, the paired "
                             "difference in SRCC to the reference "
                             f"({variant_name(str(about['reference']))}) on the same resamples, its 95 % band for all "
                             f"variants of a set at once. Difference by set: {found} {words}. Backbone {bone}. "
                             f"{protocol}.", place == "page"))  # fmt: skip
    return out


def drawn_comparison(sheet: Sheet, folder: Path, name: str) -> list[Drawn]:
    """The significance matrix of each statistic that was compared."""
    out = []
    named = named_pairs(sheet.table, sheet.record)
    for one in dict.fromkeys(sheet.table["statistic"].astype(str)):
        stem = name if one == "srcc" else f"{name}-{one}"
        files = significance_figure(folder / stem, sheet.table, sheet.record, one)
        table = named[named["statistic"] == one]
        untested = "" if table["p_adjusted"].notna().all() else " ‡: not tested."
        words = (
            f"Paired differences in {statistic(one)} between methods, row less column, with 95 % intervals that hold "
            "for all pairs at once (in the table where cells are too small). *: p < 0.05, adjusted for all "
            f"pairs.{untested} {pairs_verdict(table)} "
            f"{caption(sheet.record)}. {protocols(sheet.record)} {resampling(sheet.record)}"
        )
        out.append(Drawn(files[0], words, True))
    return out


def drawn_study(sheet: Sheet, folder: Path) -> list[Drawn]:
    """Copies of the figures that an experiment's record lists, each as it was drawn: nothing else that lies there."""
    about = sheet.record.get("experiment") or {}
    wide, out = printed_width(sheet.record) == "page", []
    for name in files_of(sheet.record):
        if not (name.startswith("figures/") and name.endswith(".png")):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        stem = Path(name).stem
        for file in (name, name.removesuffix(".png") + ".pdf"):
            if file in files_of(sheet.record):
                data = read_listed(sheet.file.parent, sheet.record, file)
                (folder / Path(file).name).write_bytes(data)
        words = about.get("captions", {}).get(stem) or f"{stem}. {describe(sheet.record)}"
        out.append(Drawn(folder / f"{stem}.png", str(words), wide))
    return out


def with_captions(drawn: Sequence[Drawn]) -> list[Path]:
    """All files of figures, their captions written beside them."""
    return [file for one in drawn for file in (*one.files, *one.write_captions())]
