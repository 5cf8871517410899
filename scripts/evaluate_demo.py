"""The demo backbone beside the same network untrained, and beside controls: on ``sample``, and on AGIQA-3K if given.

    python scripts/evaluate_demo.py [--agiqa3k DIR] [--out results/demo] [--runs DIR] [OVERRIDES]

Tables that any run has (agreement, groups, paired tests, magnitude definitions, breakdowns) come from `magiqa report`
and the experiments; here stands what needs several networks at once. Every number from the demo weights is labeled.

Intervals on ``sample``: sixteen photos are few, and a percentile bootstrap of so few covers too little. Each photo
gives one number (the mean over distortion types of SRCC with ssim), and the interval is Student's t over the photos:
Ibragimov and Muller, "t-statistic based correlation and heterogeneity robust inference", JBES 28 (2010). On AGIQA-3K:
whole prompts resampled, all scores on the same resamples.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from magiqa.config.compose import Configs
from magiqa.report.group_tables import frame_table
from magiqa.report.table import Table
from magiqa.stats.correlation import srcc
from magiqa.stats.variants import statistics
from magiqa.studies.evaluate import evaluate

SEEDS = (0, 1, 2)
CUES = ("q_sim", "q_mag", "q")
DEMO = "demo, trained on synthetic degradations"
PROTOCOL = ("prompts=maclip", "views=maclip", "magnitude=boxcox", "fusion=adaptive")
METHODS = (*CUES, "laplacian", "bytes", *(f"{cue} seed {s}" for s in SEEDS for cue in CUES))
TITLES = {
    "sample": "sample: mean SRCC with ssim within photo and distortion type",
    "sample_paired": "sample: paired differences, Student's t over photos",
    "sample_by_type": "sample: mean over photos, by distortion type",
    "agiqa3k": "AGIQA-3K: each score against q_sim of the demo weights, whole prompts resampled",
}


def run(name: str, runs: Path, *overrides: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """One ``magiqa evaluate``: its scores and its record."""
    print(f"== {name}", file=sys.stderr, flush=True)
    _, record = evaluate(Configs().job([*PROTOCOL, *overrides, f"out={runs / name}"]))
    return pd.read_csv(runs / name / "scores.csv"), record


def columns(name: str, runs: Path, *overrides: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The demo's scores with, as further columns, the untrained networks' cues (``q_sim seed 0``...)."""
    table, record = run(f"{name}-demo", runs, *overrides)
    for seed in SEEDS:
        untrained = [f"backbone.untrained={seed}", "resamples=200", "figures=false"]
        other, _ = run(f"{name}-untrained{seed}", runs, *overrides, *untrained)
        if not other["image"].equals(table["image"]):
            raise RuntimeError("runs of different images")
        table[[f"{cue} seed {seed}" for cue in CUES]] = other[list(CUES)]
    return table, record


def weights_of(column: str) -> str:
    """The label that stands beside a number."""
    if "seed" in column:
        return f"untrained, {column.split(maxsplit=1)[1]}"
    return DEMO if column in CUES else "control"


