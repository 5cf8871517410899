"""Evaluate the variants of an ablation on cached features, with paired differences from a reference."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa import __version__
from magiqa.method.presets import GROUPS
from magiqa.report.console import round_steps, screen
from magiqa.report.table import Table, frame_table
from magiqa.report.transfer import transfer
from magiqa.report.words import backbone_name, set_line
from magiqa.runs.config import RunConfig
from magiqa.runs.folder import ResultFolder
from magiqa.runs.read import Sheet
from magiqa.runs.record import Clock, Record, job_record
from magiqa.scoring.score import score_all
from magiqa.stats.paired import against
from magiqa.stats.sampling import Sampling
from magiqa.studies.ablation import Ablation, Compose, Variant, available, expand, shown, study_folder

MOST = 25  # rows of a printed table that lie on a numeric axis


def ablate(
    job: RunConfig, compose: Compose | None = None, *, progress: bool = True
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Evaluate the variants of ``job.ablation`` and write ``ablation.csv``, its figure and ``record.json``.

    Returns:
        The table, a row a variant, and the record.
    """
    ablation: Ablation = job.ablation
    variants, reference = expand(job, compose)
    clock, path = Clock(), study_folder(job, "ablations", ablation.name)
    with ResultFolder(path, f"ablate ablation={ablation.name}", ["ablation.csv"]) as results:
        variants, reference, lacking = available(ablation.name, variants, reference, clock)
        jobs = [v.job for v in variants]
        features, matrix = score_all(jobs, clock, ablation.score, progress=progress)
        clock.warnings += _same_scores([v.name for v in variants], matrix)
        images, labels = features.table, features.labels
        sampling = Sampling.of(images, labels.cluster)
        y = images[labels.label].to_numpy(float)
        with clock.stage("statistics"):
            numbers = against(matrix, y, reference, sampling, job.statistics.equivalence)
            if few := sampling.too_few():
                clock.warnings.append(f"no intervals and no p: {few}")
        table = pd.concat([_columns(variants, ablation.score), numbers], axis=1)
        gains = table["srcc"].fillna(-np.inf)
        best = reference if gains[reference] == gains.max() else int(gains.idxmax())
        record = {
            **job_record(job, "ablate", clock, f"{ablation.name}-{job.name}"),
            **features.record,
            "backbone": _backbone(features.record["backbone"], jobs),
            "ablation": {
                "name": ablation.name,
                "score": ablation.score,
                "reference": variants[reference].name,
                "parameter": _parameter(table, variants),
                "variants": len(variants),
                "lacking": lacking,
                "best": variants[best].name,
                "best_srcc": _number(table["srcc"].iloc[best]),
                "best_gain": _number(table["srcc"].iloc[best] - table["srcc"].iloc[reference]),
            },
        }
        results.csv("ablation", table)
        if job.output.figures:
            from magiqa.report.ablation_exhibits import ablation_figures
            from magiqa.report.exhibit import draw_all

            with clock.stage("figures"), results.drawing(record) as folder:
                sheet = Sheet("ablation", "", path / "ablation.csv", Record.of(record), table, True)
                draw_all(ablation_figures(sheet, "ablation"), folder, job.output.style)
        results.record(record)
    return table, record


def _columns(variants: Sequence[Variant], score: str) -> pd.DataFrame:
    """Return the columns that say what a variant is: its name, its score, each key that varies, its weights."""
    columns: dict[str, Any] = {"variant": [v.name for v in variants], "score": score}
    for key in dict.fromkeys(k for v in variants for k in v.overrides):
        values = [v.overrides.get(key, _current(v.job, key)) for v in variants]
        columns[key] = [v if isinstance(v, int | float | str) else shown(v) for v in values]
    weights = [_weights(v.job) for v in variants]
    return pd.DataFrame(columns | ({"weights": weights} if len(set(weights)) > 1 else {}))


def _parameter(table: pd.DataFrame, variants: Sequence[Variant]) -> str | None:
    """Return the one number that varies, if it has five values or more."""
    keys = list(dict.fromkeys(k for v in variants for k in v.overrides))
    numeric = [k for k in keys if pd.api.types.is_numeric_dtype(table[k]) and table[k].nunique() >= 5]
    return numeric[0] if len(keys) == 1 and numeric else None


