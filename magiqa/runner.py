"""A run: a method on a data set. Labels and cached features in; scores, agreement, figures and a record out."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from magiqa import __version__, encode
from magiqa.agreement import Agreement, agreement, by_group, count_clusters
from magiqa.backbone import (
    Backbone,
    Weights,
    build_model,
    encode_text,
    fit_positional_embedding,
    load_weights,
)
from magiqa.cache import FeatureCache, read_text, write_text
from magiqa.controls import CONTROLS
from magiqa.cues import similarity
from magiqa.datasets.base import Labels, fingerprint
from magiqa.engine import Resolved, allowed_cores, build, resolve, threads
from magiqa.errors import UnreadableImage, UserError
from magiqa.fusion import pool
from magiqa.job import Fusion, Job, Magnitude
from magiqa.prompts import PromptSet
from magiqa.results import dataset as dataset_name
from magiqa.views import Resize

if TYPE_CHECKING:
    import torch

SCORES = ("q_sim", "q_mag", "q", "laplacian", "bytes")
SWEEP = "evaluate -m"
MARK = ".writing.json"
FILES = ("scores.csv", "agreement.csv", "groups.csv", "views.csv")
OPTIONAL = ("group", "level", "reference", "prompt", "split", "mos_std")


class Clock:
    """Seconds by stage, and warnings, as they go into the record."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, without the stages inside it."""
        start, before = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            own = time.perf_counter() - start - (sum(self.seconds.values()) - before)
            self.seconds[name] = round(self.seconds.get(name, 0.0) + own, 3)


@dataclass
class Features:
    """Features of a data set's images, in the cache, with what they came from.

    Args:
        labels: with the rows of skipped images gone. cache: holds every image. images: sha256 a row.
        skipped: name and reason of each image left out. record: what the run's record says of all this.
        text: for a prompt set, embeddings (P, 2, D) and the logit scale.
    """

    labels: Labels
    table: pd.DataFrame
    cache: FeatureCache
    images: list[str]
    skipped: list[dict[str, str]]
    record: dict[str, Any]
    text: Callable[[PromptSet], tuple[np.ndarray, float]]

    @property
    def controls(self) -> pd.DataFrame:
        """Width, height, bytes and Laplacian variance a row."""
        values = np.stack([self.cache.entries[i].controls for i in self.images])
        return pd.DataFrame(values, columns=list(CONTROLS)).astype({c: int for c in CONTROLS[:3]})


class _Lazy:
    """The open_clip model of a spec, built at most once and only if something must be encoded."""

    def __init__(self, spec: Backbone, weights: Weights) -> None:
        self.spec, self.weights = spec, weights
        self._model: torch.nn.Module | None = None

    def __call__(self) -> "torch.nn.Module":
        if self._model is None:
            self._model = build_model(self.spec, self.weights)
        return self._model


def _text(job: Job, weights: Weights, model: _Lazy, prompts: PromptSet) -> tuple[np.ndarray, float]:
    key = {
        "version": encode.FEATURE_VERSION,
        "weights_sha256": weights.sha256,
        "architecture": weights.config,
        "pairs": [list(p) for p in prompts.pairs],
        "tokenizer": f"open_clip {version('open_clip_torch')}",
    }
    cached = read_text(job.cache_dir, key)
    if cached is None:
        cached = encode_text(model(), job.backbone, prompts.pairs)
        write_text(job.cache_dir, key, *cached)
    return cached


def _workers(job: Job) -> int:
    return job.workers if isinstance(job.workers, int) else allowed_cores()


def load_labels(job: Job) -> tuple[Labels, list[str], list[dict[str, str]], pd.DataFrame]:
    """Read the labels and hash the images: labels, sha256 a kept row, skipped images, the kept rows."""
    labels: Labels = job.dataset.load()
    return labels, *_hash_images(job, labels)


def _hash_images(job: Job, labels: Labels) -> tuple[list[str], list[dict[str, str]], pd.DataFrame]:
    table = labels.table.reset_index(drop=True)
    absent = table.index[table["path"] == ""]
    if len(absent) and job.on_error != "skip":
        names = ", ".join(table.loc[absent[:3], "image"])
        raise UnreadableImage(
            f"dataset {labels.name}: {len(absent)} of {len(table)} annotated images are missing under "
            f"{getattr(job.dataset, 'root', '')} ({names}{', ...' if len(absent) > 3 else ''}); complete the set from "
            f"{labels.page or 'its source'}, or use on_error=skip to list and leave out"
        )
    present = table.index[table["path"] != ""]
    hashes, failed = encode.hash_files(list(table.loc[present, "path"]), job.on_error)
    reasons = {int(i): "not found" for i in absent} | {int(present[i]): why for i, why in failed.items()}
    sha_of = dict(zip(present, hashes, strict=True))
    kept = [i for i in table.index if i not in reasons]
    skipped = [{"image": table.loc[i, "image"], "reason": reasons[i]} for i in sorted(reasons)]
    return [str(sha_of[i]) for i in kept], skipped, table.loc[kept]


