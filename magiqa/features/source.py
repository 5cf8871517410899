"""The source of a job's features: images and weights, or a bundle."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import numpy as np

from magiqa.backbones.model import build_model, fit_positional_embedding
from magiqa.backbones.weights import check_files, load_weights
from magiqa.cores import decoders, threads
from magiqa.datasets.base import Labels, other_than_published
from magiqa.engines.build import build, hardware, resolve
from magiqa.engines.engine import Engine
from magiqa.errors import UnreadableImage, UserError
from magiqa.features.bundle import open_bundle
from magiqa.features.cache import FeatureCache, Maker, feature_key
from magiqa.features.images import (
    Features,
    HashIndex,
    Images,
    find_images,
    reference_folder,
    reference_statistics,
)
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.features.text import learned_source, text_embeddings
from magiqa.images.decode import picture_notes
from magiqa.method.prompts import PromptSet
from magiqa.method.rivals import Reference, Rival
from magiqa.runs.config import RunConfig, portable
from magiqa.runs.record import Clock


class BundleSource:
    """Features that a bundle holds.

    Raises:
        UserError: a damaged file; a job that asks for other features than the bundle holds.
    """

    def __init__(self, job: RunConfig, clock: Clock) -> None:
        assert job.source.bundle is not None
        self.name, self.clock = job.source.bundle, clock
        with clock.stage("bundle"):
            self.bundle = open_bundle(self.name)
        header, config = self.bundle.header, self.bundle.header.config
        own = config.get("dataset")
        if portable({"dataset": job.config.get("dataset", own)})["dataset"] != own:
            raise UserError(
                f"bundle={self.name}: holds the data set {header.labels.name} with its labels; leave out dataset="
            )
        method, machine = job.method, job.machine
        self._check("backbone.", portable({"backbone": asdict(method.backbone)})["backbone"], header.backbone)
        claims = {name: value for name, value in header.record.views.plain().items() if name != "count"}
        self._check("views.", dict.fromkeys(claims) | method.views.plain(), claims)
        self._check("", {"precision": machine.precision, "engine": machine.engine}, config)

    def _check(self, group: str, asked: Mapping[str, Any], has: Mapping[str, Any]) -> None:
        for name, value in asked.items():
            if value != has.get(name):
                raise UserError(
                    f"bundle={self.name}: holds features of {group}{name}={has.get(name)}, not {value}; "
                    "other features need the images and weights"
                )

    def labels(self) -> Labels:
        """Return the labels that the header holds."""
        header = self.bundle.header
        labels = Labels(table=header.frame(), **header.labels.facts())
        self.clock.warnings += [f"{labels.name}: {note}" for note in other_than_published(labels.notes)]
        return labels

    def images(self, labels: Labels) -> Images:
        """Return the header's images."""
        header = self.bundle.header
        return Images(labels.table, list(header.images), [image.plain() for image in header.skipped])

    def weights(self) -> Any:
        """Return nothing: a bundle holds no weights."""

    def features(self, labels: Labels, images: Images, weights: Any) -> Features:
        """Return the bundle's features."""
        header = self.bundle.header
        made = {"magiqa": header.magiqa, "code_sha256": header.code_sha256}
        record = header.record.plain() | {"bundle": made}
        return Features(
            table=images.table,
            images=images.sha256,
            cache=self.bundle.features,
            kinds=header.record.views.kinds,
            text=self._text,
            reference=self._reference,
            labels=labels,
            record=record,
        )

    def _reference(self, rival: Rival) -> Reference:
        reference = self.bundle.reference()
        packed = self.bundle.header.config.get("magnitude") or {}
        if rival.statistics_from not in (None, packed.get("statistics_from")):
            raise UserError(
                f"bundle={self.name}: holds the statistics of its own reference images; leave out "
                f"magnitude.statistics_from={rival.statistics_from}"
            )
        return reference

    def _text(self, prompts: PromptSet) -> tuple[np.ndarray, float]:
        text, scale = self.bundle.text()
        places = {name: i for i, name in enumerate(self.bundle.header.text_names)}
        missing = next((name for name in prompts.text_names if name not in places), None)
        if missing is not None:
            raise UserError(
                f"bundle={self.name}: holds no embedding of the prompt {missing!r}, which would need the weights; use "
                "its own prompts, or pack it with that prompt set"
            )
        return text[[places[name] for name in prompts.text_names]], scale


def workers(job: RunConfig, device: str) -> int:
    """Return the number of threads that decode and cut beside a device."""
    return job.machine.workers if isinstance(job.machine.workers, int) else decoders(device)


