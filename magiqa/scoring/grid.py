"""SRCC of a grid of magnitudes and fusions: thousands of variants from scalars a view."""

from collections.abc import Callable, Sequence

import numpy as np

from magiqa.features.features import Features
from magiqa.images.views import view_mask
from magiqa.method.cues import similarity
from magiqa.method.fast_variants import fuse_many, magnitudes
from magiqa.method.pooling import pooled
from magiqa.runs.config import RunConfig
from magiqa.scoring.score import in_threads, unique
from magiqa.stats.subsets import SubsetSrcc


def view_cues(
    features: Features, jobs: Sequence[RunConfig], cues: Sequence[Callable[[np.ndarray], np.ndarray]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per-view scalars in the images' order: q_sim (M,), q_mag of each cue (L, M), the images' starts (N,)."""
    text, scale = features.text(jobs[0].method.prompts)
    counts = np.array([features.cache.entries[i].count for i in features.images])
    starts = np.cumsum(counts) - counts
    sim, mag = np.empty(counts.sum()), np.empty((len(cues), counts.sum()))

    def work(owner: np.ndarray, rows: np.ndarray) -> None:
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        sizes = np.diff(np.append(first, len(owner)))
        at = np.repeat(starts[owner[first]], sizes) + np.arange(len(owner)) - np.repeat(first, sizes)
        sim[at] = similarity(rows, text, scale).mean(axis=1)
        mag[:, at] = magnitudes(rows, cues)

    in_threads(work, features.cache.blocks(features.images))
    kinds, wanted = tuple(features.kinds), jobs[0].method.views.kinds
    if set(wanted) != set(kinds):
        mask = np.concatenate([view_mask(kinds, wanted, int(c)) for c in counts])
        counts = np.add.reduceat(mask, starts, dtype=np.int64)
        sim, mag, starts = sim[mask], mag[:, mask], np.cumsum(counts) - counts
    return sim, mag, starts


def grid_srcc(
    features: Features, jobs: Sequence[RunConfig], labels: np.ndarray, subsets: np.ndarray
) -> np.ndarray:
    """SRCC of many variants that differ in magnitude and fusion only, on subsets of the images.

    Args:
        subsets: (H, N) zeros and ones; ones throughout for the whole set.

    Returns:
        (len(jobs), H), signed.
    """
    cues, c_of = unique([j.method.magnitude for j in jobs])
    users: list[list[int]] = [[] for _ in cues]
    for i, c in enumerate(c_of):
        users[c].append(i)
    sim, mag, starts = view_cues(features, jobs, cues)
    ranker = SubsetSrcc(labels, subsets)
    out = np.empty((len(jobs), len(subsets)))

    def work(c: int) -> None:
        for k, q in fuse_many(sim, mag[c], [jobs[i].method.fusion for i in users[c]]):
            out[users[c][k]] = ranker(pooled(q, starts))

    in_threads(work, ((c,) for c in range(len(cues))))
    return out
