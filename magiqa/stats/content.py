"""How far apart the distributions of a cue lie between groups of images. Pure."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from magiqa.stats.arrays import NAN, members

_POINTS = 4096  # of distribution functions in memory at a time


@dataclass(frozen=True)
class GroupDistance:
    """Mean Wasserstein distance between groups, in standard deviations of all values; its mean by chance; and p.

    Args:
        p: one-sided: the share of shuffles that lie as far apart or farther; at least 1 / (permutations + 1).
    """

    distance: float
    chance: float
    p: float


def group_distance(
    values: Any, groups: Any, *, within: Any = None, permutations: int = 20, seed: int = 0
) -> GroupDistance:
    """How far apart the distributions of values (N,) lie between groups, over all pairs of groups.

    ``chance`` is the same with the groups' names shuffled: the distance of finite samples is never 0.

    Args:
        within: (N,) names of what is crossed with the groups (each prompt drawn by each generator): names are then
            shuffled inside each of them only. Shuffled over all images, chance would hold the generators' differences
            too, which a crossed design spreads evenly over the groups: it came out above what was measured.
    """
    x, names = np.asarray(values, np.float64), np.asarray(groups)
    spread = float(x.std())
    _, key = np.unique(names, return_inverse=True)
    groups_of, sizes = key.max() + 1, np.bincount(key)
    if groups_of < 2 or spread == 0:
        return GroupDistance(NAN, NAN, NAN)
    order = np.argsort(x, kind="stable")
    gaps = np.diff(x[order])
    # |F_a - F_b| summed over all pairs at a point: sorted, the k-th of G counts k times up and G - 1 - k times down
    signs = 2.0 * np.arange(groups_of) - (groups_of - 1)

    def distance(key: np.ndarray) -> float:
        total, below = 0.0, np.zeros(groups_of)
        for start in range(0, len(gaps), _POINTS):
            part = key[order[start : start + _POINTS]][: len(gaps) - start]
            steps = np.zeros((len(part), groups_of))
            steps[np.arange(len(part)), part] = 1.0 / sizes[part]
            cumulative = below + np.cumsum(steps, axis=0)
            below = cumulative[-1].copy()
            cumulative.sort(axis=1)
            total += float(gaps[start : start + _POINTS] @ (cumulative @ signs))
        return float(total / (groups_of * (groups_of - 1) / 2) / spread)

    rng = np.random.default_rng(seed)
    strata = [np.arange(len(x))] if within is None else [rows for _, rows in members(within, len(x))]

    def shuffled() -> np.ndarray:
        out = key.copy()
        for rows in strata:
            out[rows] = key[rng.permutation(rows)]
        return out

    found = distance(key)
    chance = np.array([distance(shuffled()) for _ in range(permutations)])
    reached = int((chance >= found - 1e-12).sum())
    return GroupDistance(
        found, float(chance.mean()) if permutations else NAN, (1 + reached) / (permutations + 1)
    )


def alike(labels: Any, within: Any = None, *, size: int = 5) -> np.ndarray:
    """Numbers (N,) of strata of about `size` images of like labels (N,), inside each of `within` (N,).

    Names shuffled inside them only keep what a value owes to the label: its spread too, which a regression leaves in.
    With all images shuffled, 10 % of values that depend on the group by the label alone were called different.
    """
    y = np.asarray(labels, np.float64)
    out, used = np.empty(len(y), int), 0
    for rows in [np.arange(len(y))] if within is None else [rows for _, rows in members(within, len(y))]:
        parts = max(1, len(rows) // size)
        out[rows[np.argsort(y[rows], kind="stable")]] = used + np.arange(len(rows)) * parts // len(rows)
        used += parts
    return out
