"""One method on images as they come: a model that is made once, and the harness's own path to scores."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from magiqa.backbones.model import build_model, fit_positional_embedding
from magiqa.backbones.text import encode_prompts
from magiqa.backbones.weights import load_weights
from magiqa.cores import decoders
from magiqa.engines.build import build
from magiqa.engines.engine import Resolved, apart, borrowed, refuse_forks
from magiqa.engines.resolve import hardware, resolve
from magiqa.errors import UserError
from magiqa.features.cache import FeatureCache, MemoryStore, Store
from magiqa.features.key import Maker, feature_key
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.features.text import text_embeddings
from magiqa.images.decode import Limits
from magiqa.images.views import Resize, Views, geometry
from magiqa.method.prompts import PromptSet
from magiqa.package import expanded
from magiqa.report.methods import method_name, primary
from magiqa.runs.config import RunConfig
from magiqa.scorer.inputs import Item
from magiqa.scoring.score import score, score_groups, score_views

CUES = ("q", "q_sim", "q_mag", "w_sim")

TOGETHER = 512  # images whose features lie in memory at once, where there is no cache folder

_building = threading.Lock()  # open_clip's logs are silenced for the whole process while a model is made


@dataclass(frozen=True)
class Scored:
    """The scores of some images.

    Args:
        cues: a row an image: image, q, q_sim, q_mag, w_sim, and each prompt pair's own score.
        views: a row a view: position (the image's row in ``cues``), view, kind, its box, and the same scores.
        sizes: (width, height) of each image. skipped: why an image was left out, by name.
    """

    cues: pd.DataFrame
    views: pd.DataFrame
    sizes: list[tuple[int, int]]
    skipped: dict[str, str]


class Session:
    """A run's method, with its model and caches.

    Args:
        job: the run's config; of its data set nothing is used. resize: before views are cut.
        cache_dir: where features are kept; None: nowhere.

    Attributes:
        warnings: the engine's notes for its user.
    """

    def __init__(self, job: RunConfig, resize: Resize | None, cache_dir: str | PathLike[str] | None) -> None:
        self.job, self.resize = job, resize
        self.cache_dir = None if cache_dir is None else str(expanded(cache_dir))
        self.warnings: list[str] = []
        self._weights: Any = None
        self._engines: dict[int, Any] = {}  # by the views' side
        self._embedded: tuple[np.ndarray, float] | None = None
        self._caches: dict[Views, Any] = {}

    @cached_property
    def resolved(self) -> Resolved:
        """The engine, precision and device."""
        machine = self.job.machine
        return resolve(machine.engine, machine.precision, machine.device)

    @property
    def limits(self) -> Limits:
        """The limits of images; transparent pixels lie on white unless the config says otherwise."""
        source = self.job.source
        return replace(source.limits, alpha=source.alpha or "white")

    def record(self) -> dict[str, Any]:
        """Return the method as a run's record describes it, with its name."""
        job = self.job
        facts = {
            "choices": job.choices,
            "changed": job.changed,
            "config": {"pooling": job.config.get("pooling", "mean")},
            "backbone": self._weigh().record(job.method.backbone),
        }
        return {
            "method": job.output.name or method_name(facts, primary(facts)),
            **facts,
            "prompts": [[group.name, group.lowest] for group in job.method.prompts.all_groups],
            "views": job.method.views.plain(),
            "magnitude": repr(job.method.magnitude),
            "fusion": repr(job.method.fusion),
            "resize": asdict(self.resize) if self.resize else None,
            "alpha": self.limits.alpha,
            "orientation": self.limits.orientation,
            "engine": asdict(self.resolved) | hardware(self.resolved.device),
        }

    def score(self, images: Sequence[Item], views: Views, *, skip: bool, progress: bool) -> Scored:
        """Score images on these views; cached features are used."""
        stored = self.cache_dir is not None
        step = max(1, len(images)) if stored else TOGETHER
        try:
            parts = [
                self._score(
                    images[i : i + step],
                    views,
                    self._cache(views) if stored else MemoryStore(),
                    skip,
                    progress,
                )
                for i in range(0, len(images), step)
            ]
        except UserError as error:
            raise type(error)(_plain(str(error))) from None
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _score(self, images: Sequence[Item], views: Views, store: Any, skip: bool, progress: bool) -> Scored:
        in_memory, limits, weights = isinstance(store, MemoryStore), self.limits, self._weigh()
        reasons: dict[int, str] = {}

        def key_of(i: int) -> str:
            try:
                return str(i) if in_memory else images[i].key(limits)
            except UserError as error:
                if not skip:
                    raise
                reasons[i] = str(error)
                return ""

        with ThreadPoolExecutor(self._workers()) as threads:
            keys = list(threads.map(key_of, range(len(images))))
        with borrowed():
            _, bad = fill_cache(
                store,
                [(item, key) for item, key in zip(images, keys, strict=True) if key],
                lambda: self._encoder(views.window, store),
                Recipe(views, self.resize, weights.mean, weights.std, limits),
                workers=self._workers(),
                skippable=UserError if skip else (),
                load=lambda item, key: item.load(key, limits, measured=not in_memory),
                progress=progress,
            )
            reasons |= {i: f"{images[i].name}: {bad[key]}" for i, key in enumerate(keys) if key in bad}
            rows = [i for i in range(len(images)) if i not in reasons]
            skipped = {images[i].name: _plain(reason) for i, reason in sorted(reasons.items())}
            if not rows:
                return Scored(pd.DataFrame(columns=["image", *CUES]), pd.DataFrame(), [], skipped)
            names = [images[i].name for i in rows]
            features = _Features(
                pd.DataFrame({"image": names}), [keys[i] for i in rows], store, views.kinds, self._text
            )
            method = replace(self.job.method, views=views)
            cues, by_view = score(features, method), score_views(features, method)
            cues[pair_names(method.prompts)] = score_groups(features, method)
        controls = [store.controls[k] if in_memory else store.entries[k].controls for k in features.images]
        return self._tables(names, cues, by_view, [(int(c[0]), int(c[1])) for c in controls], views, skipped)

    def _tables(
        self,
        called: list[str],
        cues: pd.DataFrame,
        by_view: pd.DataFrame,
        sizes: list[tuple[int, int]],
        views: Views,
        skipped: dict[str, str],
    ) -> Scored:
        columns = {f"pair_{i}": name for i, name in enumerate(pair_names(self.job.method.prompts))}
        cues = cues[[*CUES, *columns.values()]]
        cues.insert(0, "image", called)
        boxes = [box for size in sizes for box in geometry(*size, views, self.resize)]
        places = pd.DataFrame(boxes, columns=["kind", "left", "top", "right", "bottom"])
        scores = by_view[[*CUES, *columns]].rename(columns=columns)
        return Scored(
            cues, pd.concat([by_view[["position", "view"]], places, scores], axis=1), sizes, skipped
        )

    def _workers(self) -> int:
        workers = self.job.machine.workers
        return workers if isinstance(workers, int) else decoders(self.resolved.device)

    def _weigh(self) -> Any:
        with _building:
            if self._weights is None:
                self._weights = load_weights(self.job.method.backbone)
            return self._weights

    def _cache(self, views: Views) -> Any:
        weights, job = self._weigh(), self.job
        with _building:
            if views not in self._caches:
                key = feature_key(job.method.backbone, weights, views, self.resize, self.resolved.precision)
                maker = Maker.of(self.resolved)
                self._caches[views] = FeatureCache(str(self.cache_dir), key, maker, job.machine.cache_engine)
            return self._caches[views]

    def _encoder(self, window: int, cache: Any) -> Any:
        refuse_forks()
        weights = self._weigh()
        with _building:
            if window not in self._engines:
                self._engines[window] = apart(lambda: self._build(weights, window))
            engine = self._engines[window]
            if not isinstance(cache, MemoryStore):
                cache.verified(engine.max_error)
            return engine

    def _text(self, prompts: PromptSet) -> tuple[np.ndarray, float]:
        weights = self._weigh()
        with _building:
            if self._embedded is None:  # features were cached
                refuse_forks()
                self._embedded = apart(
                    lambda: self._embed(lambda: build_model(self.job.method.backbone, weights))
                )
            return self._embedded

    def _embed(self, model: Callable[[], Any]) -> tuple[np.ndarray, float]:
        job = self.job
        if self.cache_dir is None:
            return encode_prompts(model(), job.method.backbone, job.method.prompts)
        return text_embeddings(self.cache_dir, job.method.backbone, self._weights, model, job.method.prompts)

    def _build(self, weights: Any, window: int) -> Any:
        """Build the engine, and embed the prompts by the same model, which is then let go."""
        job, size = self.job, (window, window)
        model: Any = build_model(job.method.backbone, weights)
        if self._embedded is None:
            self._embedded = self._embed(lambda: model)
        fit_positional_embedding(model, job.method.backbone, size)
        engine = build(model.visual, self.resolved, batch_size=job.machine.batch_size, view_size=size)
        self.warnings += engine.warnings
        return engine


@dataclass(frozen=True)
class _Features:
    """Features of images, as scoring reads them."""

    table: pd.DataFrame
    images: list[str]
    cache: Store
    kinds: tuple[str, ...]
    text: Callable[[PromptSet], tuple[np.ndarray, float]]


def pair_names(prompts: PromptSet) -> list[str]:
    """Return a name for each pair: its positive text, and the negative one too if two pairs share the positive one.

    Example:
        >>> pair_names(PromptSet("own", (("Sharp photo", "Blurry photo"), ("q", "bad"), ("q", "worse"))))
        ['Sharp photo', 'q / bad', 'q / worse']
    """
    groups = prompts.all_groups
    taken = [*CUES, *(group.name for group in groups)]
    return [g.name if taken.count(g.name) == 1 else f"{g.name} / {g.lowest}" for g in groups]


def _plain(message: str) -> str:
    """Remove advice that applies only to data-set runs."""
    return message.replace(", or use on_error=skip to list and leave out", "")


def _joined(parts: list[Scored]) -> Scored:
    starts = np.cumsum([0, *(len(p.cues) for p in parts[:-1])])
    views = [
        p.views.assign(position=p.views["position"] + start)
        for p, start in zip(parts, starts, strict=True)
        if len(p.cues)
    ]
    return Scored(
        pd.concat([p.cues for p in parts if len(p.cues)] or [parts[0].cues], ignore_index=True),
        pd.concat(views, ignore_index=True) if views else pd.DataFrame(),
        [size for p in parts for size in p.sizes],
        {name: why for p in parts for name, why in p.skipped.items()},
    )