def prepare(job: Job, clock: Clock, *, progress: bool = True) -> Features:
    """Labels and weights read, every image's features in the cache.

    Raises:
        UserError: anything a user can mend; what was encoded before stays cached.
    """
    if job.bundle:
        from magiqa.bundle import unpack

        with clock.stage("bundle"):
            return unpack(job)
    checkpoint = job.backbone.checkpoint
    if checkpoint is not None and not Path(checkpoint).expanduser().is_file():
        raise UserError(
            f"backbone.checkpoint={checkpoint}: no such file; give the path of a .pt or .safetensors file"
        )
    with clock.stage("labels"):  # what takes seconds comes after what may be mistyped: torch, hashes, weights
        labels: Labels = job.dataset.load()
        resolved: Resolved = resolve(job.engine, job.precision, job.device)
        images, skipped, table = _hash_images(job, labels)
        if job.part is not None:  # only `magiqa encode` lets it through: nothing is scored on a part
            first, step = (int(v) for v in job.part.split("/"))
            images, table = images[first - 1 :: step], table.iloc[first - 1 :: step]
    with clock.stage("weights"):
        weights = load_weights(job.backbone)
    model = _Lazy(job.backbone, weights)
    resize: Resize | None = getattr(job.dataset, "resize", None)
    key = encode.feature_key(job.backbone, weights, job.views, resize, resolved.engine, resolved.precision)
    engine_record: dict[str, Any] = asdict(resolved)

    def build_engine() -> encode.Encoder:
        with clock.stage("engine"):
            clip: Any = model()
            size = (job.views.window, job.views.window)
            fit_positional_embedding(clip, job.backbone, size)
            engine = build(clip.visual, resolved, batch_size=job.batch_size, view_size=size)
        if engine.warning:
            clock.warnings.append(engine.warning)
        engine_record.update(
            batch_size=engine.batch_size,
            streams=engine.streams,
            threads=threads(),
            max_error=engine.max_error,
            tolerance=engine.tolerance,
        )
        return engine

    with clock.stage("cache"):
        cache = FeatureCache(job.cache_dir, key)
    cached = sum(i in cache for i in images)
    with clock.stage("encode"):
        views, bad = encode.fill_cache(
            cache,
            list(zip(table["path"], images, strict=True)),
            build_engine,
            views=job.views,
            resize=resize,
            mean=weights.mean,
            std=weights.std,
            workers=_workers(job),
            on_error=job.on_error,
            progress=progress,
        )
    rows = [i for i, image in enumerate(images) if image not in bad]
    skipped += [{"image": table["image"].iloc[i], "reason": bad[s]} for i, s in enumerate(images) if s in bad]
    if skipped:
        clock.warnings.append(f"{len(skipped)} of {len(labels.table)} images left out (on_error=skip)")
    images, table = [images[i] for i in rows], table.iloc[rows].reset_index(drop=True)
    if len(images) < 3 and job.part is None:
        raise UserError(
            f"dataset {labels.name}: {len(images)} usable images are left, agreement needs at least 3"
        )
    record = {
        "dataset": {
            "name": labels.name,
            "variant": labels.variant,
            "root": str(Path(getattr(job.dataset, "root", "")).expanduser().absolute()),
            "n": len(images),
            "n_annotated": len(labels.table),
            "expected": labels.expected,
            "label": labels.label,
            "higher_is_better": labels.higher_is_better,
            "cluster": labels.cluster,
            "every": labels.every,
            "layout": labels.layout,
            "notes": list(labels.notes),
            "page": labels.page,
            "resize": asdict(resize) if resize else None,
            "fingerprint": fingerprint(labels),
            "images_sha256": hashlib.sha256("\n".join(images).encode()).hexdigest(),
            "skipped": skipped,
        },
        "backbone": {
            "name": job.backbone.name,
            "pretrained": job.backbone.pretrained if job.backbone.kind == "published" else None,
            "kind": job.backbone.kind,
            "label": job.backbone.shown_label,
            "weights_sha256": weights.sha256,
            "source": weights.source,
            "activation": "quickgelu" if weights.quickgelu else "gelu",
            "positional_embedding": job.backbone.positional_embedding,
        },
        "engine": engine_record,
        "views": asdict(job.views)
        | {"kinds": list(job.views.kinds), "count": sum(cache.entries[i].count for i in images)},
        "cache": {"key": cache.name, "images_cached": cached, "views_encoded": views},
    }
    return Features(
        labels,
        table,
        cache,
        images,
        skipped,
        record,
        lambda prompts: _text(job, weights, model, prompts),
    )


