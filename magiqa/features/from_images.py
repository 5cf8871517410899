"""Labels, images and weights in, cached features out."""

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from magiqa.backbones.model import build_model, fit_positional_embedding
from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import Weights, load_weights
from magiqa.datasets.base import Labels
from magiqa.engines.build import build
from magiqa.engines.hardware import hardware
from magiqa.engines.resolve import Resolved, decoders, resolve, threads
from magiqa.errors import UnreadableImage, UserError
from magiqa.features.batch_size import choose, remember, search_key
from magiqa.features.cache import FeatureCache
from magiqa.features.describe import dataset_record
from magiqa.features.elsewhere import elsewhere
from magiqa.features.features import Features
from magiqa.features.hashing import HashIndex, hash_files
from magiqa.features.key import Maker, feature_key
from magiqa.features.pipeline import Encoder, fill_cache, load_file
from magiqa.features.progress import reporter
from magiqa.features.text import text_embeddings
from magiqa.images.views import Resize
from magiqa.runs.config import RunConfig
from magiqa.runs.provenance import Clock

if TYPE_CHECKING:
    import torch


class _Lazy:
    """The open_clip model of a spec, built at most once and only if something must be encoded."""

    def __init__(self, spec: Backbone, weights: Weights) -> None:
        self.spec, self.weights = spec, weights
        self._model: torch.nn.Module | None = None

    def __call__(self) -> "torch.nn.Module":
        if self._model is None:
            self._model = build_model(self.spec, self.weights)
        return self._model


def workers(job: RunConfig, device: str) -> int:
    """Threads that decode and cut beside a device."""
    return job.machine.workers if isinstance(job.machine.workers, int) else decoders(device)


def load_labels(job: RunConfig) -> tuple[Labels, list[str], list[dict[str, str]], pd.DataFrame]:
    """Read labels and every image, no cache: labels, sha256 a kept row, skipped images, the kept rows."""
    labels: Labels = job.source.dataset.load()
    return labels, *_hash_images(job, labels, HashIndex(None, ""))


def _of_part(paths: pd.Series, part: str | None) -> pd.Series:
    """Which rows belong to ``I/N``: every N-th file from the I-th on, so that no two parts read the same."""
    if part is None:
        return pd.Series(True, index=paths.index)
    first, step = (int(v) for v in part.split("/"))
    return paths.isin(list(paths.drop_duplicates())[first - 1 :: step])


def _hash_images(
    job: RunConfig, labels: Labels, index: HashIndex
) -> tuple[list[str], list[dict[str, str]], pd.DataFrame]:
    table = labels.table.reset_index(drop=True)
    absent = table.index[table["path"] == ""]
    if len(absent) and job.source.on_error != "skip":
        names = ", ".join(table.loc[absent[:3], "image"])
        raise UnreadableImage(
            f"dataset {labels.name}: {len(absent)} of {len(table)} annotated images are missing "
            f"under {getattr(job.source.dataset, 'root', '')} ({names}{', ...' if len(absent) > 3 else ''}); complete "
            f"the set from {labels.page or 'its source'}, or use on_error=skip to list and leave out"
        )
    present = table.index[table["path"] != ""]
    present = present[_of_part(table.loc[present, "path"], job.source.part)]
    hashes, failed = hash_files(list(table.loc[present, "path"]), job.source.on_error, index)
    reasons = {int(i): "not found" for i in absent} | {int(present[i]): why for i, why in failed.items()}
    sha_of = dict(zip(present, hashes, strict=True))
    kept = [i for i in present if i not in reasons]
    skipped = [{"image": table.loc[i, "image"], "reason": reasons[i]} for i in sorted(reasons)]
    return [str(sha_of[i]) for i in kept], skipped, table.loc[kept]


