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
from magiqa.engines.build import build, hardware, resolve
from magiqa.engines.engine import Resolved, apart, borrowed, refuse_forks
from magiqa.errors import UserError
from magiqa.features.cache import FeatureCache, Maker, MemoryStore, feature_key
from magiqa.features.images import ScorableFeatures
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.features.source import workers
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
    """A run's method, with its model and caches, which are made once.

    Args:
        job: the run's config; of its data set nothing is used. resize: before views are cut.
        cache_dir: where features are kept; None: nowhere.

    Attributes:
        warnings: notes on the engine; empty before the first call.
    """

    def __init__(self, job: RunConfig, resize: Resize | None, cache_dir: str | PathLike[str] | None) -> None:
        self.job, self.resize = job, resize
        self.cache_dir = None if cache_dir is None else str(expanded(cache_dir))
        self.warnings: list[str] = []
        self._made: dict[Any, Any] = {}

    def _once(self, name: Any, make: Callable[[], Any]) -> Any:
        """Return what has this name; make it at the first call."""
        with _building:
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]

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
        """Return the method as a run's record describes it: its name, its options, the weights' sha256, the engine."""
        job = self.job
        facts = {
            "choices": job.choices,
            "changed": job.changed,
            "config": {"pooling": job.config.get("pooling", "mean")},
            "backbone": self._weights().record(job.method.backbone),
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

    def score(
        self,
        images: Sequence[Item],
        views: Views | None = None,
        *,
        skip: bool = False,
        progress: bool = False,
    ) -> Scored:
        """Score images; return cues, views, sizes and what was left out.

        Args:
            views: others than the method's. skip: leave out what cannot be scored, and say why. progress: show it.
        """
        views = views or self.job.method.views
        stored = self.cache_dir is not None
        step = max(1, len(images)) if stored else TOGETHER
        try:
            with pd.option_context("mode.string_storage", "python"):  # Arrow's takes no file names but UTF-8
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
                return parts[0] if len(parts) == 1 else _joined(parts)
        except UserError as error:
            raise type(error)(_plain(str(error))) from None

    def _score(self, images: Sequence[Item], views: Views, store: Any, skip: bool, progress: bool) -> Scored:
        in_memory, limits, weights = isinstance(store, MemoryStore), self.limits, self._weights()
        reasons: dict[int, str] = {}

        def key_of(i: int) -> str:
            try:
                return str(i) if in_memory else images[i].key(limits)
            except UserError as error:
                if not skip:
                    raise
                reasons[i] = str(error)
                return ""

        with ThreadPoolExecutor(workers(self.job, self.resolved.device)) as threads:
            keys = list(threads.map(key_of, range(len(images))))
        with borrowed():
            _, bad = fill_cache(
                store,
                [(item, key) for item, key in zip(images, keys, strict=True) if key],
                lambda: self._encoder(views.window, store),
                Recipe(views, self.resize, weights.mean, weights.std, limits),
                workers=workers(self.job, self.resolved.device),
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
            features = ScorableFeatures(
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

    def _weights(self) -> Any:
        return self._once("weights", lambda: load_weights(self.job.method.backbone))

    def _cache(self, views: Views) -> Any:
        weights, job = self._weights(), self.job

        def make() -> FeatureCache:
            key = feature_key(job.method.backbone, weights, views, self.resize, self.resolved.precision)
            return FeatureCache(str(self.cache_dir), key, Maker.of(self.resolved), job.machine.cache_engine)

        return self._once(views, make)

    def _encoder(self, window: int, store: Any) -> Any:
        refuse_forks()
        weights = self._weights()
        engine = self._once(window, lambda: apart(lambda: self._build(weights, window)))
        if not isinstance(store, MemoryStore):
            store.max_error = engine.max_error
        return engine

    def _text(self, prompts: PromptSet) -> tuple[np.ndarray, float]:
        weights, backbone = self._weights(), self.job.method.backbone

        def make() -> tuple[np.ndarray, float]:  # features were cached: no engine has left it
            refuse_forks()
            return apart(lambda: self._embed(weights, lambda: build_model(backbone, weights)))

        embedded: tuple[np.ndarray, float] = self._once("text", make)
        return embedded

    def _embed(self, weights: Any, model: Callable[[], Any]) -> tuple[np.ndarray, float]:
        method = self.job.method
        if self.cache_dir is None:
            return encode_prompts(model(), method.backbone, method.prompts)
        return text_embeddings(self.cache_dir, method.backbone, weights, model, method.prompts)

    def _build(self, weights: Any, window: int) -> Any:
        """Build the engine, and embed the prompts by the same model, which is then let go."""
        job, size = self.job, (window, window)
        model: Any = build_model(job.method.backbone, weights)
        if "text" not in self._made:
            self._made["text"] = self._embed(weights, lambda: model)
        fit_positional_embedding(model, job.method.backbone, size)
        engine = build(model.visual, self.resolved, batch_size=job.machine.batch_size, view_size=size)
        self.warnings += engine.warnings
        return engine


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
