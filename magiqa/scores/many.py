"""Scores of many methods on one data set: one pass over the features that they share."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from magiqa.engines.resolve import threads
from magiqa.errors import UserError
from magiqa.features.features import Features
from magiqa.features.source import prepare
from magiqa.images.views import view_mask
from magiqa.method.cues import similarity
from magiqa.method.many import magnitudes
from magiqa.method.pooling import pooled
from magiqa.runs.config import RunConfig
from magiqa.runs.record import Clock


def _alone(kinds: tuple[str, ...]) -> bool:
    """Whether such views alone are cut from an image that is not upscaled, where others are."""
    return kinds in (("whole",), ("center_crop",))


def _part_of(job: RunConfig, source: RunConfig) -> bool:
    """Whether a job's features are among those of another."""
    return (
        (job.method.backbone, job.source.dataset, job.machine.precision, job.machine.engine)
        == (source.method.backbone, source.source.dataset, source.machine.precision, source.machine.engine)
        and replace(job.method.views, kinds=source.method.views.kinds) == source.method.views
        and set(job.method.views.kinds) <= set(source.method.views.kinds)
        and (
            job.method.views.small == "error"
            or _alone(job.method.views.kinds) == _alone(source.method.views.kinds)
        )
    )


def sources(jobs: Sequence[RunConfig]) -> list[tuple[RunConfig, list[int]]]:
    """The jobs whose features must be had, and the positions of those that use each."""
    out: list[tuple[RunConfig, list[int]]] = []
    for i in sorted(range(len(jobs)), key=lambda i: -len(jobs[i].method.views.kinds)):
        users = next((users for source, users in out if _part_of(jobs[i], source)), None)
        if users is None:
            users = []
            out.append((jobs[i], users))
        users.append(i)
    return out


def unique(items: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """Distinct config objects, and which of them each item is."""
    at: dict[str, int] = {}
    found: list[Any] = []
    index = []
    for item in items:
        key = repr(item)
        if key not in at:
            at[key] = len(found)
            found.append(item)
        index.append(at[key])
    return found, index


def in_threads(work: Callable[..., None], items: Iterator[tuple[Any, ...]]) -> None:
    """Run work on items as they come, never more of them in memory than twice the cores."""
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(threads()) as executor:
        for item in items:
            pending.append(executor.submit(work, *item))
            if len(pending) >= threads() + 1:
                pending.popleft().result()
        while pending:
            pending.popleft().result()


def scores(features: Features, jobs: Sequence[RunConfig], score: str = "q") -> np.ndarray:
    """Scores of each image for many jobs that use these features: (len(jobs), N), the order of the table.

    One pass over the features; the same as `magiqa.scores.score.score` for each job, to rounding.
    """
    prompts, p_of = unique([j.method.prompts for j in jobs])
    cues, c_of = unique([j.method.magnitude for j in jobs])
    texts = [features.text(p) for p in prompts] if score != "q_mag" else []
    kinds = tuple(features.record["views"]["kinds"])
    masks, m_of = unique([tuple(k for k in kinds if k in j.method.views.kinds) for j in jobs])
    out = np.full((len(jobs), len(features.images)), np.nan)

    def work(owner: np.ndarray, rows: np.ndarray) -> None:
        sims = [similarity(rows, text, scale).mean(axis=1) for text, scale in texts]
        mags = magnitudes(rows, cues) if score != "q_sim" else np.empty((len(cues), 0))
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        counts = np.diff(np.append(starts, len(owner)))
        kept = []
        for wanted in masks:
            mask = np.concatenate([view_mask(kinds, wanted, int(c)) for c in counts])
            per_image = np.add.reduceat(mask, starts, dtype=np.int64)
            kept.append((mask, np.cumsum(per_image) - per_image))
        for v, job in enumerate(jobs):
            if score == "q":
                values = job.method.fusion(sims[p_of[v]], mags[c_of[v]])[0]
            else:
                values = sims[p_of[v]] if score == "q_sim" else mags[c_of[v]]
            mask, first = kept[m_of[v]]
            out[v, owner[starts]] = pooled(values[mask], first, job.method.pooling)

    in_threads(work, features.cache.blocks(features.images))
    if not np.isfinite(out).all():
        bad = int(np.flatnonzero(~np.isfinite(out).all(axis=1))[0])
        raise UserError(
            f"{score}: not finite for {jobs[bad].method.magnitude} and {jobs[bad].method.fusion}; narrow the ablation"
        )
    return out


def same_images(first: Features, other: Features) -> None:
    """Refuse features whose images differ: a paired difference needs the same ones.

    Raises:
        UserError: they do.
    """
    if first.images != other.images:
        raise UserError(
            f"dataset {first.labels.name}: variants kept {len(first.images)} and {len(other.images)} images, a paired "
            "difference needs the same ones; mend or remove the unreadable images"
        )


def score_all(
    jobs: Sequence[RunConfig], clock: Clock, score: str = "q", *, progress: bool = True
) -> tuple[Features, np.ndarray]:
    """Scores (M, N) of jobs on one data set, whatever differs in them; features of the first job's source.

    Encodes only what no other job's features hold.
    """
    matrix: np.ndarray | None = None
    kept: Features | None = None
    for source, users in sources(jobs):
        features = prepare(source, clock, progress=progress)
        if kept is not None:
            same_images(kept, features)
        with clock.stage("score"):
            part = scores(features, [jobs[i] for i in users], score)
        if matrix is None:
            matrix = np.empty((len(jobs), part.shape[1]))
        matrix[users] = part
        kept = features if kept is None or 0 in users else kept
    assert matrix is not None and kept is not None
    return kept, matrix