def cells(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """SRCC with ssim of each (photo, type): rows photos, columns types. Scores that do not vary count as 0."""
    rows = {
        key: srcc(part[column], part["ssim"])
        for key, part in table.groupby(["reference", "group"], sort=True)
    }
    return pd.Series(rows).fillna(0.0).unstack()  # noqa: PD010 (a series)


def t_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % interval of one number a cluster, by Student's t."""
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    mean = float(values.mean())
    return mean, mean - half, mean + half


def sample_tables(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Agreement within photo and type, its paired differences from the controls, and the same by type."""
    found = {m: cells(table, m) for m in METHODS}
    types = {split: sorted(part["group"].unique()) for split, part in table.groupby("split")}
    rows, paired, by_type = [], [], []
    for split in ("seen", "unseen"):
        photo = {m: found[m][types[split]].mean(axis=1).to_numpy() for m in METHODS}
        rows += [[split, m, weights_of(m), *t_interval(photo[m]), len(photo[m])] for m in METHODS]
        for cue in CUES:
            seeds = {f"untrained seed {s}": photo[f"{cue} seed {s}"] for s in SEEDS}
            controls = {"laplacian": photo["laplacian"], "bytes": photo["bytes"]} | seeds
            controls["mean of untrained"] = np.mean(list(seeds.values()), axis=0)
            controls |= {"q_sim": photo["q_sim"]} if cue != "q_sim" else {}
            for name, control in controls.items():
                paired.append([split, cue, name, *t_interval(photo[cue] - control), len(control)])
        by_type += [[split, kind, *(found[m][kind].mean() for m in METHODS)] for kind in types[split]]
    ends = ["ci_low", "ci_high", "photos"]
    return {
        "sample": pd.DataFrame(rows, columns=["split", "score", "weights", "srcc_within", *ends]),
        "sample_paired": pd.DataFrame(paired, columns=["split", "score", "minus", "difference", *ends]),
        "sample_by_type": pd.DataFrame(by_type, columns=["split", "type", *METHODS]),
    }


def agiqa_table(table: pd.DataFrame, record: dict[str, Any]) -> pd.DataFrame:
    """Every score pooled and within generators, with its paired difference from the demo's q_sim."""
    cluster = record["dataset"]["cluster"]
    found = statistics(
        table[list(METHODS)].to_numpy(float).T,
        table["mos"].to_numpy(float),
        METHODS.index("q_sim"),
        groups=table["group"].astype(str).to_numpy(),
        clusters=table[cluster].astype(str).to_numpy(),
    )
    named = pd.DataFrame({"score": METHODS, "weights": [weights_of(m) for m in METHODS]})
    return pd.concat([named, found], axis=1)


def main() -> None:
    from platformdirs import user_cache_dir

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--agiqa3k", type=Path, help="folder of AGIQA-3K; without it `sample` alone")
    parser.add_argument("--out", type=Path, default=Path("results/demo"))
    runs_default = Path(user_cache_dir("magiqa", appauthor=False)) / "evaluate_demo"
    parser.add_argument("--runs", type=Path, default=runs_default)
    parser.add_argument("override", nargs="*", help="such as batch_size=32 dataset.every=10")
    args = parser.parse_args()
    runs, base = args.runs.absolute(), ["backbone=demo", *args.override]

    table, record = columns("sample", runs, "dataset=sample", *base)
    tables, notes = sample_tables(table), list(record["dataset"]["notes"])
    if args.agiqa3k:
        chosen = ["dataset=agiqa3k", f"dataset.root={args.agiqa3k.absolute()}", *base]
        table, other = columns("agiqa3k", runs, *chosen)
        tables["agiqa3k"] = agiqa_table(table, other)
        notes += [f"AGIQA-3K: n = {len(table)}", *other["dataset"]["notes"]]

    args.out.mkdir(parents=True, exist_ok=True)
    text = [
        "# The demo backbone beside its controls",
        f"Weights: **{DEMO}**, sha256 {record['backbone']['weights_sha256'][:16]}. Made by `scripts/evaluate_demo.py`; "
        "MA-CLIP's protocol (five pairs, windows and global view, Box-Cox 0.5, adaptive fusion), in fp32.",
        "Nothing here says anything about OpenAI's CLIP.\n",
        *(f"- {note}" for note in dict.fromkeys(notes)),
    ]
    for name, made in tables.items():
        made.to_csv(args.out / f"{name}.csv", index=False, float_format="%.6f")
        shown: Table = frame_table(name, TITLES[name], made)
        text += ["", shown.markdown()]
    (args.out / "README.md").write_text("\n".join(text).rstrip() + "\n")
    for prefix in ("sample", "agiqa3k") if args.agiqa3k else ("sample",):
        figures = args.out / "figures" / prefix
        shutil.rmtree(figures, ignore_errors=True)
        figures.mkdir(parents=True)
        for file in sorted((runs / f"{prefix}-demo" / "figures").glob("*.png")):
            shutil.copyfile(file, figures / file.name)


if __name__ == "__main__":
    main()
