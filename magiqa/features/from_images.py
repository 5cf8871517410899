"""Labels, images and weights in, cached features out."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from typing import Any

from magiqa.backbones.model import build_model, fit_positional_embedding
from magiqa.backbones.weights import Weights, load_weights
from magiqa.cores import decoders, threads
from magiqa.datasets.base import Labels
from magiqa.engines.build import build
from magiqa.engines.hardware import hardware
from magiqa.engines.resolve import resolve
from magiqa.errors import UnreadableImage, UserError
from magiqa.features.batches import Encoder
from magiqa.features.cache import FeatureCache
from magiqa.features.features import Features
from magiqa.features.hashing import HashIndex
from magiqa.features.images import Images, find_images
from magiqa.features.key import Maker, feature_key
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.features.text import text_embeddings
from magiqa.images.decode import picture_notes
from magiqa.package import expanded
from magiqa.runs.config import RunConfig
from magiqa.runs.names import other_than_published
from magiqa.runs.provenance import Clock


def workers(job: RunConfig, device: str) -> int:
    """Return the number of threads that decode and cut beside a device."""
    return job.machine.workers if isinstance(job.machine.workers, int) else decoders(device)


class ImageSource:
    """Features that are encoded from images: see `magiqa.features.source.Source`.

    Raises:
        UserError: anything that can be found out at once: a checkpoint that is not there, an unknown engine.
    """

    def __init__(self, job: RunConfig, clock: Clock, *, progress: bool = True) -> None:
        checkpoint = job.method.backbone.checkpoint
        if checkpoint is not None and not expanded(checkpoint).is_file():
            raise UserError(
                f"backbone.checkpoint={checkpoint}: no such file; give the path of a .pt or .safetensors file"
            )
        self.job, self.clock, self.progress = job, clock, progress
        machine, root = job.machine, getattr(job.source.dataset, "root", "")
        if any("\ud800" <= character <= "\udfff" for character in root):
            raise UserError(
                f"dataset.root={root}: the name is no UTF-8 text; rename the folder, or give a link with another name"
            )
        self.resolved = resolve(machine.engine, machine.precision, machine.device, absent=True)
        self.index = HashIndex(
            machine.cache_dir,
            root,
            rehash=machine.rehash,
            limits=job.source.limits,
        )
        self.engine: dict[str, Any] = asdict(self.resolved)

    def labels(self) -> Labels:
        """Read the annotation."""
        with self.clock.stage("labels"):
            labels: Labels = self.job.source.dataset.load()
        doubtful = (*other_than_published(labels.notes), *labels.warnings)
        self.clock.warnings += [f"{labels.name}: {note}" for note in doubtful]
        return labels

    def images(self, labels: Labels) -> Images:
        """Find and hash the labels' images."""
        with self.clock.stage("hash"):
            images = find_images(self.job, labels, self.index)
        if self.index.warning:
            self.clock.warnings.append(self.index.warning)
        self.clock.warnings += picture_notes(self.index.traits, self.index.limits)
        return images

    def weights(self) -> Weights:
        """Read the backbone's weights."""
        with self.clock.stage("weights"):
            return load_weights(self.job.method.backbone)

    def features(self, labels: Labels, images: Images, weights: Weights) -> Features:
        """Encode what the cache lacks."""
        job, method, machine = self.job, self.job.method, self.job.machine
        model = cache(
            partial(build_model, method.backbone, weights)
        )  # built once, if something must be encoded
        resize = getattr(job.source.dataset, "resize", None)
        with self.clock.stage("cache"):
            key = feature_key(method.backbone, weights, method.views, resize, self.resolved.precision)
            store = FeatureCache(machine.cache_dir, key, Maker.of(self.resolved), machine.cache_engine)
            cached = sum(sha in store for sha in images.sha256)
            if cached < len(images.sha256):  # before hours of encoding: is the device there?
                resolve(machine.engine, machine.precision, machine.device)
                for note in labels.warnings if self.progress else ():
                    print(f"note: {labels.name}: {note}", file=sys.stderr, flush=True)
        with self.clock.stage("encode"):
            encoded, bad = fill_cache(
                store,
                list(zip(images.table["path"], images.sha256, strict=True)),
                partial(self._build, store, model),
                Recipe(method.views, resize, weights.mean, weights.std, job.source.limits),
                workers=workers(job, self.resolved.device),
                skippable=UnreadableImage if job.source.on_error == "skip" else (),
                progress=self.progress,
            )
            if encoded:
                store.refresh()  # what others wrote meanwhile counts as it will for the next command
        images = images.without(bad)
        if images.skipped:
            self.clock.warnings.append(
                f"{len(images.skipped)} of {len(labels.table)} images left out (on_error=skip)"
            )
        if len(images.sha256) < 3 and job.source.part is None:
            raise UserError(
                f"dataset {labels.name}: {len(images.sha256)} usable images are left, agreement needs at least 3"
            )
        text = partial(text_embeddings, machine.cache_dir, method.backbone, weights, model)
        record = {
            "dataset": images.record(labels, job.source.dataset),
            "backbone": weights.record(method.backbone),
            "engine": self.engine,
            "views": method.views.plain() | {"count": sum(store.entries[sha].count for sha in images.sha256)},
            "cache": {
                "key": store.name,
                "images_cached": cached,
                "views_encoded": encoded,
                "made_by": store.made_by(images.sha256),
                "hashes": {"read": self.index.read, "bytes": self.index.bytes, "known": self.index.known},
            },
        }
        return Features(
            labels,
            images.table,
            store,
            images.sha256,
            images.skipped,
            record,
            partial(text, warn=self.clock.warnings.append),
        )

    def _build(self, store: FeatureCache, model: Callable[[], Any]) -> Encoder:
        """Build the engine; the record says what it is."""
        job, resolved = self.job, self.resolved
        size = (job.method.views.window, job.method.views.window)
        with self.clock.stage("engine"):
            clip = model()
            fit_positional_embedding(clip, job.method.backbone, size)
            engine = build(clip.visual, resolved, batch_size=job.machine.batch_size, view_size=size)
        self.clock.warnings += engine.warnings
        self.engine |= {
            "batch_size": engine.batch_size,
            "streams": engine.streams,
            "threads": threads(),
            "max_error": engine.max_error,
            "tolerance": resolved.tolerance,
            **hardware(resolved.device),
        }
        store.verified(engine.max_error)
        return engine
