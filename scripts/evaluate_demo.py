"""What the demo backbone shows, beside its controls: on ``sample``, and on AGIQA-3K where its folder is given.

    python scripts/evaluate_demo.py [--agiqa3k DIR] [--out results/demo] [--runs DIR]

Controls: the same network untrained (three seeds), the variance of the Laplacian, file bytes. Writes CSV tables, a
README.md with all of them, and the runs' figures. Every number from the demo weights is labeled as such.

Intervals on ``sample``: sixteen photos are few, and a percentile bootstrap of so few covers too little. Each photo
gives one number (the mean over distortion types of SRCC with ssim), and the interval is Student's t over the photos:
Ibragimov and Muller, "t-statistic based correlation and heterogeneity robust inference", JBES 28 (2010). On AGIQA-3K:
percentile bootstrap, whole prompts drawn, all methods on the same resamples.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from magiqa.config.compose import Configs
from magiqa.stats.bootstrap import bootstrap_many, interval, resample_counts
from magiqa.stats.correlation import leave_one_group_out, point_many, srcc
from magiqa.studies.evaluate import evaluate

SEEDS = (0, 1, 2)
CUES = ("q_sim", "q_mag", "q")
MAGNITUDES = ("boxcox", "boxcox_raw", "l1", "l2", "max", "mean", "std")
DEMO = "demo, trained on synthetic degradations"
PROTOCOL = ("prompts=maclip", "views=maclip", "magnitude=boxcox", "fusion=adaptive")


def run(
    name: str, runs: Path, *overrides: str, figures: bool = False
) -> tuple[pd.DataFrame, dict[str, Any], Any]:
    """One ``magiqa evaluate``: its scores, its record and the labels."""
    print(f"== {name}", file=sys.stderr, flush=True)
    job = Configs().job(
        [
            *PROTOCOL,
            f"resamples={1000 if figures else 200}",
            f"figures={str(figures).lower()}",
            *overrides,
            f"out={runs / name}",
        ],
    )
    _, record = evaluate(job)
    return pd.read_csv(runs / name / "scores.csv"), record, job.source.dataset.load()


def columns(prefix: str, runs: Path, *overrides: str) -> tuple[pd.DataFrame, dict[str, Any], Any]:
    """The demo's scores with, as further columns, the untrained networks' cues (``q_sim seed 0``...)."""
    table, record, labels = run(f"{prefix}-demo", runs, *overrides, figures=True)
    for seed in SEEDS:
        other, _, _ = run(f"{prefix}-untrained{seed}", runs, *overrides, f"backbone.untrained={seed}")
        if not other["image"].equals(table["image"]):
            raise RuntimeError("runs of different images")
        for cue in CUES:
            table[f"{cue} seed {seed}"] = other[cue]
    return table, record, labels


def weights_of(column: str) -> str:
    """The label that stands beside a number."""
    return (
        f"untrained, {column.split(maxsplit=1)[1]}"
        if "seed" in column
        else DEMO
        if column in CUES
        else "control"
    )


METHODS = (*CUES, "laplacian", "bytes", *(f"{cue} seed {s}" for s in SEEDS for cue in CUES))

# --- sample: within photo and type ------------------------------------------------------------------------------------


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
        for method in METHODS:
            value, low, high = t_interval(photo[method])
            rows.append([split, method, weights_of(method), value, low, high, len(photo[method])])
        for cue in CUES:
            untrained = np.mean([photo[f"{cue} seed {s}"] for s in SEEDS], axis=0)
            controls = {
                "laplacian": photo["laplacian"],
                "bytes": photo["bytes"],
                "mean of untrained": untrained,
            }
            controls |= {f"untrained seed {s}": photo[f"{cue} seed {s}"] for s in SEEDS}
            controls |= {"q_sim": photo["q_sim"]} if cue != "q_sim" else {}
            for name, control in controls.items():
                paired.append([split, cue, name, *t_interval(photo[cue] - control), len(control)])
        for kind in types[split]:
            by_type.append([split, kind, *(found[m][kind].mean() for m in METHODS)])
    ends = ["ci_low", "ci_high", "photos"]
    return {
        "sample": pd.DataFrame(rows, columns=["split", "score", "weights", "srcc_within", *ends]),
        "sample_paired": pd.DataFrame(paired, columns=["split", "score", "minus", "difference", *ends]),
        "sample_by_type": pd.DataFrame(by_type, columns=["split", "type", *METHODS]),
    }


# --- AGIQA-3K ---------------------------------------------------------------------------------------------------------


def draws_of(statistic: str, table: pd.DataFrame, names: list[str], counts: np.ndarray) -> np.ndarray:
    groups = table["group"] if statistic == "srcc_within" else None
    return bootstrap_many(statistic, table[names].to_numpy().T, table["mos"], counts, groups)


def agiqa_tables(table: pd.DataFrame, counts: np.ndarray) -> dict[str, pd.DataFrame]:
    """Pooled, within generators, leaving one generator out; paired differences of the cues from the controls."""
    mos, groups, names = table["mos"], table["group"], list(METHODS)
    drawn = {s: draws_of(s, table, names, counts) for s in ("srcc", "plcc", "srcc_within")}
    point = {s: point_many(s, table[names].to_numpy().T, mos, groups) for s in drawn}
    rows, paired, by_group = [], [], []
    for index, name in enumerate(names):
        low, high, _ = leave_one_group_out(table[name], mos, groups)
        row: list[Any] = [name, weights_of(name)]
        for statistic in drawn:
            row += [point[statistic][index], *interval(drawn[statistic][index])]
        rows.append([*row, low, high, len(table)])
    for statistic in ("srcc", "srcc_within"):
        at = dict(zip(names, point[statistic], strict=True))
        of = dict(zip(names, drawn[statistic], strict=True))
        for cue in CUES:
            others: dict[str, list[str]] = {"laplacian": ["laplacian"], "bytes": ["bytes"]}
            others["mean of untrained"] = [f"{cue} seed {s}" for s in SEEDS]
            others |= {f"untrained seed {s}": [f"{cue} seed {s}"] for s in SEEDS}
            others |= {"q_sim": ["q_sim"]} if cue != "q_sim" else {}
            for name, columns_ in others.items():
                value = at[cue] - np.mean([at[c] for c in columns_])
                ends = interval(of[cue] - np.mean([of[c] for c in columns_], axis=0))
                paired.append([statistic, cue, name, value, *ends, len(table)])
    for name, part in table.groupby("group"):
        by_group.append([name, len(part), part["mos"].mean(), *(srcc(part[m], part["mos"]) for m in names)])
    ends_ = [f"{s}{e}" for s in drawn for e in ("", "_low", "_high")]
    return {
        "agiqa3k": pd.DataFrame(
            rows, columns=["score", "weights", *ends_, "one_out_low", "one_out_high", "n"]
        ),
        "agiqa3k_paired": pd.DataFrame(
            paired, columns=["statistic", "score", "minus", "difference", "ci_low", "ci_high", "n"]
        ),
        "agiqa3k_by_generator": pd.DataFrame(by_group, columns=["generator", "n", "mean_mos", *names]),
    }


# --- does magnitude add to similarity? --------------------------------------------------------------------------------


def partial(xy: Any, xz: Any, yz: Any) -> Any:
    """Correlation of x and y given z, from the three."""
    return (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))


def partial_within(
    mag: Any, sim: Any, mos: Any, groups: Any, counts: np.ndarray
) -> tuple[float, float, float]:
    """Mean over groups of the partial rank correlation of mag with mos given sim, with its interval."""
    point, drawn = [], []
    for rows in (np.flatnonzero(groups == g) for g in np.unique(groups)):
        m, s, y = mag[rows], sim[rows], mos[rows]
        point.append(partial(srcc(m, y), srcc(m, s), srcc(s, y)))
        with_mos = bootstrap_many("srcc", np.stack([m, s]), y, counts[:, rows])
        with_sim = bootstrap_many("srcc", m[None], s, counts[:, rows])
        drawn.append(partial(with_mos[0], with_sim[0], with_mos[1]))
    return float(np.mean(point)), *interval(np.mean(drawn, axis=0))


def magnitude_agiqa(load: Callable[[str], pd.DataFrame], counts: np.ndarray) -> pd.DataFrame:
    """For each definition: SRCC, the paired difference q - q_sim, the partial correlation given q_sim."""
    rows = []
    for name in MAGNITUDES:
        table = load(name)
        row: list[Any] = [name]
        for statistic in ("srcc", "srcc_within"):
            values = point_many(statistic, table[list(CUES)].to_numpy().T, table["mos"], table["group"])
            drawn = draws_of(statistic, table, list(CUES), counts)
            row += [*values, values[2] - values[0], *interval(drawn[2] - drawn[0])]
        mag, sim, mos = (table[c].to_numpy() for c in ("q_mag", "q_sim", "mos"))
        for groups in (np.zeros(len(table)), table["group"].to_numpy()):
            row += partial_within(mag, sim, mos, groups, counts)
        rows.append(row)
    head = [
        f"{s}{c}"
        for s in ("", "within_")
        for c in ("q_sim", "q_mag", "q", "q_minus_q_sim", "q_minus_q_sim_low", "q_minus_q_sim_high")
    ]
    head += [f"{s}partial{e}" for s in ("", "within_") for e in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["magnitude", *head])


def magnitude_sample(load: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """For each definition, within photo and type: SRCC of the cues and q - q_sim, by Student's t over photos."""
    rows = []
    for name in MAGNITUDES:
        table = load(name)
        for split, part in table.groupby("split"):
            photo = {c: cells(part, c).mean(axis=1).to_numpy() for c in CUES}
            rows.append(
                [name, split, *(photo[c].mean() for c in CUES), *t_interval(photo["q"] - photo["q_sim"])]
            )
    head = ["magnitude", "split", *CUES, "q_minus_q_sim", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=head)


