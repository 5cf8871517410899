"""Features and methods in, scores of each image out: the one scoring path.

Runs that differ in prompts, magnitude, fusion or pooling share their features, which are loaded once.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from magiqa.cores import allowed_cores
from magiqa.errors import UserError
from magiqa.features.images import Features, ScorableFeatures
from magiqa.features.source import prepare
from magiqa.images.views import view_mask
from magiqa.method.cues import magnitudes
from magiqa.method.pooling import pooled
from magiqa.method.prompts import PromptSet
from magiqa.method.rivals import Rival
from magiqa.runs.config import Magnitude, Method, RunConfig
from magiqa.runs.record import Clock

CUES = ("q_sim", "q_mag", "q", "w_sim")


def score_many(
    features: ScorableFeatures, methods: Sequence[Method], cues: Sequence[str] = ("q",)
) -> dict[str, np.ndarray]:
    """Score each image by many methods that use these features, in one pass over them.

    Similarities are taken once a prompt set, log1p once for all lambdas; whole images at a time, so that no data set
    ever lies in memory.

    Args:
        methods: of one backbone; each may use some of the views that there are.
        cues: of ``q``, ``q_sim``, ``q_mag`` (higher = better) and ``w_sim`` (the similarity's weight, NaN where a
            fusion has none).

    Returns:
        By cue (M, N): a row a method, in the order of ``features.table``.

    Raises:
        UserError: a score is NaN or infinite; names the image and the method.
    """
    prompts, p_of = unique([m.prompts for m in methods])
    magnitudes_, c_of = unique([m.magnitude for m in methods])
    similar, large = set(cues) != {"q_mag"}, set(cues) != {"q_sim"}
    measures = [magnitude_of(features, m) for m in magnitudes_] if large else []
    texts = [features.text(p) for p in prompts] if similar else []
    kinds = features.kinds
    masks, m_of = unique([tuple(k for k in kinds if k in m.views.kinds) for m in methods])
    out = {cue: np.full((len(methods), len(features.images)), np.nan) for cue in cues}

    def work(owner: np.ndarray, rows: np.ndarray) -> None:
        sims = [_similarities(p, rows, text) for p, text in zip(prompts, texts, strict=False)]
        mags = magnitudes(rows, measures) if large else np.empty((len(magnitudes_), 0))
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        views = [_views_of(kinds, some, starts, len(owner)) for some in masks]
        for v, method in enumerate(methods):
            mask, first = views[m_of[v]]
            values: dict[str, np.ndarray] = {}
            if similar:
                values["q_sim"] = sims[p_of[v]][mask]
            if large:
                values["q_mag"] = mags[c_of[v]][mask]
            scores = _image_scores(method, values, first, set(cues) & {"q", "w_sim"})
            for cue, numbers in scores.items():
                if cue in out:
                    out[cue][v, owner[starts]] = numbers

    in_threads(work, features.cache.blocks(features.images))
    for cue in (c for c in cues if c != "w_sim"):
        bad = np.argwhere(~np.isfinite(out[cue]))
        if len(bad):
            v, i = bad[0]
            raise UserError(
                f"{features.table['image'].iloc[i]}: its {cue} is NaN or infinite with {methods[v].magnitude} and "
                f"{methods[v].fusion}; choose a magnitude.lam or fusion.alpha nearer to 0"
            )
    return out


def _similarities(prompts: PromptSet, rows: np.ndarray, text: tuple[np.ndarray, float]) -> np.ndarray:
    """Return each view's similarity cue, or its logits where these are averaged over views."""
    if prompts.average == "logits":
        return prompts.logits(rows, *text)
    return prompts.pooled(prompts.scores(rows, *text))