def _backbone(record: dict[str, Any], jobs: Sequence[RunConfig]) -> dict[str, Any]:
    """Return the record of the backbone, with the names and labels of all backbones that are compared."""
    weights = list(dict.fromkeys(map(_weights, jobs)))
    labeled = len(weights) > 1 and any(j.method.backbone.shown_label for j in jobs)
    names = ", ".join(dict.fromkeys(j.method.backbone.name for j in jobs))
    return record | {"name": names} | ({"label": "; ".join(weights)} if labeled else {})


def _same_scores(names: Sequence[str], matrix: np.ndarray) -> list[str]:
    """Return a remark for each set of variants that score every image alike, to the bit."""
    alike: dict[bytes, list[str]] = {}
    for name, row in zip(names, matrix, strict=True):
        alike.setdefault(row.tobytes(), []).append(name)
    return [f"the same score on every image: {', '.join(some)}" for some in alike.values() if len(some) > 1]


def _weights(job: RunConfig) -> str:
    """Return a job's weights: their label, or a word."""
    bone = job.method.backbone
    published = f"published ({bone.pretrained or bone.name})"
    return bone.shown_label or ("given" if bone.kind == "given" else published)


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _current(job: RunConfig, key: str) -> Any:
    """Return the value that a key has in a job."""
    group, _, leaf = key.partition(".")
    if leaf:
        return getattr(job.get(group), leaf, "")
    return job.choices.get(group, "") if group in (*GROUPS, "method") else job.get(group)


def render(table: pd.DataFrame, record: dict[str, Any]) -> str:
    """Return what ``magiqa ablate`` prints: the variants, and the gain of the best one."""
    about = record["ablation"]
    clusters = record["dataset"]["cluster"]
    head = [
        f"ablation {about['name']}: {about['variants']} variants of {about['score']}; {set_line(record['dataset'])}; "
        f"{backbone_name(record['backbone'])}",
        f"reference: {about['reference']}; [95 % interval]"
        + (f"; clusters: {clusters}s" if clusters else "")
        + "; p: adjusted for all variants",
    ]
    rows, note = _shown_rows(table, about)
    part = table.iloc[rows].copy()
    marks = {about["best"]: " (best)"} | {about["reference"]: " (reference)"}
    part["variant"] += part["variant"].map(marks).fillna("")
    columns = {"variant": "", "srcc": "SRCC", "diff": "difference", "p_adjusted": "p"}
    columns |= {"srcc_within": "SRCC within groups"}
    columns = {k: v for k, v in columns.items() if k in part}
    lines: list[Table | str] = [frame_table(part, columns, best=["srcc"]), *note]
    axis = [] if about["parameter"] is None else table[about["parameter"]].tolist()
    value = dict(zip(table["variant"], axis, strict=False)).get(about["best"])
    edge = ", at the edge of the range" if axis and value in (min(axis), max(axis)) else ""
    gain = (
        ""
        if about["best_gain"] is None
        else f", {about['best_gain']:+.3f} over the reference on these images"
    )
    if about["best"] == about["reference"]:
        gain = ", the reference itself"
    lines += ["", f"best: {about['best']}{edge}{gain}"]
    return screen(head, lines, record["warnings"])


def _shown_rows(table: pd.DataFrame, about: dict[str, Any]) -> tuple[list[int], list[str]]:
    """Return the rows that are printed, and a line that says which they are."""
    names = table["variant"].tolist()
    always = {names.index(about["reference"]), names.index(about["best"])}
    if len(table) <= MOST or not (about["parameter"] or len(table) > 2 * MOST):
        return list(range(len(table))), []
    if about["parameter"]:
        rows, step = round_steps(table[about["parameter"]].tolist(), MOST)
        which = f"{about['parameter']} in steps of {step:g}, the best and the reference"
    else:
        rows = np.argsort(-table["srcc"].to_numpy(), kind="stable")[:MOST].tolist()
        which = f"the {MOST} best and the reference"
    return sorted(always | set(rows)), [f"{which}; ablation.csv holds all {len(table)} variants"]


def write_transfer(folder: Path, done: Sequence[tuple[pd.DataFrame, dict[str, Any]]]) -> pd.DataFrame:
    """Write `transfer` of an ablation into a folder, unless it has no rows."""
    table, name = transfer(done), f"{done[0][1]['ablation']['name']}-left_out"
    if table.empty:
        return table
    with ResultFolder(folder, "ablate -m", [f"{name}.csv"], record=f"{name}.json") as results:
        results.csv(name, table)
        results.record({"magiqa": __version__, "command": "ablate -m"})
    return table
