"""Compare the demo backbone with untrained networks and with controls: on ``sample``, and on AGIQA-3K if given.

    python scripts/evaluate_demo.py [--agiqa3k DIR] [--out results/demo] [--runs DIR] [OVERRIDES]

Writes `sample.csv` and `agiqa3k.csv`: the tables that need several networks at once. `magiqa report` makes the others.

Intervals on ``sample``: sixteen photos are few. Each photo gives one number (the mean over distortion types of SRCC
with ssim), and the interval is Student's t over the photos: Ibragimov and Muller, "t-statistic based correlation and
heterogeneity robust inference", JBES 28 (2010). On AGIQA-3K: by whole prompts, with paired differences.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from magiqa.config.compose import Configs
from magiqa.method.presets import maclip
from magiqa.stats.correlation import srcc
from magiqa.stats.paired import against, mean_over_sets
from magiqa.stats.sampling import Sampling
from magiqa.studies.evaluate import evaluate

SEEDS = (0, 1, 2)
CUES = ("q_sim", "q_mag", "q")
DEMO = "demo, trained on synthetic degradations"
METHODS = (*CUES, "laplacian", "bytes", *(f"{cue} seed {s}" for s in SEEDS for cue in CUES))


def run(name: str, runs: Path, *overrides: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Run ``magiqa evaluate`` and return its scores and record."""
    print(f"== {name}", file=sys.stderr, flush=True)
    protocol = [f"{key}={value}" for key, value in maclip().items()]
    _, record = evaluate(Configs().job([*protocol, *overrides, f"out={runs / name}"]))
    return pd.read_csv(runs / name / "scores.csv"), record


def columns(name: str, runs: Path, *overrides: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the demo's scores with the cues of untrained networks as columns (``q_sim seed 0``...)."""
    table, record = run(f"{name}-demo", runs, *overrides)
    for seed in SEEDS:
        untrained = [f"backbone.untrained={seed}", "figures=false"]
        other, _ = run(f"{name}-untrained{seed}", runs, *overrides, *untrained)
        cues = other.set_index("image").loc[table["image"], list(CUES)]
        table[[f"{cue} seed {seed}" for cue in CUES]] = cues.to_numpy()
    return table, record


def weights_of(column: str) -> str:
    """Return the label of a score's weights."""
    if "seed" in column:
        return f"untrained, {column.split(maxsplit=1)[1]}"
    return DEMO if column in CUES else "control"


def cells(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return SRCC with ssim by photo and type; scores that do not vary count as 0."""
    rows = {
        key: srcc(part[column], part["ssim"])
        for key, part in table.groupby(["reference", "group"], sort=True)
    }
    return pd.Series(rows).fillna(0.0).unstack()  # noqa: PD010 (a series)


def sample_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean SRCC with ssim within photo and type, by split of the types and by score."""
    types = {split: sorted(part["group"].unique()) for split, part in table.groupby("split")}
    by_type = {method: cells(table, method) for method in METHODS}
    rows = []
    for split in ("seen", "unseen"):
        for method in METHODS:
            photos = by_type[method][types[split]].mean(axis=1).to_numpy()
            rows.append([split, method, weights_of(method), *mean_over_sets(photos), len(photos)])
    return pd.DataFrame(
        rows, columns=["split", "score", "weights", "srcc_within", "ci_low", "ci_high", "photos"]
    )


def agiqa_table(table: pd.DataFrame, record: dict[str, Any]) -> pd.DataFrame:
    """Return every score pooled and within generators, with its difference from the demo's q_sim."""
    sampling = Sampling.of(table, record["dataset"]["cluster"])
    matrix, y = table[list(METHODS)].to_numpy(float).T, table["mos"].to_numpy(float)
    numbers = against(matrix, y, METHODS.index("q_sim"), sampling)
    named = {"score": METHODS, "weights": [weights_of(m) for m in METHODS]}
    return pd.concat([pd.DataFrame(named), numbers], axis=1)


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

    args.out.mkdir(parents=True, exist_ok=True)
    tables = {"sample": sample_table(columns("sample", runs, "dataset=sample", *base)[0])}
    if args.agiqa3k:
        root = f"dataset.root={args.agiqa3k.absolute()}"
        tables["agiqa3k"] = agiqa_table(*columns("agiqa3k", runs, "dataset=agiqa3k", root, *base))
    for name, table in tables.items():
        table.to_csv(args.out / f"{name}.csv", index=False, float_format="%.6f")


if __name__ == "__main__":
    main()