class ImageSource:
    """Features that are encoded from images.

    Raises:
        UserError: anything that can be found out at once: a checkpoint that is not there, an unknown engine.
    """

    def __init__(self, job: RunConfig, clock: Clock, *, progress: bool = True) -> None:
        self.job, self.clock, self.progress = job, clock, progress
        machine, root = job.machine, getattr(job.source.dataset, "root", "")
        self.resolved = resolve(machine.engine, machine.precision, machine.device, absent=True)
        self.engine: dict[str, Any] = asdict(self.resolved)
        check_files(job.method.backbone, job.method.prompts)
        if isinstance(job.method.magnitude, Rival):
            reference_folder(job.method.magnitude)
        if any("\ud800" <= character <= "\udfff" for character in root):
            raise UserError(
                f"dataset.root={root}: the name is no UTF-8 text; rename the folder, or give a link with another name"
            )
        self.index = HashIndex(machine.cache_dir, root, rehash=machine.rehash, limits=job.source.limits)

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

    def weights(self) -> Any:
        """Read the backbone's weights."""
        with self.clock.stage("weights"):
            return load_weights(self.job.method.backbone)

    def features(self, labels: Labels, images: Images, weights: Any) -> Features:
        """Encode what the cache lacks."""
        job, method, machine = self.job, self.job.method, self.job.machine
        # built once, if something must be encoded
        model = cache(partial(build_model, method.backbone, weights))
        resize = getattr(job.source.dataset, "resize", None)
        with self.clock.stage("cache"):
            key = feature_key(method.backbone, weights, method.views, resize, self.resolved.precision)
            store = FeatureCache(machine.cache_dir, key, Maker.of(self.resolved), machine.cache_engine)
            cached = sum(sha in store for sha in images.sha256)
        for note in labels.warnings if self.progress and cached < len(images.sha256) else ():
            print(f"note: {labels.name}: {note}", file=sys.stderr, flush=True)
        recipe = Recipe(method.views, resize, weights.mean, weights.std, job.source.limits)
        # one engine, as building changes the model; the reference images of a cue are encoded by it too
        encode = partial(self._encode, store, cache(partial(self._build, store, model)), recipe)
        encoded, bad = encode(images.table["path"], images.sha256)
        images = images.without(bad)
        if images.skipped:
            self.clock.warnings.append(
                f"{len(images.skipped)} of {len(labels.table)} images left out (on_error=skip)"
            )
        if len(images.sha256) < 3 and job.source.part is None:
            raise UserError(
                f"dataset {labels.name}: {len(images.sha256)} usable images are left, agreement needs at least 3"
            )
        warn = self.clock.warnings.append
        text = partial(text_embeddings, machine.cache_dir, method.backbone, weights, model, warn=warn)
        record = {
            "dataset": images.record(labels, job.source.dataset),
            "backbone": weights.record(method.backbone) | learned_source(weights, method.prompts),
            "engine": self.engine,
            "views": method.views.plain() | {"count": sum(store.entries[sha].count for sha in images.sha256)},
            "cache": {
                "key": store.name,
                "images_cached": cached,
                "views_encoded": encoded,
                "made_by": store.made_by(images.sha256),
            },
        }
        reference = partial(reference_statistics, job, store, encode, set(images.sha256), record, warn)
        return Features(
            table=images.table,
            images=images.sha256,
            cache=store,
            kinds=tuple(method.views.kinds),
            text=text,
            reference=cache(reference),
            labels=labels,
            record=record,
        )

    def _encode(
        self,
        store: FeatureCache,
        build_engine: Callable[[], Engine],
        recipe: Recipe,
        paths: Iterable[str],
        sha256: Sequence[str],
    ) -> tuple[int, dict[str, str]]:
        """Encode the images that the cache lacks; see `fill_cache`."""
        with self.clock.stage("encode"):
            encoded, bad = fill_cache(
                store,
                list(zip(paths, sha256, strict=True)),
                build_engine,
                recipe,
                workers=workers(self.job, self.resolved.device),
                skippable=UnreadableImage if self.job.source.on_error == "skip" else (),
                progress=self.progress,
            )
            if encoded:
                store.refresh()  # what others wrote meanwhile counts as it will for the next command
        return encoded, bad

    def _build(self, store: FeatureCache, model: Callable[[], Any]) -> Engine:
        """Build the engine; the record says what it is."""
        job, machine = self.job, self.job.machine
        size = (job.method.views.window, job.method.views.window)
        with self.clock.stage("engine"):
            resolved = resolve(
                machine.engine, machine.precision, machine.device
            )  # it must be on this machine
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
        store.max_error = engine.max_error
        return engine


def open_source(job: RunConfig, clock: Clock, *, progress: bool = True) -> ImageSource | BundleSource:
    """Return the source of a job's features; its stages are called in their order.

    Each raises a `UserError` for anything a user can mend; what was encoded before stays cached.
    """
    if job.source.bundle:
        return BundleSource(job, clock)
    return ImageSource(job, clock, progress=progress)


def prepare(job: RunConfig, clock: Clock, *, progress: bool = True) -> Features:
    """Return the features of every image of a job; encode those that the cache lacks.

    Raises:
        UserError: anything a user can mend; what was encoded before stays cached.
    """
    source = open_source(job, clock, progress=progress)
    labels = source.labels()
    images = source.images(labels)
    weights = source.weights()
    return source.features(labels, images, weights)