def _views_of(
    kinds: Sequence[str], wanted: Sequence[str], starts: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are of the wanted kinds, and where each image's begin among these."""
    counts = np.diff(np.append(starts, rows))
    mask = np.concatenate([view_mask(kinds, wanted, int(c)) for c in counts])
    per_image = np.add.reduceat(mask, starts, dtype=np.int64)
    return mask, np.cumsum(per_image) - per_image


def _image_scores(
    method: Method, values: dict[str, np.ndarray], first: np.ndarray, fused: set[str]
) -> dict[str, np.ndarray]:
    """Return each image's cues from its views': fused in each view and then pooled, or the other way round."""
    prompts, pooling = method.prompts, method.pooling
    averaged = prompts.average == "logits" and "q_sim" in values
    if averaged:
        logits = pooled(values["q_sim"].T, first).T
        values = {cue: pooled(v, first, pooling) for cue, v in values.items() if cue != "q_sim"}
        values["q_sim"] = prompts.pooled(prompts.of_logits(logits))
    if fused:
        values["q"], values["w_sim"] = method.fusion(prompts.share(values["q_sim"]), values["q_mag"])
    return values if averaged else {cue: pooled(v, first, pooling) for cue, v in values.items()}


def score(features: ScorableFeatures, method: Method) -> pd.DataFrame:
    """Score each image by one method: q_sim, q_mag, q, w_sim, a row an image in the order of the table."""
    return pd.DataFrame({cue: values[0] for cue, values in score_many(features, [method], CUES).items()})


def score_views(features: ScorableFeatures, method: Method) -> pd.DataFrame:
    """Score each view by one method: position (of the image), view, q_sim, q_mag, q, w_sim, each group's number.

    The columns of groups are ``pair_0``, ``pair_1`` and so on.
    Where logits are averaged over views, a view has no q and no w_sim of its own: both are NaN.
    """
    text, prompts = features.text(method.prompts), method.prompts
    blocks, magnitude = [], magnitude_of(features, method.magnitude)
    for owner, rows in features.cache.blocks(features.images):
        numbers, mag = prompts.scores(rows, *text), magnitude(rows)
        sim = prompts.pooled(numbers)
        q, w = method.fusion(prompts.share(sim), mag)
        if prompts.average == "logits":
            q, w = np.full_like(q, np.nan), np.full_like(q, np.nan)
        block = pd.DataFrame({"position": owner, "q_sim": sim, "q_mag": mag, "q": q, "w_sim": w})
        blocks.append(pd.concat([block, pd.DataFrame(numbers).add_prefix("pair_")], axis=1))
    views = pd.concat(blocks, ignore_index=True).sort_values("position", kind="stable", ignore_index=True)
    views.insert(1, "view", views.groupby("position").cumcount())
    return views


def score_groups(features: ScorableFeatures, method: Method) -> np.ndarray:
    """Return the number of each prompt group for each image (N, G)."""
    text, prompts = features.text(method.prompts), method.prompts
    out = np.empty((len(features.images), len(prompts.all_groups)))
    for owner, rows in features.cache.blocks(features.images):
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        if prompts.average == "logits":
            numbers = prompts.of_logits(pooled(prompts.logits(rows, *text).T, starts).T)
        else:
            numbers = pooled(prompts.scores(rows, *text).T, starts, method.pooling).T
        out[owner[starts]] = numbers
    return out


def magnitude_of(features: ScorableFeatures, magnitude: Magnitude) -> Magnitude:
    """Return a magnitude cue; one that compares with reference images takes their statistics."""
    reference = features.reference
    return magnitude.of(reference(magnitude)) if isinstance(magnitude, Rival) and reference else magnitude


def unique(items: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """Return the distinct config objects, and the place of each item among them."""
    distinct = {repr(item): item for item in items}
    places = list(distinct)
    return list(distinct.values()), [places.index(repr(item)) for item in items]


def in_threads(work: Callable[..., None], items: Iterator[tuple[Any, ...]]) -> None:
    """Run work on items as they come, never more of them in memory than twice the cores."""
    pending: deque[Future[None]] = deque()
    cores = allowed_cores()
    with ThreadPoolExecutor(cores) as executor:
        for item in items:
            pending.append(executor.submit(work, *item))
            if len(pending) >= cores + 1:
                pending.popleft().result()
        while pending:
            pending.popleft().result()


_ALONE = (("whole",), ("center_crop",))  # views of these kinds alone are never upscaled


def _part_of(job: RunConfig, source: RunConfig) -> bool:
    """Return whether the features of a source include those of a job."""
    return (
        (job.method.backbone, job.source, job.machine)
        == (source.method.backbone, source.source, source.machine)
        and replace(job.method.views, kinds=source.method.views.kinds) == source.method.views
        and set(job.method.views.kinds) <= set(source.method.views.kinds)
        # statistics of reference images are of a job's own views
        and not (isinstance(job.method.magnitude, Rival) and job.method.views != source.method.views)
        and (
            job.method.views.small == "error"
            or (job.method.views.kinds in _ALONE) == (source.method.views.kinds in _ALONE)
        )
    )


def sources(jobs: Sequence[RunConfig]) -> list[tuple[RunConfig, list[int]]]:
    """Return the jobs that must be encoded, each with the positions of the jobs that use its features."""
    out: list[tuple[RunConfig, list[int]]] = []
    for i in sorted(range(len(jobs)), key=lambda i: -len(jobs[i].method.views.kinds)):
        users = next((users for source, users in out if _part_of(jobs[i], source)), None)
        if users is None:
            users = []
            out.append((jobs[i], users))
        users.append(i)
    return out


def score_all(
    jobs: Sequence[RunConfig], clock: Clock, score: str = "q", *, progress: bool = True
) -> tuple[Features, np.ndarray]:
    """Return the features of the first job and the scores (M, N) of all jobs on one data set.

    Jobs that differ in prompts, magnitude, fusion or pooling share their features.
    """
    first: Features | None = None
    parts: dict[int, np.ndarray] = {}
    for source, users in sources(jobs):
        features = prepare(source, clock, progress=progress)
        if first is not None and first.images != features.images:  # a paired difference needs the same
            raise UserError(
                f"dataset {first.labels.name}: variants kept {len(first.images)} and {len(features.images)} images, a "
                "paired difference needs the same ones; mend or remove the unreadable images"
            )
        with clock.stage("score"):
            scores = score_many(features, [jobs[i].method for i in users], (score,))[score]
        parts.update(zip(users, scores, strict=True))
        if first is None or 0 in users:
            first = features
    assert first is not None
    return first, np.stack([parts[i] for i in range(len(jobs))])
