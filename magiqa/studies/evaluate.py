"""A run: a method on a data set. Scores, agreement, figures and a record."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd

from magiqa import __version__
from magiqa.datasets.base import Labels
from magiqa.errors import UserError
from magiqa.features.features import Features
from magiqa.features.from_images import workers
from magiqa.features.source import prepare
from magiqa.method.prompts import PromptSet
from magiqa.report.table import Cell, Table, number
from magiqa.runs.config import RunConfig
from magiqa.runs.folder import ResultFolder
from magiqa.runs.names import CONTROLS, CUES
from magiqa.runs.provenance import Clock, versions
from magiqa.runs.read import Run, read_record
from magiqa.scoring.score import score, score_views
from magiqa.stats.agreement import Agreement, agreement, by_group
from magiqa.stats.logistic import WORDS
from magiqa.stats.paired import compare, paired_row
from magiqa.stats.sampling import Sampling

SCORES = (*CUES, *CONTROLS)

FILES = ("scores.csv", "agreement.csv", "groups.csv", "comparison.csv", "views.csv")

SCORES_NOTE = (
    "q is fused in each view and then pooled over an image's views, as q_sim and q_mag are: it does not follow from "
    "the q_sim, q_mag and w_sim of its row"
)

OPTIONAL = ("group", "level", "reference", "prompt", "split", "mos_std")


def scores_table(features: Features, cues: pd.DataFrame) -> pd.DataFrame:
    """``scores.csv``: image, label, cues, the reader's columns, controls; a row an image, the annotation's order."""
    table = features.table
    given = [c for c in OPTIONAL if c in table and table[c].notna().any()]
    return pd.concat([table[["image", features.labels.label]], cues, table[given], features.controls], axis=1)


def sampling_of(job: RunConfig, labels: Labels, table: pd.DataFrame) -> Sampling:
    """What of a run's images is resampled."""
    return Sampling.of(table, labels.cluster, job.statistics.resamples, job.statistics.seed)


def agreement_tables(
    job: RunConfig, labels: Labels, scores: pd.DataFrame, clock: Clock
) -> tuple[pd.DataFrame, pd.DataFrame | None, dict[str, Any]]:
    """``agreement.csv``, ``groups.csv`` (where there are groups) and the fits of the record."""
    y = scores[labels.label].to_numpy(float)
    sampling = sampling_of(job, labels, scores)
    options: dict[str, Any] = sampling.options | {
        "cluster_name": f"values of {labels.cluster}",
        "fit": job.statistics.fit,
        "turned": not labels.higher_is_better,
    }

    raw = {key: value for key, value in options.items() if key not in ("fit", "turned")}

    def of(name: str) -> tuple[Agreement, list[dict[str, Any]]]:
        x = scores[name].to_numpy(float)
        within = [] if sampling.groups is None else by_group(x, y, **raw)
        return agreement(x, y, **options), list(within)

    rows, grouped, fits = [], [], {}
    with ThreadPoolExecutor(workers(job, "cpu")) as executor:
        found = list(executor.map(of, SCORES))
    for name, (result, within) in zip(SCORES, found, strict=True):
        rows += [{"score": name, **row} for row in result.rows()]
        fits[name] = {"status": result.fit.status, "params": result.fit.params, "method": job.statistics.fit}
        if result.fit.status != "ok":
            said = WORDS.get(result.fit.status, result.fit.status)
            clock.warnings.append(f"{name}: logistic fit ({job.statistics.fit}) {said}")
        grouped += [{"score": name, **row} for row in within]
    table = pd.DataFrame(rows)
    for (statistic, reason), part in table[
        table["statistic"].isin(["srcc", "krcc", "plcc", "srcc_within"])
    ].groupby(["statistic", "withheld"], sort=False):
        if reason:
            clock.warnings.append(f"no interval of {statistic} for {', '.join(part['score'])}: {reason}")
    return table, (pd.DataFrame(grouped) if grouped else None), fits


def comparison_table(job: RunConfig, labels: Labels, scores: pd.DataFrame) -> pd.DataFrame:
    """``comparison.csv``: does fusing gain over similarity alone? q - q_sim, pooled and within groups."""
    sampling = sampling_of(job, labels, scores)
    rows = []
    for statistic in ("srcc", *(["srcc_within"] if sampling.groups is not None else [])):
        (pair,) = compare(
            {"q": scores["q"], "q_sim": scores["q_sim"]},
            scores[labels.label],
            reference="q_sim",
            statistic=statistic,
            **sampling.options,
        )
        rows.append(paired_row(pair))
    return pd.DataFrame(rows)


def paired_lines(comparison: pd.DataFrame) -> list[str]:
    """The paired differences in words, for the printed table."""
    lines = []
    for r in comparison.to_dict("records"):
        head = f"{r['a']} - {r['b']}, {r['statistic']}: {r['diff']:+.4f}"
        if r["withheld"]:
            lines.append(f"{head} (no interval: {r['withheld']})")
        else:
            sign = "<=" if r["p"] <= r["p_floor"] else "="
            lines.append(
                f"{head} [{r['diff_low']:+.4f}, {r['diff_high']:+.4f}], paired p {sign} {r['p']:.3g}"
            )
    return lines


