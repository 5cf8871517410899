"""Evaluate a method on a data set: scores, agreement with the labels, figures and a record."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.datasets.base import Labels
from magiqa.datasets.splits import chosen_rows
from magiqa.errors import UserError
from magiqa.features.images import Features
from magiqa.features.source import open_source
from magiqa.method.prompts import PromptSet
from magiqa.package import expanded
from magiqa.report.console import screen, spread
from magiqa.report.methods import method_name, primary
from magiqa.report.table import frame_table, interval, p_cell
from magiqa.report.words import backbone_name, group_word, set_line
from magiqa.runs.config import RunConfig, Splits
from magiqa.runs.folder import ResultFolder
from magiqa.runs.read import CONTROLS, CUES, Run
from magiqa.runs.record import Clock, RunRecord, job_record
from magiqa.scoring.score import score, score_views
from magiqa.stats.agreement import agreement, by_group, over_parts, random_parts
from magiqa.stats.logistic import WORDS
from magiqa.stats.paired import compare
from magiqa.stats.sampling import WITHIN, Sampling

SCORES = (*CUES, *CONTROLS)

FILES = ("scores.csv", "agreement.csv", "groups.csv", "comparison.csv", "splits.csv", "views.csv")

OPTIONAL = ("group", "level", "reference", "prompt", "split", "mos_std", "ratings")

SHOWN = {"srcc": "SRCC", "plcc": "PLCC", "plcc_logistic": "PLCC, fit"}

Tables = dict[str, pd.DataFrame]


def evaluate(
    job: RunConfig, *, progress: bool = True, show: Callable[[str], object] | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Encode what the cache lacks, score, evaluate, and write the run's folder.

    Args:
        show: prints the table, before the figures are drawn.

    Returns:
        ``agreement.csv`` and the record.
    """
    if job.source.part is not None:
        raise UserError(f"part={job.source.part} is for magiqa encode: scores need the whole set; drop it")
    clock = Clock()
    with ResultFolder(job.folder, "evaluate", FILES) as results:
        source = open_source(job, clock, progress=progress)
        labels = source.labels()
        images = source.images(labels)
        weights = source.weights()
        features = source.features(labels, images, weights)
        with clock.stage("score"):
            scores = scores_table(features, score(features, job.method))
        with clock.stage("agreement"):
            tables, fits = agreement_tables(job, labels, scores, clock)
        record = job_record(job, "evaluate", clock, job.name) | features.record | {"fits": fits}
        for name, table in ({"scores": scores} | tables).items():
            results.csv(name, table)
        if job.output.views_file:
            results.csv("views", views_table(features, score_views(features, job.method), job.method.prompts))
        if show:
            notes = [*clock.warnings, *results.warnings]
            show(first_screen(tables, record, notes, everything=job.output.statistics == "all"))
        if job.output.figures:
            with clock.stage("figures"), results.drawing(record) as folder:
                draw_figures(job, folder, record, scores, tables)
        record = results.record(record)
    return tables["agreement"], record


def scores_table(features: Features, cues: pd.DataFrame) -> pd.DataFrame:
    """Return ``scores.csv``: image, label, cues, the reader's columns, controls; a row an image."""
    table = features.table
    optional = [c for c in OPTIONAL if c in table and table[c].notna().any()]
    return pd.concat(
        [table[["image", features.labels.label]], cues, table[optional], features.controls], axis=1
    )