def markdown(table: pd.DataFrame) -> str:
    def cell(value: Any) -> str:
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(cell(v) for v in row) + " |" for row in table.itertuples(index=False)]
    return "\n".join(lines)


TITLES = {
    "sample": "sample: mean SRCC with ssim within photo and distortion type",
    "sample_paired": "sample: paired differences, Student's t over photos",
    "sample_by_type": "sample: mean over photos, by distortion type",
    "sample_magnitude": "sample: magnitude definitions, and what fusion adds to similarity",
    "agiqa3k": "AGIQA-3K: pooled, within generators, range when one generator is left out",
    "agiqa3k_paired": "AGIQA-3K: paired differences",
    "agiqa3k_by_generator": "AGIQA-3K: SRCC by generator",
    "agiqa3k_magnitude": "AGIQA-3K: magnitude definitions; partial = rank correlation of q_mag with MOS given q_sim",
}


def main() -> None:
    from platformdirs import user_cache_dir

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--agiqa3k", type=Path, help="folder of AGIQA-3K; without it only `sample` is evaluated"
    )
    parser.add_argument("--out", type=Path, default=Path("results/demo"))
    parser.add_argument(
        "--runs", type=Path, default=Path(user_cache_dir("magiqa", appauthor=False)) / "evaluate_demo"
    )
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument(
        "override", nargs="*", help="further overrides, such as batch_size=32 dataset.every=10"
    )
    args = parser.parse_args()
    runs = args.runs.absolute()

    base = ["backbone=demo", *args.override]
    table, record, _ = columns("sample", runs, "dataset=sample", *base)
    tables = sample_tables(table)

    def sample_with(name: str) -> pd.DataFrame:
        return run(f"sample-{name}", runs, "dataset=sample", *base, f"magnitude={name}")[0]

    tables["sample_magnitude"] = magnitude_sample(sample_with)
    notes = list(record["dataset"]["notes"])
    if args.agiqa3k:
        chosen = ["dataset=agiqa3k", f"dataset.root={args.agiqa3k.absolute()}", *base]
        table, record, labels = columns("agiqa3k", runs, *chosen)
        clusters = labels.table[labels.cluster] if labels.cluster else None
        counts = resample_counts(len(table), clusters, table["group"], args.resamples)
        tables |= agiqa_tables(table, counts)

        def agiqa_with(name: str) -> pd.DataFrame:
            return run(f"agiqa3k-{name}", runs, *chosen, f"magnitude={name}")[0]

        tables["agiqa3k_magnitude"] = magnitude_agiqa(agiqa_with, counts)
        drawn = f"{labels.cluster}s" if labels.cluster else "images within generators"
        notes.append(f"AGIQA-3K: n = {len(table)}, {args.resamples} resamples of {drawn}")
        notes += record["dataset"]["notes"]

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
        text += [f"\n## {TITLES[name]}\n", markdown(made)]
    (args.out / "README.md").write_text("\n".join(text) + "\n")
    for prefix in ("sample", "agiqa3k") if args.agiqa3k else ("sample",):
        figures = args.out / "figures" / prefix
        figures.mkdir(parents=True, exist_ok=True)
        for file in sorted((runs / f"{prefix}-demo" / "figures").glob("*.png")):
            shutil.copy(file, figures / file.name)
    print(markdown(tables["sample"]), markdown(tables["sample_paired"]), sep="\n\n")
    if args.agiqa3k:
        print("", markdown(tables["agiqa3k"]), markdown(tables["agiqa3k_paired"]), sep="\n\n")


if __name__ == "__main__":
    main()
