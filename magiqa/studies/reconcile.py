"""Why two numbers differ: from one protocol to another, a factor at a time, with the change in SRCC at each step."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd

from magiqa import __version__
from magiqa.datasets.base import fingerprint
from magiqa.errors import UserError
from magiqa.features.features import Features
from magiqa.features.source import prepare
from magiqa.report.console import screen
from magiqa.report.published import comparable
from magiqa.report.table import Table, frame_table
from magiqa.runs.config import RunConfig
from magiqa.runs.folder import ResultFolder
from magiqa.runs.names import dataset
from magiqa.runs.provenance import Clock, versions
from magiqa.runs.record import RunRecord
from magiqa.scoring.score import score
from magiqa.stats.bootstrap import bootstrap_many, resample_counts
from magiqa.stats.correlation import point_many, srcc
from magiqa.stats.intervals import count_units, interval
from magiqa.stats.logistic import fit_logistic

# fields of readers that choose the label, not the images
_LABEL = ("label_column", "mos", "mos_column", "mos_std_column", "higher_is_better", "annotation")

NO_INTERVAL = (float("nan"), float("nan"))

_PLACE = ("root",)  # where the files are, on whichever machine


def _part(before: Any, after: Any, names: Sequence[str] | None, *, but: Sequence[str] = ()) -> Any:
    """A reader with some fields (or all but some) of another."""
    own = [f.name for f in fields(before)]
    wanted = [n for n in own if n not in but] if names is None else [n for n in own if n in names]
    return replace(before, **{n: getattr(after, n) for n in wanted})


FACTORS: dict[str, Callable[[RunConfig, RunConfig], RunConfig]] = {
    "split and images": lambda a, b: a.having(
        dataset=_part(a.source.dataset, b.source.dataset, None, but=(*_LABEL, "resize"))
    ),
    "label column": lambda a, b: a.having(dataset=_part(a.source.dataset, b.source.dataset, _LABEL)),
    "resize": lambda a, b: a.having(dataset=_part(a.source.dataset, b.source.dataset, ("resize",))),
    "weights": lambda a, b: a.having(
        backbone=replace(b.method.backbone, positional_embedding=a.method.backbone.positional_embedding)
    ),
    "views": lambda a, b: a.having(views=b.method.views),
    "positional embedding": lambda a, b: a.having(
        backbone=replace(a.method.backbone, positional_embedding=b.method.backbone.positional_embedding)
    ),
    "precision": lambda a, b: a.having(precision=b.machine.precision, engine=b.machine.engine),
    "prompts": lambda a, b: a.having(prompts=b.method.prompts),
    "magnitude": lambda a, b: a.having(magnitude=b.method.magnitude),
    "fusion": lambda a, b: a.having(fusion=b.method.fusion),
    "pooling": lambda a, b: a.having(pooling=b.method.pooling),
    "fit": lambda a, b: a.having(fit=b.statistics.fit),
}

_SHAPES = (
    "backbone",
    "prompts",
    "views",
    "magnitude",
    "fusion",
    "dataset",
    "precision",
    "engine",
    "pooling",
    "fit",
)


def _same(a: RunConfig, b: RunConfig) -> bool:
    return all(repr(a.get(k)) == repr(b.get(k)) for k in _SHAPES)


def path(first: RunConfig, last: RunConfig) -> list[tuple[str, RunConfig]]:
    """The steps from one job to another: the factor changed, and the job after it.

    Raises:
        UserError: two different data sets.
    """
    if type(first.source.dataset) is not type(last.source.dataset):
        raise UserError(
            f"reconcile: {type(first.source.dataset).__name__} and {type(last.source.dataset).__name__} are different "
            "data sets, their numbers differ for no protocol's sake; give two runs on one data set"
        )
    last = last.having(dataset=_part(last.source.dataset, first.source.dataset, _PLACE))
    steps: list[tuple[str, RunConfig]] = [("start", first)]
    held: tuple[str, Callable[[RunConfig, RunConfig], RunConfig]] | None = None
    for name, change in FACTORS.items():
        if held is not None:
            name, change = f"{held[0]} and {name}", _both(held[1], change)
        try:
            changed = change(steps[-1][1], last)
        except UserError:  # whole images need drop: these two change together
            held = (name, change)
            continue
        held = None
        if not _same(changed, steps[-1][1]):
            steps.append((name, changed))
    if held is not None or not _same(steps[-1][1], last):
        raise UserError(
            "reconcile: these two runs differ in something that cannot be changed a factor at a time"
        )
    return steps


def _both(
    one: Callable[[RunConfig, RunConfig], RunConfig], other: Callable[[RunConfig, RunConfig], RunConfig]
) -> Callable[[RunConfig, RunConfig], RunConfig]:
    """Two factors at once, whichever order the job allows."""

    def change(a: RunConfig, b: RunConfig) -> RunConfig:
        try:
            return one(other(a, b), b)
        except UserError:
            return other(one(a, b), b)

    return change


def _shown(job: RunConfig, factor: str) -> str:
    """What a factor is in a job, in words."""
    data = {f.name: getattr(job.source.dataset, f.name) for f in fields(job.source.dataset)}
    shown = {
        "split and images": ", ".join(
            f"{k}={v}"
            for k, v in data.items()
            if k not in (*_LABEL, *_PLACE, "resize") and v not in (None, 1, "")
        ),
        "label column": ", ".join(f"{k}={data[k]}" for k in _LABEL if data.get(k) is not None),
        "resize": "none" if data.get("resize") is None else str(data["resize"]).removeprefix("Resize"),
        "weights": f"{job.method.backbone.name} "
        f"{job.method.backbone.shown_label or job.method.backbone.checkpoint or job.method.backbone.pretrained}",
        "views": f"{'+'.join(job.method.views.kinds)}, window {job.method.views.window}, "
        f"stride {job.method.views.stride}" + (", cover" if job.method.views.cover else ""),
        "positional embedding": job.method.backbone.positional_embedding,
        "precision": f"{job.machine.precision}, engine {job.machine.engine}",
        "prompts": f"{job.method.prompts.name} ({len(job.method.prompts.pairs)} pairs)",
        "magnitude": str(job.method.magnitude),
        "fusion": str(job.method.fusion),
        "pooling": str(job.method.pooling),
        "fit": "SRCC of the official fit's values"
        if job.statistics.fit == "official"
        else "SRCC of the scores",
    }
    return "; ".join(shown[f] for f in factor.split(" and ") if f in shown) or shown.get(factor, "")


def _keys(features: Features) -> pd.MultiIndex:
    table = features.table
    return pd.MultiIndex.from_arrays([table["image"], table.groupby("image").cumcount()])


def _another(job: RunConfig, record: RunRecord, what: str) -> UserError:
    where = job.source.bundle or getattr(job.source.dataset, "root", "")
    return UserError(
        f"reconcile: the {what} of {record.name} are not those found now in {where}; give two runs on one data set, "
        "made since it last changed"
    )


def reconcile(
    first: RunConfig,
    last: RunConfig,
    *,
    score_name: str = "q",
    resamples: int = 1000,
    seed: int = 0,
    progress: bool = True,
    clock: Clock | None = None,
    records: Sequence[RunRecord] = (),
) -> tuple[pd.DataFrame, list[Features]]:
    """Walk from one protocol to another.

    Args:
        score_name: whose SRCC. clock: gathers seconds and warnings.
        records: those of the two runs, where the jobs are of runs: the ends of the walk must have their images and
            labels.

    Returns:
        A row a step: factor, from, to, n, srcc with interval, change with interval (on shared resamples of all
        images of both sides), the official fit's status where its values are ranked; and each step's features.

    Note:
        Factors interact: a change is that of its place in this order. Intervals are those of the raw scores: the
        official fit has no honest resampling, it falls back silently. So its own step has none, and an SRCC that the
        fit changes has none, nor has a change from or to it.
    """
    clock = clock or Clock()
    steps = path(first, last)
    ends = [(steps[at][1], record) for at, record in zip((0, -1), records, strict=False)]
    for job, record in ends:  # before anything is encoded
        if not job.source.bundle and fingerprint(job.source.dataset.load()) != record.dataset.fingerprint:
            raise _another(job, record, "labels")
    found: list[tuple[Features, np.ndarray, np.ndarray]] = []
    for _, job in steps:
        features = prepare(job, clock, progress=progress)
        for end, record in ends:
            for key, what in (("fingerprint", "labels"), ("images_sha256", "images")):
                if end is job and features.record["dataset"][key] != getattr(record.dataset, key):
                    raise _another(job, record, what)
        cues = score(features, job.method)
        found.append(
            (
                features,
                cues[score_name].to_numpy(float),
                features.table[features.labels.label].to_numpy(float),
            )
        )
    union = _keys(found[0][0])
    tables = [f.table.set_index(_keys(f)) for f, _, _ in found]
    for table in tables[1:]:
        union = union.append(table.index.difference(union, sort=False))
    cluster = found[-1][0].labels.cluster
    clusters = None
    if cluster and all(cluster in t for t in tables):
        merged = pd.concat(tables)[cluster]
        clusters = merged[~merged.index.duplicated()].loc[union].astype(str).to_numpy()
    counts = resample_counts(len(union), clusters, None, resamples, seed)
    units = count_units(len(union), clusters)
    rows: list[dict[str, Any]] = []
    before: tuple[float, np.ndarray, bool] | None = None
    for (factor, job), (features, x, y) in zip(steps, found, strict=True):
        member = union.get_indexer(_keys(features))
        raw = value = float(point_many("srcc", x[None], y)[0])
        draws = bootstrap_many("srcc", x[None], y, counts.T[member].T)[0]
        status = ""
        if job.statistics.fit == "official":
            fit = fit_logistic(x, y, "official", turned=not features.labels.higher_is_better)
            value, status = float("nan") if fit.params is None else srcc(fit.predict(x), y), fit.status
        row: dict[str, Any] = {"factor": factor, "from": "", "to": "", "n": len(x), "srcc": value}
        of_raw = abs(value - raw) < 1e-9
        band = interval(draws, units) if of_raw else NO_INTERVAL
        row["srcc_low"], row["srcc_high"] = band
        row |= {
            "change": float("nan"),
            "change_low": float("nan"),
            "change_high": float("nan"),
            "fit": status,
        }
        if before is not None:
            row["from"], row["to"] = _shown(steps[len(rows) - 1][1], factor), _shown(job, factor)
            row["change"] = value - before[0]
            both = factor != "fit" and of_raw and before[2]
            band = interval(draws - before[1], units) if both else NO_INTERVAL
            row["change_low"], row["change_high"] = band
        rows.append(row)
        before = (value, draws, of_raw)
    return pd.DataFrame(rows), [f for f, _, _ in found]


def write(
    results: ResultFolder,
    table: pd.DataFrame,
    features: Sequence[Features],
    row: dict[str, Any] | None,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """``reconcile.csv`` and ``record.json``: what the last step came from, and under ``start`` the first."""
    clock = clock or Clock()
    results.csv("reconcile", table)
    record = {
        "magiqa": __version__,
        "command": "reconcile",
        "name": results.path.name,
        **features[-1].record,
        "start": features[0].record,
        "reconcile": {"published": None if row is None else {k: _plain(v) for k, v in row.items()}},
        "versions": versions(),
        "warnings": clock.warnings,
        "seconds": clock.seconds,
    }
    return results.record(record)


def _plain(value: Any) -> Any:
    return None if pd.isna(value) else value.item() if hasattr(value, "item") else value


def render(
    table: pd.DataFrame,
    features: Sequence[Features],
    row: dict[str, Any] | None = None,
    warnings: Sequence[str] = (),
) -> str:
    """Return what ``magiqa reconcile`` prints: the steps, and what is left to the published value."""
    records = [f.record for f in features]
    labels = dict.fromkeys(r["backbone"]["label"] for r in records if r["backbone"]["label"])
    head = [
        dataset(records[-1]) + (f"; weights: {', '.join(labels)}" if labels else ""),
        "[95 % interval], changes on shared resamples; factors interact: a change belongs to its place in this order",
    ]
    columns = {"factor": "", "n": "n", "srcc": "SRCC", "change": "change"}
    steps = []
    for r in table.to_dict("records"):
        remark = f" (official fit: {r['fit']})" if r["fit"] not in ("", "ok") else ""
        if r["from"] or r["to"] or remark:
            steps.append(f"{r['factor']}: {r['from']} -> {r['to']}{remark}")
    lines: list[Table | str] = [frame_table(table, columns), "", *steps]
    if row is not None:
        left = float(table["srcc"].iloc[-1]) - row["value"]
        reason = comparable(records[-1])
        compared = (
            f"published {row['value']:.3f} (grade {row['grade']}, {row['source']}); unexplained {left:+.3f}"
        )
        lines += ["", f"not set beside the published value: {reason}" if reason else compared]
    return screen(head, lines, warnings)