def agreement_tables(
    job: RunConfig, labels: Labels, scores: pd.DataFrame, clock: Clock
) -> tuple[Tables, dict[str, Any]]:
    """Return ``agreement``, ``comparison`` and, where the set has groups, ``groups``; and the logistic fits."""
    y = scores[labels.label].to_numpy(float)
    sampling = Sampling.of(scores, labels.cluster)
    clusters = f"values of {labels.cluster}"
    statistics: dict[str, Any] = {"fit": job.statistics.fit, "seed": job.statistics.seed}
    statistics["turned"] = not labels.higher_is_better

    rows, groups, fits = [], [], {}
    for name in SCORES:
        x = scores[name].to_numpy(float)
        result = agreement(x, y, sampling, cluster_name=clusters, **statistics)
        rows += [{"score": name, **row} for row in result.rows()]
        if sampling.groups is not None:
            groups += [{"score": name, **row} for row in by_group(x, y, sampling, cluster_name=clusters)]
        params = None if result.fit.params is None else list(result.fit.params)
        fits[name] = {"status": result.fit.status, "params": params, "method": job.statistics.fit}
    comparison = comparison_table(sampling, labels, scores, job.statistics.equivalence)
    tables = {"agreement": pd.DataFrame(rows), "comparison": comparison}
    clock.warnings += [*poor_fits(fits), *omitted_intervals(tables["agreement"])]
    if groups:
        tables["groups"] = pd.DataFrame(groups)
    if job.statistics.splits.repeats or job.statistics.splits.files:
        tables["splits"] = splits_table(job.statistics.splits, scores, labels, tables["agreement"])
    return tables, fits


def splits_table(splits: Splits, scores: pd.DataFrame, labels: Labels, whole: pd.DataFrame) -> pd.DataFrame:
    """Return ``splits.csv``: statistics over the test parts, beside those of all images with their intervals.

    Raises:
        UserError: the set has no such column; a list that names no image of it.
    """
    if splits.files:
        parts = []
        for file in map(expanded, splits.files):
            for row in range(splits.repeats or 1) if file.suffix == ".npy" else (0,):
                mask = chosen_rows(file, labels.table, None, file, row)
                parts.append(np.flatnonzero(scores["image"].isin(labels.table["image"][mask])))
    else:
        by = splits.by or next((c for c in ("reference", "prompt") if c in scores), "image")
        if by not in scores:
            raise UserError(f"splits.by={by}: dataset {labels.name} has no {by}; use splits.by=image")
        parts = random_parts(scores[by].astype(str), splits.repeats, splits.share, splits.seed)
    table = over_parts(scores[list(SCORES)], scores[labels.label].to_numpy(float), parts)
    table.insert(2, "n", int(np.median([len(part) for part in parts])))
    own = whole[["score", "statistic", "value", "ci_low", "ci_high"]]
    return table.merge(own, on=["score", "statistic"], how="left")


def poor_fits(fits: dict[str, Any]) -> list[str]:
    """Return a remark for each kind of logistic fit that is not a proper one."""
    by_status: dict[str, list[str]] = {}
    for name, fit in fits.items():
        by_status.setdefault(fit["status"], []).append(name)
    return [
        f"logistic fit of {', '.join(names)}: {WORDS.get(status, status)}"
        for status, names in by_status.items()
        if status != "ok"
    ]


def omitted_intervals(table: pd.DataFrame) -> list[str]:
    """Return a remark for each reason why intervals of SRCC or PLCC are omitted."""
    rows = table[table["statistic"].isin(["srcc", "plcc"]) & (table["withheld"] != "")]
    remarks = []
    for reason, part in rows.groupby("withheld", sort=False):
        statistics = " and ".join(SHOWN[s] for s in part["statistic"].unique())
        names = part["score"].unique()
        whose = "all scores" if len(names) == table["score"].nunique() else ", ".join(names)
        remarks.append(f"{statistics} interval omitted for {whose} ({reason})")
    return remarks


def comparison_table(
    sampling: Sampling, labels: Labels, scores: pd.DataFrame, equivalence: float | None = None
) -> pd.DataFrame:
    """Return ``comparison.csv``: the gain of q over q_sim, pooled and within groups."""
    pair, y = {"q": scores["q"], "q_sim": scores["q_sim"]}, scores[labels.label]
    statistics = ("srcc",) if sampling.groups is None else ("srcc", WITHIN)
    return pd.concat(
        [compare(pair, y, sampling, statistic=s, equivalence=equivalence) for s in statistics],
        ignore_index=True,
    )


def draw_figures(
    job: RunConfig, folder: Path, record: dict[str, Any], scores: pd.DataFrame, tables: Tables
) -> None:
    """Draw a run's figures with their captions."""
    from magiqa.report.exhibit import draw_all
    from magiqa.report.runs_exhibits import run_exhibits

    typed = RunRecord.of(record | {"files": {}})
    run = Run(job.name, job.folder, typed, scores, tables["agreement"], tables.get("groups"))
    draw_all(run_exhibits(run), folder, job.output.style)


