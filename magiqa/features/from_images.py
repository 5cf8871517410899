"""Labels, images and weights in, cached features out."""

from dataclasses import asdict, dataclass, field
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
from magiqa.errors import UserError
from magiqa.features.batch_size import choose, remember, search_key
from magiqa.features.cache import FeatureCache
from magiqa.features.describe import dataset_record
from magiqa.features.features import Features
from magiqa.features.hashing import HashIndex
from magiqa.features.key import Maker, feature_key
from magiqa.features.pipeline import Encoder, fill_cache, load_file
from magiqa.features.present import hash_images
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


@dataclass
class _Opened:
    """All that precedes encoding: labels, present images, weights.

    Args:
        index: counts what was hashed. engine: what the record says of it.
    """

    job: RunConfig
    labels: Labels
    resolved: Resolved
    index: HashIndex
    images: list[str]
    skipped: list[dict[str, str]]
    table: pd.DataFrame
    weights: Weights
    model: _Lazy
    engine: dict[str, Any] = field(default_factory=dict)

    @property
    def resize(self) -> Resize | None:
        """The data set's own."""
        return getattr(self.job.source.dataset, "resize", None)


def from_images(job: RunConfig, clock: Clock, *, progress: bool = True) -> Features:
    """Read labels and weights, encode what the cache lacks, and return the features.

    Raises:
        UserError: anything a user can mend; what was encoded before stays cached.
    """
    opened = _open(job, clock)
    with clock.stage("cache"):
        cache = _cache(job, opened)
        cached = sum(i in cache for i in opened.images)
        if cached < len(opened.images):  # before hours of encoding: is the device there?
            resolve(job.machine.engine, job.machine.precision, job.machine.device)
    with clock.stage("encode"):
        encoded, bad = fill_cache(
            cache,
            list(zip(opened.table["path"], opened.images, strict=True)),
            partial(_engine, opened, cache, clock),
            views=job.method.views,
            resize=opened.resize,
            mean=opened.weights.mean,
            std=opened.weights.std,
            workers=workers(job, opened.resolved.device),
            on_error=job.source.on_error,
            load=partial(load_file, limits=job.source.limits),
            limits=job.source.limits,
            progress=progress,
            report=reporter(),
        )
        if encoded:
            cache.refresh()  # what others wrote meanwhile counts as it will for the next command
    _leave_out(opened, bad, clock)
    return _features(opened, cache, {"images_cached": cached, "views_encoded": encoded}, clock)


def _open(job: RunConfig, clock: Clock) -> _Opened:
    checkpoint = job.method.backbone.checkpoint
    if checkpoint is not None and not Path(checkpoint).expanduser().is_file():
        raise UserError(
            f"backbone.checkpoint={checkpoint}: no such file; give the path of a .pt or .safetensors file"
        )
    with clock.stage("labels"):  # what takes seconds comes after what may be mistyped: torch, hashes, weights
        labels: Labels = job.source.dataset.load()
        resolved = resolve(job.machine.engine, job.machine.precision, job.machine.device, absent=True)
    with clock.stage("hash"):
        root = getattr(job.source.dataset, "root", "")
        index = HashIndex(job.machine.cache_dir, root, rehash=job.machine.rehash)
        images, skipped, table = hash_images(job, labels, index)
        if index.warning:
            clock.warnings.append(index.warning)
    with clock.stage("weights"):
        weights = load_weights(job.method.backbone)
    model = _Lazy(job.method.backbone, weights)
    return _Opened(
        job, labels, resolved, index, images, skipped, table, weights, model, engine=asdict(resolved)
    )


def _cache(job: RunConfig, opened: _Opened) -> FeatureCache:
    key = feature_key(
        job.method.backbone, opened.weights, job.method.views, opened.resize, opened.resolved.precision
    )
    return FeatureCache(job.machine.cache_dir, key, Maker.of(opened.resolved), job.machine.cache_engine)


def _engine(opened: _Opened, cache: FeatureCache, clock: Clock) -> Encoder:
    """The engine of the opened job's model; what it is goes into the record."""
    job, resolved = opened.job, opened.resolved
    with clock.stage("engine"):
        clip: Any = opened.model()
        size = (job.method.views.window, job.method.views.window)
        fit_positional_embedding(clip, job.method.backbone, size)
        search = search_key(resolved, opened.weights.shapes_sha256, size)
        missing = sum(i not in cache for i in opened.images)
        batch_size, origin = choose(job.machine.batch_size, job.machine.cache_dir, search, resolved, missing)
        engine = build(clip.visual, resolved, batch_size=batch_size, view_size=size)
        if origin == "measured":
            remember(job.machine.cache_dir, search, engine.batch_size)
    if engine.warning:
        clock.warnings.append(engine.warning)
    opened.engine.update(
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


def _leave_out(opened: _Opened, bad: dict[str, str], clock: Clock) -> None:
    """Take out the images that could not be encoded, by sha256 with the reason.

    Raises:
        UserError: too few are left.
    """
    images, table = opened.images, opened.table
    rows = [i for i, image in enumerate(images) if image not in bad]
    opened.skipped += [
        {"image": table["image"].iloc[i], "reason": bad[s]} for i, s in enumerate(images) if s in bad
    ]
    if opened.skipped:
        clock.warnings.append(
            f"{len(opened.skipped)} of {len(opened.labels.table)} images left out (on_error=skip)"
        )
    opened.images, opened.table = [images[i] for i in rows], table.iloc[rows].reset_index(drop=True)
    if len(opened.images) < 3 and opened.job.source.part is None:
        raise UserError(
            f"dataset {opened.labels.name}: {len(opened.images)} usable images are left, agreement needs at least 3"
        )


def _features(opened: _Opened, cache: FeatureCache, counts: dict[str, int], clock: Clock) -> Features:
    job, images, index = opened.job, opened.images, opened.index
    record = {
        "dataset": dataset_record(opened.labels, job.source.dataset, images, opened.skipped),
        "backbone": opened.weights.record(job.method.backbone),
        "engine": opened.engine,
        "views": asdict(job.method.views)
        | {"kinds": list(job.method.views.kinds), "count": sum(cache.entries[i].count for i in images)},
        "cache": {
            "key": cache.name,
            **counts,
            "made_by": cache.made_by(images),
            "hashes": {"read": index.read, "bytes": index.bytes, "known": index.known},
        },
    }
    return Features(
        opened.labels,
        opened.table,
        cache,
        images,
        opened.skipped,
        record,
        lambda prompts: text_embeddings(
            job.machine.cache_dir,
            job.method.backbone,
            opened.weights,
            opened.model,
            prompts,
            clock.warnings.append,
        ),
    )
