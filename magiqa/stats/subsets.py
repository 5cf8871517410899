"""SRCC of many scores on fixed subsets of the images. Pure."""

import numpy as np

from magiqa.stats.bootstrap import bootstrap_srcc_many
from magiqa.stats.ranks import mid_ranks


class SubsetSrcc:
    """SRCC with fixed labels on fixed subsets of the images: one sort a score, then cumulative counts."""

    def __init__(self, labels: np.ndarray, subsets: np.ndarray) -> None:
        self.labels, self.subsets = labels, subsets
        self.member = subsets.astype(np.int32)
        self.centered = np.zeros(subsets.shape)
        n = subsets.sum(axis=1).astype(float)
        self.norm = np.empty(len(subsets))
        for h, subset in enumerate(subsets.astype(bool)):
            ranks = mid_ranks(labels[subset])
            self.centered[h, subset] = ranks - ranks.mean()
            self.norm[h] = np.sqrt(np.square(self.centered[h]).sum() * (n[h] ** 3 - n[h]) / 12)

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """(N,) -> (H,)."""
        order = np.argsort(scores)
        if (np.diff(scores[order]) == 0).any():
            return bootstrap_srcc_many(scores[None], self.labels, self.subsets)[0]
        # the centered label ranks sum to 0 in a subset, so the scores' ranks need no centring
        ranks = np.cumsum(np.take(self.member, order, axis=1), axis=1, dtype=np.int32).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.einsum("hn,hn->h", ranks, np.take(self.centered, order, axis=1)) / self.norm
