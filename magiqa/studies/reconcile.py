"""Explain why two numbers differ: walk from one protocol to another, with the change in SRCC at each step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from magiqa import __version__
from magiqa.backbones.spec import Backbone
from magiqa.datasets.base import fingerprint
from magiqa.errors import UserError
from magiqa.features.images import Features
from magiqa.features.source import prepare
from magiqa.method.presets import maclip
from magiqa.report.console import screen
from magiqa.report.published import PROTOCOLS, comparable, option, published
from magiqa.report.table import Table, frame_table
from magiqa.report.words import set_line
from magiqa.runs.config import RunConfig
from magiqa.runs.record import Clock, RunRecord, versions
from magiqa.scoring.score import score_many
from magiqa.stats.correlation import srcc
from magiqa.stats.logistic import fit_logistic
from magiqa.stats.sampling import Sampling

# fields of readers that choose the label, or how its table is read, not the images
_LABEL = (
    *("label_column", "mos", "dmos", "mos_column", "mos_std_column", "rater_column", "rater_columns"),
    *("higher_is_better", "annotation", "sheet", "encoding", "separator", "decimal"),
    *("image_column", "strip_prefix", "add_prefix"),
)

NO_INTERVAL = (float("nan"), float("nan"))


def _part(before: Any, after: Any, names: Sequence[str] | None, *, but: Sequence[str] = ()) -> Any:
    """Return a reader with some fields, or all but some, of another."""
    own = [f.name for f in fields(before)]
    chosen = [n for n in own if n not in but] if names is None else [n for n in own if n in names]
    return replace(before, **{n: getattr(after, n) for n in chosen})


# what a step takes from the job that the walk leads to
FACTORS: dict[str, Callable[[RunConfig, RunConfig], dict[str, Any]]] = {
    "split and images": lambda a, b: {
        "dataset": _part(a.source.dataset, b.source.dataset, None, but=(*_LABEL, "resize"))
    },
    "label column": lambda a, b: {"dataset": _part(a.source.dataset, b.source.dataset, _LABEL)},
    "resize": lambda a, b: {"dataset": _part(a.source.dataset, b.source.dataset, ("resize",))},
    "weights": lambda a, b: {
        "backbone": replace(b.method.backbone, positional_embedding=a.method.backbone.positional_embedding)
    },
    "views": lambda a, b: {"views": b.method.views},
    "positional embedding": lambda a, b: {
        "backbone": replace(a.method.backbone, positional_embedding=b.method.backbone.positional_embedding)
    },
    "precision": lambda a, b: {"precision": b.machine.precision, "engine": b.machine.engine},
    "prompts": lambda a, b: {"prompts": b.method.prompts},
    "magnitude": lambda a, b: {"magnitude": b.method.magnitude},
    "fusion": lambda a, b: {"fusion": b.method.fusion},
    "pooling": lambda a, b: {"pooling": b.method.pooling},
    "fit": lambda a, b: {"fit": b.statistics.fit},
}


def _protocol(job: RunConfig) -> str:
    machine = job.machine.precision, job.machine.engine
    return repr((job.method, job.source.dataset, machine, job.statistics.fit))


def path(first: RunConfig, last: RunConfig) -> list[tuple[str, RunConfig]]:
    """Return the steps from one job to another: the factor that changes, and the job after it.

    Raises:
        UserError: two different data sets.
    """
    if type(first.source.dataset) is not type(last.source.dataset):
        raise UserError(
            f"reconcile: {type(first.source.dataset).__name__} and {type(last.source.dataset).__name__} are different "
            "data sets, their numbers differ for no protocol's sake; give two runs on one data set"
        )
    last = last.having(
        dataset=_part(last.source.dataset, first.source.dataset, ("root",))
    )  # on whichever machine
    steps: list[tuple[str, RunConfig]] = [("start", first)]
    names: list[str] = []
    changes: dict[str, Any] = {}
    for name, factor in FACTORS.items():
        job = steps[-1][1]
        names, changes = [*names, name], changes | factor(job, last)
        try:
            changed = job.having(**changes)
        except UserError:  # whole images need drop: these two change together
            continue
        if _protocol(changed) != _protocol(job):
            steps.append((" and ".join(names), changed))
        names, changes = [], {}
    if names or _protocol(steps[-1][1]) != _protocol(last):
        raise UserError(
            "reconcile: these two runs differ in something that cannot be changed a factor at a time"
        )
    return steps


def _shown(job: RunConfig, factor: str) -> str:
    """Return the value of a factor in a job, in words."""
    data = {f.name: getattr(job.source.dataset, f.name) for f in fields(job.source.dataset)}
    bone, views = job.method.backbone, job.method.views
    shown = {
        "split and images": ", ".join(
            f"{k}={v}"
            for k, v in data.items()
            if k not in (*_LABEL, "root", "resize") and v not in (None, 0, 1, "")
        ),
        "label column": ", ".join(f"{k}={data[k]}" for k in _LABEL if data.get(k) not in (None, "", ".", ())),
        "resize": "none" if data.get("resize") is None else str(data["resize"]).removeprefix("Resize"),
        "weights": f"{bone.name} {bone.shown_label or bone.checkpoint or bone.pretrained}",
        "views": f"{'+'.join(views.kinds)}, window {views.window}, stride {views.stride}"
        + ", cover" * views.cover,
        "positional embedding": bone.positional_embedding,
        "precision": f"{job.machine.precision}, engine {job.machine.engine}",
        "prompts": f"{job.method.prompts.name} ({len(job.method.prompts.all_groups)} groups of texts)",
        "magnitude": str(job.method.magnitude),
        "fusion": str(job.method.fusion),
        "pooling": str(job.method.pooling),
        "fit": "SRCC of the official fit's values"
        if job.statistics.fit == "official"
        else "SRCC of the scores",
    }
    return "; ".join(shown[f] for f in factor.split(" and ") if f in shown) or shown.get(factor, "")


@dataclass(frozen=True)
class Step:
    """A step of the walk: the factor that changed, and the scores and labels after it."""

    factor: str
    job: RunConfig
    features: Features
    scores: np.ndarray
    y: np.ndarray

    @property
    def keys(self) -> pd.MultiIndex:
        """Return the identity of each image: its name, counted where the set shows it again."""
        table = self.features.table
        return pd.MultiIndex.from_arrays([table["image"], table.groupby("image").cumcount()])

    def level(self) -> tuple[float, bool, str]:
        """Return SRCC, whether it is that of the raw scores, and the status of the official fit."""
        raw = srcc(self.scores, self.y)
        if self.job.statistics.fit != "official":
            return raw, True, ""
        turned = not self.features.labels.higher_is_better
        fit = fit_logistic(self.scores, self.y, "official", turned=turned)
        value = float("nan") if fit.params is None else srcc(fit.predict(self.scores), self.y)
        return value, abs(value - raw) < 1e-9, fit.status


def reconcile(
    first: RunConfig,
    last: RunConfig,
    *,
    score: str = "q",
    clock: Clock | None = None,
    progress: bool = True,
    records: Sequence[RunRecord] = (),
) -> tuple[pd.DataFrame, list[Features]]:
    """Walk from one protocol to another, one factor at a time.

    Args:
        first, last: the two jobs. score: the score whose SRCC is followed.
        clock: gathers seconds and warnings.
        records: of the two runs, where the jobs are of runs: images and labels must still be theirs.

    Returns:
        A row a step: factor, from, to, n, srcc with interval, change with interval (paired, over the images
        of all steps), the official fit's status where its values are ranked; and the features of each step.

    Note:
        Factors interact: a change belongs to its place in this order. Intervals are those of the raw scores: an SRCC
        that the official fit changes has none, nor has a change from or to it, nor the step of the fit itself.
    """
    clock = clock or Clock()
    walk = path(first, last)
    ends = dict(zip((0, len(walk) - 1), records, strict=False))
    for k, record in ends.items():  # before anything is encoded
        job = walk[k][1]
        if not job.source.bundle and fingerprint(job.source.dataset.load()) != record.dataset.fingerprint:
            raise _changed(job, record, "labels")
    steps = []
    for k, (factor, job) in enumerate(walk):
        features = prepare(job, clock, progress=progress)
        for key, what in (("fingerprint", "labels"), ("images_sha256", "images")):
            if k in ends and features.record["dataset"][key] != getattr(ends[k].dataset, key):
                raise _changed(job, ends[k], what)
        scores = score_many(features, [job.method], (score,))[score][0]
        y = features.table[features.labels.label].to_numpy(float)
        steps.append(Step(factor, job, features, scores, y))
    return _table(steps), [s.features for s in steps]


def _changed(job: RunConfig, record: RunRecord, what: str) -> UserError:
    place = job.source.bundle or getattr(job.source.dataset, "root", "")
    words = f"the {what} of {record.name} are not those found now in {place}"
    return UserError(f"reconcile: {words}; give two runs on one data set, made since it last changed")


def _table(steps: Sequence[Step]) -> pd.DataFrame:
    """Return the steps' levels and changes, with paired intervals over the images of all steps."""
    images, clusters = _all_images(steps)
    sampling = Sampling(len(images), None, clusters)
    rows: list[dict[str, Any]] = []
    levels, agreement = [step.level() for step in steps], []
    for k, step in enumerate(steps):
        value, is_raw, status = levels[k]
        members = images.get_indexer(step.keys)
        agreement.append(sampling.statistic("srcc", step.scores[None], step.y, members))
        low, high = agreement[k].correlation_intervals()[0] if is_raw else NO_INTERVAL
        row = {"factor": step.factor, "from": "", "to": "", "n": len(step.y), "srcc": value}
        row |= {"srcc_low": low, "srcc_high": high, "change": np.nan}
        row |= {"change_low": np.nan, "change_high": np.nan, "fit": status}
        if k:
            before, before_is_raw, _ = levels[k - 1]
            tested = step.factor != "fit" and is_raw and before_is_raw
            low, high = (agreement[k] - agreement[k - 1]).intervals()[0] if tested else NO_INTERVAL
            row |= {"from": _shown(steps[k - 1].job, step.factor), "to": _shown(step.job, step.factor)}
            row |= {"change": value - before, "change_low": low, "change_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def _all_images(steps: Sequence[Step]) -> tuple[pd.MultiIndex, np.ndarray | None]:
    """Return the images of all steps, and the cluster of each where all steps have clusters."""
    tables = [step.features.table.set_index(step.keys) for step in steps]
    images = tables[0].index
    for table in tables[1:]:
        images = images.append(table.index.difference(images, sort=False))
    cluster = steps[-1].features.labels.cluster
    if not cluster or not all(cluster in table for table in tables):
        return images, None
    merged = pd.concat(tables)[cluster]
    return images, merged[~merged.index.duplicated()].loc[images].astype(str).to_numpy()


def published_row(text: str) -> dict[str, Any]:
    """Return the SRCC row ``METHOD:DATASET`` of ``published.csv``, the best grade first.

    Raises:
        UserError: no such row, or its protocol is not known well enough to be run.
    """
    method, _, dataset = text.rpartition(":")
    rows = published()
    rows = rows[rows["statistic"] == "srcc"]
    rows = rows[rows["method"].isin(list(PROTOCOLS))]
    mine = rows[(rows["method"] == method) & (rows["dataset"] == dataset)]
    if mine.empty:
        names = ", ".join(sorted(set(rows["method"] + ":" + rows["dataset"])))
        raise UserError(
            f"reconcile: {text} is no published row of a known protocol; use METHOD:DATASET, one of {names}"
        )
    return {str(k): v for k, v in mine.sort_values("grade", kind="stable").iloc[0].items()}


def overrides_of(row: dict[str, Any], options: Sequence[str], backbone: Backbone) -> list[str]:
    """Return the overrides that make a job follow a published row's protocol.

    Args:
        options: the data set options there are. backbone: the one in use; published weights become OpenAI's.

    Raises:
        UserError: the row's data set has no option.
    """
    protocol = PROTOCOLS[row["method"]]
    dataset = option(row["method"], row["dataset"])
    if dataset not in options:
        raise UserError(f"reconcile: there is no dataset option {dataset}; this row cannot be run")
    settings = maclip() | {
        "dataset": dataset,
        "prompts": protocol.prompts,
        "views": protocol.views,
        "precision": "fp32",
        "fit": "official" if row["method"].startswith("MA-CLIP") else "logistic4",
    }
    if protocol.score == "q_sim":
        settings["fusion"] = "similarity"
    if backbone.name not in (protocol.backbone, "demo"):
        wrong = f"this row is of {protocol.backbone}, not {backbone.name}"
        raise UserError(f"reconcile: {wrong}; use that backbone")
    if backbone.kind == "published":
        weights = {"pretrained": "openai", "quickgelu": "true", "label": "null"}
        settings |= {f"backbone.{key}": value for key, value in weights.items()}
    return [f"{key}={value}" for key, value in settings.items()]


def reconcile_record(
    name: str, features: Sequence[Features], row: dict[str, Any] | None, clock: Clock
) -> dict[str, Any]:
    """Return the record of a walk: of its last step, and under ``start`` of the first.

    Args:
        row: the published row that the walk leads to.
    """
    published = row and {
        k: None if pd.isna(v) else getattr(v, "item", lambda v=v: v)() for k, v in row.items()
    }
    return {
        "magiqa": __version__,
        "command": "reconcile",
        "name": name,
        **features[-1].record,
        "start": features[0].record,
        "reconcile": {"published": published},
        "versions": versions(),
        "warnings": clock.warnings,
        "seconds": clock.seconds,
    }


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
        set_line(records[-1]["dataset"]) + (f"; weights: {', '.join(labels)}" if labels else ""),
        "[95 % interval], changes paired; factors interact: a change belongs to its place in this order",
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