def evaluate(
    job: RunConfig, *, progress: bool = True, show: Callable[[str], object] | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Encode what the cache lacks, score, evaluate, and write the run's folder.

    Args:
        show: is given the table to print, as soon as there is one: figures are drawn after it.

    Returns:
        ``agreement.csv`` and the record.
    """
    if job.source.part is not None:
        raise UserError(f"part={job.source.part} is for magiqa encode: scores need the whole set; drop it")
    with ResultFolder(job.folder, "evaluate", FILES) as results:
        return _evaluate(job, results, progress=progress, show=show)


def _evaluate(
    job: RunConfig, results: ResultFolder, *, progress: bool, show: Callable[[str], object] | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    clock = Clock()
    features = prepare(job, clock, progress=progress)
    with clock.stage("score"):
        scores = scores_table(features, score(features, job.method))
    return write_run(job, features, scores, results, clock, show)


def write_run(
    job: RunConfig,
    features: Features,
    scores: pd.DataFrame,
    results: ResultFolder,
    clock: Clock,
    show: Callable[[str], object] | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Measure scores' agreement, and write a run's tables, record and figures.

    Args:
        scores: as `scores_table` makes them. Others: as `evaluate`'s.
    """
    with clock.stage("agreement"):
        table, groups, fits = agreement_tables(job, features.labels, scores, clock)
        comparison = comparison_table(job, features.labels, scores)
    record = {
        "magiqa": __version__,
        "command": "evaluate",
        "name": job.name,
        "choices": job.choices,
        "changed": job.changed,
        "config": job.config,
        **features.record,
        "scores": SCORES_NOTE,
        "fits": fits,
        "versions": versions(job.config),
        "warnings": clock.warnings,
    }
    results.csv("scores", scores)
    results.csv("agreement", table)
    results.csv("comparison", comparison)
    if groups is not None:
        results.csv("groups", groups)
    if job.output.views_file:
        views = score_views(features, job.method)
        results.csv("views", views_table(features, views, job.method.prompts))
    results.record(record | {"seconds": clock.seconds})
    if show:
        show("\n".join([render(table, record), *paired_lines(comparison)]))
    if job.output.figures:
        from magiqa.report.captioned_figures import drawn_run, with_captions

        with clock.stage("figures"):
            run = Run(job.name, job.folder, read_record(results.path), scores, table, groups)
            with_captions(drawn_run(run, results.figure_path(), job.output.style.width))
        results.record(record | {"seconds": clock.seconds})
    return table, record


def views_table(features: Features, views: pd.DataFrame, prompts: PromptSet) -> pd.DataFrame:
    """``views.csv``: a row a view and prompt pair: image, view, kind of view, pair, the pair's similarity, cues."""
    pairs = [c for c in views if str(c).startswith("pair_")]
    long = views.melt(
        id_vars=["position", "view", "q_sim", "q_mag", "q", "w_sim"],
        value_vars=pairs,
        var_name="pair",
        value_name="similarity",
    )
    long["pair"] = long["pair"].str.removeprefix("pair_").astype(int)
    long = long.sort_values(["position", "view", "pair"], kind="stable", ignore_index=True)
    long.insert(0, "image", features.table["image"].to_numpy()[long["position"]])
    long["positive"] = [prompts.pairs[p][0] for p in long["pair"]]
    long["negative"] = [prompts.pairs[p][1] for p in long["pair"]]
    return long.drop(columns="position")


def render(table: pd.DataFrame, record: dict[str, Any]) -> str:
    """The one table that a run prints."""
    data, bone = record["dataset"], record["backbone"]
    statistics = list(dict.fromkeys(table["statistic"]))
    by = table.set_index(["score", "statistic"])

    def cell(score: str, statistic: str) -> Cell:
        row = by.loc[(score, statistic)]
        return number(row["value"], row["ci_low"], row["ci_high"], form="+.4f", band="+.3f")

    shown = Table.plain(
        ["", *statistics],
        [
            [score + (" (control)" if score in CONTROLS else ""), *(cell(score, s) for s in statistics)]
            for score in dict.fromkeys(table["score"])
        ],
    )
    name = data["name"] + (f" ({data['variant']})" if data["variant"] else "")
    kept = f"n={data['n']}" + (f" of {data['n_annotated']}" if data["n"] != data["n_annotated"] else "")
    every = f", one row in {data['every']}" if data["every"] > 1 else ""
    label = f" ({bone['label']})" if bone["label"] else ""
    head = [
        f"{name}, {kept}{every}, label {data['label']}; {bone['name']}{label}, weights {bone['weights_sha256'][:12]}; "
        f"{record['engine']['engine']} {record['engine']['precision']} on {record['engine']['device']}",
        "signed, on raw scores unless the name says logistic; 95 % bootstrap intervals"
        + (f", resampled by {data['cluster']}" if data["cluster"] else ""),
        "",
    ]
    notes = [f"warning: {w}" for w in record["warnings"]]
    return "\n".join([*head, shown.text(), *_other_groups(table), *notes])


def _other_groups(table: pd.DataFrame) -> list[str]:
    """How q's pooled SRCC depends on which groups there are, in a line."""
    (row,) = table[(table["score"] == "q") & (table["statistic"] == "srcc")].to_dict("records")
    if pd.isna(row["loo_group_low"]):
        return []
    line = (
        f"these groups, fixed: SRCC of q lies in {row['loo_group_low']:+.3f} to {row['loo_group_high']:+.3f} when one "
        "of them is left out"
    )
    if not pd.isna(row["ci_groups_low"]):
        line += (
            f"; with other groups of the kind, [{row['ci_groups_low']:+.3f}, {row['ci_groups_high']:+.3f}]"
        )
    return [line]
