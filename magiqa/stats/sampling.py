"""What of a data set's images is resampled, how often and from which seed: one answer for all statistics of a run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from magiqa.stats.bootstrap import resample_counts
from magiqa.stats.intervals import count_units


@dataclass(frozen=True)
class Sampling:
    """Groups and clusters of n images, and the resamples that every statistic of them shares.

    Args:
        groups: (n,) names, held fixed: generators, distortion types. clusters: (n,) names, resampled whole:
            references, prompts. None where the set has none.
    """

    n: int
    groups: np.ndarray | None = None
    clusters: np.ndarray | None = None
    resamples: int = 1000
    seed: int = 0

    @classmethod
    def of(cls, table: pd.DataFrame, cluster: str | None, resamples: int, seed: int) -> "Sampling":
        """From the columns ``group`` and ``cluster`` of a table with a row an image, where they hold names.

        Example:
            >>> Sampling.of(pd.DataFrame({"group": ["a", "b"]}), "prompt", 100, 0).clusters is None
            True
        """
        return cls(len(table), column(table, "group"), column(table, cluster), resamples, seed)

    @property
    def units(self) -> int:
        """How many images or clusters are resampled."""
        return count_units(self.n, self.clusters)

    @property
    def options(self) -> dict[str, Any]:
        """As the statistics take it: groups, clusters, resamples, seed."""
        return {
            "groups": self.groups,
            "clusters": self.clusters,
            "resamples": self.resamples,
            "seed": self.seed,
        }

    def within(self, rows: np.ndarray) -> "Sampling":
        """Of some of the images, by position."""
        groups, clusters = (None if c is None else c[rows] for c in (self.groups, self.clusters))
        return Sampling(len(rows), groups, clusters, self.resamples, self.seed)

    def counts(self) -> np.ndarray:
        """How often each image is drawn in each resample: (resamples, n)."""
        return resample_counts(self.n, self.clusters, None, self.resamples, self.seed)


def column(table: pd.DataFrame, name: str | None) -> np.ndarray | None:
    """A column of names, or None where the table has none."""
    if not name or name not in table or not table[name].notna().any():
        return None
    return table[name].astype(str).to_numpy()