def score_views(
    features: Features, prompts: PromptSet, magnitude: Magnitude
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Cues of every view, in blocks: owner (M,), similarity of each pair (M, P), magnitude (M,)."""
    text, scale = features.text(prompts)
    for owner, rows in features.cache.blocks(features.images):
        yield owner, similarity(rows, text, scale), magnitude(rows)


def score(
    features: Features, prompts: PromptSet, magnitude: Magnitude, fusion: Fusion, pooling: str = "mean"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of each image, and of each view.

    Returns:
        (N rows: q_sim, q_mag, q, w_sim, pooled over the image's views, in the order of the table), and
        (a row a view: position, view, q_sim, q_mag, q, w_sim, pair_0, pair_1, ...).
    """
    blocks = []
    for owner, pairs, mag in score_views(features, prompts, magnitude):
        sim = pairs.mean(axis=1)
        q, w = fusion(sim, mag)
        if not np.isfinite(q).all():
            image = features.table["image"].iloc[owner[np.flatnonzero(~np.isfinite(q))[0]]]
            raise UserError(
                f"{image}: its score is NaN or infinite; choose a magnitude.lam or fusion.alpha nearer to 0"
            )
        block = pd.DataFrame({"position": owner, "q_sim": sim, "q_mag": mag, "q": q, "w_sim": w})
        blocks.append(pd.concat([block, pd.DataFrame(pairs).add_prefix("pair_")], axis=1))
    views = pd.concat(blocks, ignore_index=True).sort_values("position", kind="stable", ignore_index=True)
    views.insert(1, "view", views.groupby("position").cumcount())
    cues = views.groupby("position")[["q_sim", "q_mag", "q", "w_sim"]]
    if pooling == "mean":
        return cues.mean().reset_index(drop=True), views
    pooled = cues.agg(lambda v: pool(v.to_numpy(), pooling))
    return pooled.reset_index(drop=True), views


def scores_table(features: Features, cues: pd.DataFrame) -> pd.DataFrame:
    """``scores.csv``: image, label, cues, the reader's columns, controls; a row an image, the annotation's order."""
    table = features.table
    given = [c for c in OPTIONAL if c in table and table[c].notna().any()]
    return pd.concat([table[["image", features.labels.label]], cues, table[given], features.controls], axis=1)


def agreement_tables(
    job: Job, labels: Labels, scores: pd.DataFrame, clock: Clock
) -> tuple[pd.DataFrame, pd.DataFrame | None, dict[str, Any]]:
    """``agreement.csv``, ``groups.csv`` (where there are groups) and the fits of the record."""
    y = scores[labels.label].to_numpy(float)
    groups = scores["group"].astype(str).to_numpy() if "group" in scores else None
    clusters = scores[labels.cluster].astype(str).to_numpy() if labels.cluster in scores else None
    options: dict[str, Any] = {
        "clusters": clusters,
        "fit": job.fit,
        "resamples": job.resamples,
        "seed": job.seed,
    }

    def of(name: str) -> tuple[Agreement, list[dict[str, Any]]]:
        x = scores[name].to_numpy(float)
        within = [] if groups is None else by_group(x, y, groups, **options)
        return agreement(x, y, groups=groups, ci_fit=job.ci_fit, **options), list(within)

    rows, grouped, fits = [], [], {}
    with ThreadPoolExecutor(_workers(job)) as executor:
        found = list(executor.map(of, SCORES))
    for name, (result, within) in zip(SCORES, found, strict=True):
        rows += [{"score": name, **row} for row in result.rows()]
        fits[name] = {"status": result.fit.status, "params": result.fit.params, "method": job.fit}
        if result.fit.status != "ok":
            clock.warnings.append(f"{name}: logistic fit {result.fit.status}")
        grouped += [{"score": name, **row} for row in within]
    table = pd.DataFrame(rows)
    if table["ci_low"].isna().all():
        units = len(y) if clusters is None else count_clusters(clusters)
        what = "images" if clusters is None else f"values of {labels.cluster}"
        clock.warnings.append(f"no intervals: too few {what} to resample ({units})")
    return table, (pd.DataFrame(grouped) if grouped else None), fits


def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    out = {"python": platform.python_version(), "magiqa": __version__}
    for package in ("torch", "open_clip_torch", "numpy", "scipy", "pandas", "pillow", "openvino"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """A table as CSV, full float precision, the same bytes for the same values."""
    table.to_csv(path, index=False, lineterminator="\n")


def _record(file: Path) -> dict[str, Any]:
    """A record that magiqa wrote; nothing of anybody else's."""
    try:
        found = json.loads(file.read_text())
        return found if "magiqa" in found else {}
    except (OSError, ValueError, TypeError):
        return {}


def command_of(folder: Path) -> str | None:
    """The command whose record a folder holds, with the ablation or experiment it ran; None without a record."""
    record = _record(folder / "record.json") or _record(folder / "sweep.json")
    named = [f" {study}={record[study]['name']}" for study in ("ablation", "experiment") if study in record]
    return str(record["command"]) + "".join(named) if record else None


def make_folder(folder: Path, command: str | None = None, files: Collection[str] = ()) -> None:
    """Create a results folder, for a command (as ``command_of`` names it) that writes its record and files there.

    Raises:
        UserError: it cannot be written, or holds another command's record, or one of the files from elsewhere.
    """
    held = command_of(folder)
    if command is not None and held not in (None, command):
        raise UserError(
            f"out={folder}: holds the record of magiqa {held}, which magiqa {command} would overwrite; set out=DIR to "
            "another folder"
        )
    foreign = sorted(_files(folder).intersection([*files, "record.json"]) - _listed(folder))
    if foreign:
        raise UserError(
            f"{folder / foreign[0]}: would be overwritten, and no record there says that magiqa wrote it; move it, or "
            "set out=DIR to another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"out={folder}: cannot be written ({error.strerror}); set out=DIR to a folder of yours"
        ) from None


@contextmanager
def writing(folder: Path, files: Collection[str]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write a command's results anew: what earlier records list is removed first, so that no two runs mix.

    A mark stays in the folder until the block ends, so that what a killed run left behind is known for magiqa's.

    Args:
        files: the names it may write, besides ``record.json`` and figures.

    Yields:
        Writes ``record.json``, which lists as ``files`` what the block has written so far.
    """
    earlier = _listed(folder)
    mark = {"magiqa": __version__, "files": sorted(files), "others": sorted(_files(folder) - earlier)}
    write_record(folder, mark, MARK)
    for name in sorted(_files(folder) & earlier - {MARK}, key=lambda n: n != "record.json"):
        (folder / name).unlink()

    def write(record: dict[str, Any]) -> None:
        write_record(folder, record | {"files": sorted(_written(folder, mark))})

    yield write
    (folder / MARK).unlink()


def _files(folder: Path) -> set[str]:
    paths = (*folder.glob("*"), *folder.glob("figures/*"))
    return {p.relative_to(folder).as_posix() for p in paths if p.is_file()}


def _written(folder: Path, mark: dict[str, Any]) -> set[str]:
    """What lies in a folder of what a mark announces: its files, and figures that were not there before."""
    new = {name for name in _files(folder) if name.startswith("figures/")}.difference(mark["others"])
    return new | _files(folder).intersection(mark["files"])


def _listed(folder: Path) -> set[str]:
    """The files of a folder that magiqa wrote: its records, what they list, and what a killed run left."""
    names: set[str] = set()
    for file in ("record.json", "comparison.json", "sweep.json"):
        record = _record(folder / file)
        names.update([file, *record.get("files", ())] if record else ())
    mark = _record(folder / MARK)
    return names | _written(folder, mark) | {MARK, "record.json"} if mark else names


def write_record(folder: Path, record: dict[str, Any], name: str = "record.json") -> None:
    """A record as JSON."""
    (folder / name).write_text(json.dumps(record, indent=1, default=str, allow_nan=False) + "\n")


def evaluate(
    job: Job, *, progress: bool = True, show: Callable[[str], object] | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Encode what the cache lacks, score, evaluate, and write the run's folder.

    Args:
        show: is given the table to print, as soon as there is one: figures are drawn after it.

    Returns:
        ``agreement.csv`` and the record.
    """
    if job.part is not None:
        raise UserError(f"part={job.part} is for magiqa encode: scores need the whole set; drop it")
    clock = Clock()
    make_folder(job.folder, "evaluate", FILES)
    features = prepare(job, clock, progress=progress)
    with clock.stage("score"):
        cues, views = score(features, job.prompts, job.magnitude, job.fusion, job.pooling)
        scores = scores_table(features, cues)
    with clock.stage("agreement"):
        table, groups, fits = agreement_tables(job, features.labels, scores, clock)
    record = {
        "magiqa": __version__,
        "command": "evaluate",
        "name": job.name,
        "choices": job.choices,
        "config": job.config,
        **features.record,
        "fits": fits,
        "versions": versions(),
        "warnings": clock.warnings,
    }
    folder = job.folder
    with writing(folder, FILES) as write:
        write_csv(scores, folder / "scores.csv")
        write_csv(table, folder / "agreement.csv")
        if groups is not None:
            write_csv(groups, folder / "groups.csv")
        if job.views_file:
            write_csv(views_table(features, views, job.prompts), folder / "views.csv")
        write(record | {"seconds": clock.seconds})
        if show:
            show(render(table, record))
        if job.figures:
            from magiqa.figures import run_figures

            with clock.stage("figures"):
                (folder / "figures").mkdir(exist_ok=True)
                run_figures(folder / "figures", scores, table, groups, record)
            write(record | {"seconds": clock.seconds})
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

    def cell(score: str, statistic: str) -> str:
        row = by.loc[(score, statistic)]
        if pd.isna(row["value"]):
            return "-"
        interval = "" if pd.isna(row["ci_low"]) else f" [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]"
        return f"{row['value']:+.4f}{interval}"

    rows = [["", *statistics]] + [
        [
            score + (" (control)" if score in ("laplacian", "bytes") else ""),
            *(cell(score, s) for s in statistics),
        ]
        for score in dict.fromkeys(table["score"])
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
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
    return "\n".join([*head, *lines, *notes])


def combine(
    folder: Path, done: list[tuple[pd.DataFrame, dict[str, Any]]], failures: list[dict[str, str]]
) -> str:
    """The combined table of several runs: ``agreement.csv`` (long) and ``table.md`` (methods by data sets).

    Returns:
        The Markdown, failures listed below the table.
    """
    frames = []
    for table, record in done:
        columns = {
            **record["choices"],
            "run": record["name"],
            "weights": record["backbone"]["label"] or "published",
        }
        if record["backbone"]["kind"] == "given" and not record["backbone"]["label"]:
            columns["weights"] = "given"
        columns["set"] = dataset_name(record)
        frames.append(table.assign(**columns)[[*columns, *table.columns]])
    lines = []
    if frames:
        long = pd.concat(frames, ignore_index=True)
        write_csv(long.drop(columns="set"), folder / "agreement.csv")
        chosen = [c for c in done[0][1]["choices"] if c != "dataset" and len(set(long[c])) > 1]
        rows = long[long["statistic"].isin(["srcc", "plcc"])]
        sets = list(dict.fromkeys(rows["set"]))
        keys = [*chosen, "weights", "score"]
        # what varies inside a group of options (an overridden parameter) still gets a row of its own
        repeated = rows.duplicated(["set", "statistic", *keys]).any()
        keys = [*keys, "run"] if repeated else keys
        lines += ["| " + " | ".join([*keys, *(f"{s} SRCC / PLCC" for s in sets)]) + " |"]
        lines += ["|" + "---|" * (len(keys) + len(sets))]
        for values, group in rows.groupby(keys, sort=False):
            cells = []
            for name in sets:
                value = group[group["set"] == name].set_index("statistic")["value"]
                cells.append(f"{value['srcc']:.4f} / {value['plcc']:.4f}" if len(value) else "")
            lines.append("| " + " | ".join([*map(str, values), *cells]) + " |")
    if failures:
        lines += ["", f"{len(failures)} failed:", *(f"- `{f['job']}`: {f['error']}" for f in failures)]
    text = "\n".join(lines)
    (folder / "table.md").write_text(text + "\n")
    jobs = {"runs": [record["name"] for _, record in done], "failed": failures}
    found = {"magiqa": __version__, "command": SWEEP, **jobs, "files": ["agreement.csv", "table.md"]}
    write_record(folder, found, "sweep.json")
    return text