def views_table(features: Features, views: pd.DataFrame, prompts: PromptSet) -> pd.DataFrame:
    """Return ``views.csv``: a row a view and prompt pair, with the pair's similarity and the view's cues."""
    long = views.melt(
        id_vars=["position", "view", "q_sim", "q_mag", "q", "w_sim"],
        value_vars=[c for c in views if str(c).startswith("pair_")],
        var_name="pair",
        value_name="similarity",
    )
    long["pair"] = long["pair"].str.removeprefix("pair_").astype(int)
    long = long.sort_values(["position", "view", "pair"], kind="stable", ignore_index=True)
    long.insert(0, "image", features.table["image"].to_numpy()[long["position"]])
    groups = prompts.all_groups
    long["positive"] = [groups[i].name for i in long["pair"]]
    long["negative"] = [groups[i].lowest for i in long["pair"]]
    return long.drop(columns="position")


def first_screen(
    tables: Tables, record: dict[str, Any], notes: Sequence[str] = (), *, everything: bool = False
) -> str:
    """Return what ``magiqa evaluate`` prints.

    Args:
        notes: remarks below the table. everything: show every statistic of ``agreement.csv``.
    """
    table, data = tables["agreement"], record["dataset"]
    columns = {s: SHOWN.get(s, s) for s in table["statistic"].unique() if everything or s in SHOWN}
    wide = spread(table, "score", "statistic", "value")
    wide = wide.loc[["q", "q_sim", "q_mag", *CONTROLS]]
    wide.insert(0, "score", [f"{s} (control)" if s in CONTROLS else s for s in wide.index])
    # a fit may fall: PLCC after it has the sign of the raw one, as in a paper's table
    if {"plcc", "plcc_logistic"} <= set(wide):
        wide["plcc_logistic"] = np.copysign(wide["plcc_logistic"], wide["plcc"])
    clusters = f"; clusters: {data['cluster']}s" if data["cluster"] else ""
    engine = " ".join(record["engine"][k] for k in ("engine", "precision", "device"))
    name = record["config"].get("name") or method_name(record, primary(record))
    head = [
        f"{set_line(data)}: {name}, {backbone_name(record['backbone'])}",
        f"weights {record['backbone']['weights_sha256'][:12]}, {engine}; [95 % interval]{clusters}",
    ]
    shown = frame_table(wide, {"score": "", **columns}, best=["srcc", "plcc", "plcc_logistic"])
    return screen(head, [shown, *findings(tables, group_word(data))], notes, width=80)


def findings(tables: Tables, group: str) -> list[str]:
    """Return the gain of fusing, and the range of SRCC when one group is left out."""
    gain = tables["comparison"].iloc[0]
    test = f"{interval(gain['diff_low'], gain['diff_high'], '+.3f')}, p {p_text(gain['p'])}"
    lines = [f"SRCC of q - q_sim: {gain['diff']:+.3f} {gain['withheld'] or test}"]
    table = tables["agreement"]
    row = table[(table["score"] == "q") & (table["statistic"] == "srcc")].iloc[0]
    if pd.notna(row["loo_group_low"]):
        low, high = row["loo_group_low"], row["loo_group_high"]
        lines.append(f"SRCC of q without one {group}: {low:.3f} to {high:.3f}")
    if "splits" in tables:
        row = tables["splits"].set_index(["score", "statistic"]).loc[("q", "srcc")]
        lines.append(
            f"SRCC of q on {row['parts']:g} test parts of {row['n']:g} images: median {row['median']:.3f}, mean "
            f"{row['mean']:.3f}, sd {row['sd']:.3f} (no confidence interval: the parts overlap)"
        )
    return ["", *lines]


def p_text(p: float) -> str:
    """Return a p value for a line of text, such as ``= 0.045`` or ``< 0.001``."""
    text = p_cell(p).text
    return text if text.startswith("<") else f"= {text}"
