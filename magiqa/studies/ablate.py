"""The ablation of a run: its variants evaluated on cached features, with paired differences."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa import __version__
from magiqa.features.features import Features
from magiqa.report.table import Cell, Table, number, p_cell
from magiqa.runs.config import RunConfig
from magiqa.runs.folder import ResultFolder
from magiqa.runs.provenance import Clock, versions
from magiqa.runs.read import Sheet
from magiqa.runs.record import load_record
from magiqa.scoring.shared_features import score_all
from magiqa.stats.bootstrap import bootstrap_srcc_many
from magiqa.stats.intervals import too_few
from magiqa.stats.sampling import Sampling
from magiqa.stats.selection import argmax, halves, optimism
from magiqa.stats.variants import statistics
from magiqa.studies.ablation import GROUPS, Ablation, Compose, Variant, expand, shown
from magiqa.studies.available import available

SPLITS = 10  # random halvings for the optimism of picking the best


def folder_of(job: RunConfig) -> Path:
    """Where an ablation's results go."""
    if job.output.out:
        return Path(job.output.out).expanduser()
    return Path("results/ablations") / f"{job.ablation.name}-{job.name}"


def ablate(
    job: RunConfig, compose: Compose | None = None, *, progress: bool = True
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Evaluate the variants of ``job.ablation`` and write ``ablation.csv``, its figure and ``record.json``.

    Returns:
        The table, a row a variant, and the record.
    """
    variants, reference = expand(job, compose)
    command = f"ablate ablation={job.ablation.name}"
    clock = Clock()
    with ResultFolder(folder_of(job), command, ["ablation.csv"]) as results:
        variants, reference, lacking = available(job.ablation.name, variants, reference, clock)
        return _ablate(job, variants, reference, lacking, results, clock, progress=progress)


def _ablate(
    job: RunConfig,
    variants: Sequence[Variant],
    reference: int,
    lacking: dict[str, str],
    results: ResultFolder,
    clock: Clock,
    *,
    progress: bool,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    ablation: Ablation = job.ablation
    jobs = [v.job for v in variants]
    features, matrix = score_all(jobs, clock, ablation.score, progress=progress)
    clock.warnings += _same_scores([v.name for v in variants], matrix)
    y, sampling = _labels_of(features, job)
    with clock.stage("statistics"):
        found = statistics(matrix, y, reference, **sampling.options)
        parts = _halves(sampling, clock)
        split = bootstrap_srcc_many(matrix, y, parts) if len(parts) else np.empty((len(matrix), 0))
    chosen = optimism(split, reference)
    keys = list(dict.fromkeys(k for v in variants for k in v.overrides))
    columns: dict[str, Any] = {"variant": [v.name for v in variants], "score": ablation.score}
    for key in keys:
        values = [v.overrides.get(key, _current(v.job, key)) for v in variants]
        columns[key] = [v if isinstance(v, int | float | str) else shown(v) for v in values]
    weights = [_weights(j) for j in jobs]
    backbone = dict(features.record["backbone"])
    if len(set(weights)) > 1:
        columns["weights"] = weights
        # one backbone speaks for all in captions: with every label, and those without one said to be so
        if any(j.method.backbone.shown_label for j in jobs):
            backbone["label"] = "; ".join(dict.fromkeys(weights))
    backbone["name"] = ", ".join(dict.fromkeys(j.method.backbone.name for j in jobs))
    table = pd.concat([pd.DataFrame(columns), found], axis=1)
    numeric = [k for k in keys if pd.api.types.is_numeric_dtype(table[k]) and table[k].nunique() >= 5]
    best = argmax(table["srcc"].to_numpy(), reference)
    table["optimism"] = np.nan
    table.loc[best, "optimism"] = chosen["optimism"]
    record = {
        "magiqa": __version__,
        "command": "ablate",
        "name": f"{ablation.name}-{job.name}",
        "choices": job.choices,
        "changed": job.changed,
        "study": job.study,
        "config": job.config,
        **features.record,
        "backbone": backbone,
        "ablation": {
            "name": ablation.name,
            "score": ablation.score,
            "reference": variants[reference].name,
            "parameter": numeric[0] if len(keys) == 1 and numeric else None,
            "variants": len(variants),
            "lacking": lacking,
            "best": variants[best].name,
            "best_srcc": _number(table["srcc"].iloc[best]),
            "best_gain": _number(table["srcc"].iloc[best] - table["srcc"].iloc[reference]),
            "split_half": {k: _number(v) for k, v in chosen.items()} | {"splits": split.shape[1] // 2},
        },
        "versions": versions(job.config),
        "warnings": clock.warnings,
    }
    results.csv("ablation", table)
    results.record(record | {"seconds": clock.seconds})
    if job.output.figures:
        from magiqa.report.captioned_figures import drawn_ablation, with_captions

        with clock.stage("figures"):
            written = load_record(results.path / "record.json")
            sheet = Sheet("ablation", "", results.path / "ablation.csv", written, table, True)
            with_captions(drawn_ablation(sheet, results.figure_path(), "ablation", job.output.style.width))
        results.record(record | {"seconds": clock.seconds})
    return table, record


def _halves(sampling: Sampling, clock: Clock) -> np.ndarray:
    """Halves of the images for `optimism`; none, with a warning, where all images are of one cluster."""
    if few := too_few(sampling.n, sampling.clusters):
        clock.warnings.append(f"no intervals and no p: {few}")
    if sampling.units == 1:
        clock.warnings.append(
            "all images are of one cluster, which cannot be halved: no optimism of the best"
        )
        return np.empty((0, sampling.n), np.uint8)
    return halves(sampling.n, clusters=sampling.clusters, splits=SPLITS, seed=sampling.seed)


def _same_scores(names: Sequence[str], matrix: np.ndarray) -> list[str]:
    """Which variants score every image alike, to the bit: what is compared there is one and the same."""
    alike: dict[bytes, list[str]] = {}
    for name, row in zip(names, matrix, strict=True):
        alike.setdefault(row.tobytes(), []).append(name)
    return [f"the same score on every image: {', '.join(some)}" for some in alike.values() if len(some) > 1]


def _weights(job: RunConfig) -> str:
    """What a job's weights are, in a word or as they must be labeled."""
    bone = job.method.backbone
    return bone.shown_label or (
        "given" if bone.kind == "given" else f"published ({bone.pretrained or bone.name})"
    )


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _current(job: RunConfig, key: str) -> Any:
    """The value that a key has in a job."""
    group, _, leaf = key.partition(".")
    if leaf:
        return getattr(job.get(group), leaf, "")
    return job.choices.get(group, "") if group in GROUPS else job.get(group)


def _labels_of(features: Features, job: RunConfig) -> tuple[np.ndarray, Sampling]:
    """The label of each image, and what is resampled."""
    labels, table = features.labels, features.table
    sampling = Sampling.of(table, labels.cluster, job.statistics.resamples, job.statistics.seed)
    return table[labels.label].to_numpy(float), sampling


def render(table: pd.DataFrame, record: dict[str, Any]) -> str:
    """What ``magiqa ablate`` prints: reference, best and a selection of variants, and what picking the best costs."""
    about, data, bone = record["ablation"], record["dataset"], record["backbone"]
    label = f" ({bone['label']})" if bone["label"] else ""
    name = data["name"] + (f" ({data['variant']})" if data["variant"] else "")
    head = [
        f"ablation {about['name']}: {about['variants']} variants of {about['score']}; {name}, n={data['n']}, label "
        f"{data['label']}; {bone['name']}{label}",
        f"reference {about['reference']}; 95 % bootstrap intervals, paired differences; p: all variants at once"
        + (f", resampled by {data['cluster']}" if data["cluster"] else ""),
        "",
    ]
    names = table["variant"].tolist()
    keep = sorted(
        set(np.linspace(0, len(table) - 1, min(len(table), 25)).astype(int))
        | {names.index(about["reference"]), names.index(about["best"])}
    )

    def cell(row: pd.Series, key: str, sign: str = "") -> Cell:
        low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
        return number(row.get(key), low, high, form=f"{sign}.4f", band=f"{sign}.3f")

    shown = ["srcc", *(["srcc_within"] if "srcc_within" in table else []), "plcc"]
    rows: list[list[Cell | str]] = []
    for i in keep:
        row = table.iloc[i]
        mark = " (best)" if names[i] == about["best"] else ""
        p = p_cell(row["p_adjusted"], row["p_floor"], " *" if row["p_adjusted"] < 0.05 else "")
        rows.append([names[i] + mark, *(cell(row, s) for s in shown), cell(row, "diff", "+"), p])
    lines = [Table.plain(["", *shown, "difference", "p (adjusted)"], rows).text()]
    if len(keep) < len(table):
        lines.append(f"{len(keep)} of {len(table)} variants; ablation.csv holds all")
    split = about["split_half"]
    if split["optimism"] is not None:
        lines += [
            "",
            f"best, picked on these images: {about['best_gain']:+.4f} over the reference. Picked on one half it "
            f"gains {split['gain_chosen']:+.4f} there and {split['gain_held_out']:+.4f} on the other half "
            f"({split['splits']} splits): optimism of the whole set {split['optimism']:.4f}",
        ]
    return "\n".join([*head, *lines, *(f"warning: {w}" for w in record["warnings"])])


def write_transfer(folder: Path, done: Sequence[tuple[pd.DataFrame, dict[str, Any]]]) -> pd.DataFrame:
    """`transfer` of an ablation, written into the folder of its data sets' folders; a table without rows is not."""
    table, name = transfer(done), f"{done[0][1]['ablation']['name']}-left_out"
    if table.empty:
        return table
    keys = ("name", "choices", "changed", "study")
    parts = [
        {**{k: r[k] for k in keys if k in r}, "dataset": {"root": r["dataset"].get("root")}} for _, r in done
    ]
    with ResultFolder(folder, "ablate -m", [f"{name}.csv"], record=f"{name}.json") as results:
        results.csv(name, table)
        results.record({"magiqa": __version__, "command": "ablate -m", "parts": parts})
    return table


def transfer(done: Sequence[tuple[pd.DataFrame, dict[str, Any]]]) -> pd.DataFrame:
    """Leave one data set out: the variant that is best on the others, and what it gains on the one left out.

    Args:
        done: table and record of the same ablation on several data sets. Sets of different labels are never mixed: a
            gain in SSIM says nothing of one in MOS. A set that is alone with its label has no row.

    Returns:
        A row a data set: the variant chosen on the others (by its mean gain over the reference), its gain here, the
        gain of the variant that is best here, and the shortfall between the two: of picking on the same images, and
        of sets that differ in what is best.
    """
    names = [f"{r['dataset']['name']} {r['dataset']['variant']}".strip() for _, r in done]
    gains = pd.DataFrame(
        {n: t.set_index("variant")["diff"] for n, (t, _) in zip(names, done, strict=True)}
    ).dropna()
    rows: list[dict[str, Any]] = []
    labels = dict(zip(names, (r["dataset"]["label"] for _, r in done), strict=True))
    for name, (table, record) in zip(names, done, strict=True):
        others = gains[[n for n in names if n != name and labels[n] == labels[name]]]
        if others.empty:
            continue
        chosen, own = others.mean(axis=1).idxmax(), gains[name].idxmax()
        rows.append(
            {
                "dataset": name,
                "label": labels[name],
                "n": record["dataset"]["n"],
                "weights": record["backbone"]["label"] or record["backbone"]["kind"],
                "reference": record["ablation"]["reference"],
                "srcc_reference": table.set_index("variant")["srcc"][record["ablation"]["reference"]],
                "chosen_on_others": chosen,
                "gain_chosen": gains.loc[chosen, name],
                "best_here": own,
                "gain_best": gains.loc[own, name],
                "shortfall": gains.loc[own, name] - gains.loc[chosen, name],
            }
        )
    return pd.DataFrame(rows)