def from_images(job: RunConfig, clock: Clock, *, progress: bool = True) -> Features:
    """Labels and weights read, every image's features in the cache.

    Raises:
        UserError: anything a user can mend; what was encoded before stays cached.
    """
    checkpoint = job.method.backbone.checkpoint
    if checkpoint is not None and not Path(checkpoint).expanduser().is_file():
        raise UserError(
            f"backbone.checkpoint={checkpoint}: no such file; give the path of a .pt or .safetensors file"
        )
    with clock.stage("labels"):  # what takes seconds comes after what may be mistyped: torch, hashes, weights
        labels: Labels = job.source.dataset.load()
        resolved: Resolved = resolve(
            job.machine.engine, job.machine.precision, job.machine.device, absent=True
        )
    with clock.stage("hash"):
        root = getattr(job.source.dataset, "root", "")
        index = HashIndex(job.machine.cache_dir, root, rehash=job.machine.rehash)
        images, skipped, table = _hash_images(job, labels, index)
        if index.warning:
            clock.warnings.append(index.warning)
    with clock.stage("weights"):
        weights = load_weights(job.method.backbone)
    model = _Lazy(job.method.backbone, weights)
    resize: Resize | None = getattr(job.source.dataset, "resize", None)
    key = feature_key(job.method.backbone, weights, job.method.views, resize, resolved.precision)
    engine_record: dict[str, Any] = asdict(resolved)

    def build_engine() -> Encoder:
        with clock.stage("engine"):
            clip: Any = model()
            size = (job.method.views.window, job.method.views.window)
            fit_positional_embedding(clip, job.method.backbone, size)
            search = search_key(resolved, weights.sha256, size)
            batch_size, origin = choose(
                job.machine.batch_size, job.machine.cache_dir, search, resolved, len(images) - cached
            )
            engine = build(clip.visual, resolved, batch_size=batch_size, view_size=size)
            if origin == "measured":
                remember(job.machine.cache_dir, search, engine.batch_size)
        if engine.warning:
            clock.warnings.append(engine.warning)
        engine_record.update(
            batch_size=engine.batch_size,
            batch_size_from=origin,
            streams=engine.streams,
            threads=threads(),
            max_error=engine.max_error,
            tolerance=engine.tolerance,
            **hardware(resolved.device),
        )
        cache.verified(engine.max_error)
        return engine

    with clock.stage("cache"):
        cache = FeatureCache(job.machine.cache_dir, key, Maker.of(resolved), job.machine.cache_engine)
        cached = sum(i in cache for i in images)
        if cached < len(images):
            resolve(job.machine.engine, job.machine.precision, job.machine.device)
            if progress and job.ablation is None and job.experiment is None:
                for line in elsewhere(cache, images):
                    print(f"{labels.name}: {line}", file=sys.stderr, flush=True)
    with clock.stage("encode"):
        views, bad = fill_cache(
            cache,
            list(zip(table["path"], images, strict=True)),
            build_engine,
            views=job.method.views,
            resize=resize,
            mean=weights.mean,
            std=weights.std,
            workers=workers(job, resolved.device),
            on_error=job.source.on_error,
            load=partial(load_file, limits=job.source.limits),
            limits=job.source.limits,
            progress=progress,
            report=reporter(),
        )
        if views:
            cache.refresh()  # what others wrote meanwhile counts as it will for the next command
    rows = [i for i, image in enumerate(images) if image not in bad]
    skipped += [{"image": table["image"].iloc[i], "reason": bad[s]} for i, s in enumerate(images) if s in bad]
    if skipped:
        clock.warnings.append(f"{len(skipped)} of {len(labels.table)} images left out (on_error=skip)")
    images, table = [images[i] for i in rows], table.iloc[rows].reset_index(drop=True)
    if len(images) < 3 and job.source.part is None:
        raise UserError(
            f"dataset {labels.name}: {len(images)} usable images are left, agreement needs at least 3"
        )
    record = {
        "dataset": dataset_record(labels, job.source.dataset, images, skipped),
        "backbone": weights.record(job.method.backbone),
        "engine": engine_record,
        "views": asdict(job.method.views)
        | {"kinds": list(job.method.views.kinds), "count": sum(cache.entries[i].count for i in images)},
        "cache": {
            "key": cache.name,
            "images_cached": cached,
            "views_encoded": views,
            "made_by": cache.made_by(images),
            "hashes": {"read": index.read, "bytes": index.bytes, "known": index.known},
        },
    }
    return Features(
        labels,
        table,
        cache,
        images,
        skipped,
        record,
        lambda prompts: text_embeddings(
            job.machine.cache_dir, job.method.backbone, weights, model, prompts, clock.warnings.append
        ),
    )
