"""The images of a data set as a sample: their groups and clusters, and statistics of them with sampling errors."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from magiqa.errors import UserError
from magiqa.stats import sampled
from magiqa.stats.correlation import (
    NAN,
    as_matrix,
    as_names,
    centered,
    defined_groups,
    is_constant,
    partial_srcc,
    plcc,
    srcc,
)
from magiqa.stats.family import MIN_UNITS
from magiqa.stats.sampled import Sampled

WITHIN = "srcc_within"

TESTED = ("srcc", "plcc", WITHIN)  # statistics that have intervals and tests


@dataclass(frozen=True)
class Sampling:
    """Groups and clusters of n images.

    Args:
        groups: (n,) names, held fixed: generators, distortion types. clusters: (n,) names of what is sampled whole:
            references, prompts. None where the set has none; images are then independent.
    """

    n: int
    groups: np.ndarray | None = None
    clusters: np.ndarray | None = None

    def __post_init__(self) -> None:
        for field in ("groups", "clusters"):
            if getattr(self, field) is not None:
                as_names(getattr(self, field), self.n, field)

    @classmethod
    def of(cls, table: pd.DataFrame, cluster: str | None) -> "Sampling":
        """Return the sampling of a table with a row an image, from its columns ``group`` and `cluster`.

        Example:
            >>> Sampling.of(pd.DataFrame({"group": ["a", "b"]}), "prompt").clusters is None
            True
        """
        return cls(len(table), column(table, "group"), column(table, cluster))

    @cached_property
    def unit(self) -> np.ndarray:
        """The number (n,) of each image's cluster, or its own."""
        return (
            np.arange(self.n) if self.clusters is None else np.unique(self.clusters, return_inverse=True)[1]
        )

    @property
    def units(self) -> int:
        """The number of clusters, or of images."""
        return int(self.unit.max(initial=-1)) + 1

    def too_few(self, what: str = "clusters") -> str:
        """Return the reason why there are no intervals: fewer than five units; empty where there are enough.

        Example:
            >>> Sampling(60, clusters=np.repeat(["a", "b"], 30)).too_few("references"), Sampling(60).too_few()
            ('2 references, fewer than 5', '')
        """
        few = "images" if self.clusters is None else what
        return f"{self.units} {few}, fewer than {MIN_UNITS}" if self.units < MIN_UNITS else ""

    def within(self, rows: np.ndarray) -> "Sampling":
        """Return the sampling of some of the images, by position."""
        groups, clusters = (None if c is None else c[rows] for c in (self.groups, self.clusters))
        return Sampling(len(rows), groups, clusters)

    def by_group(self) -> "Sampling":
        """Return the sampling that takes whole groups: generators that could have been others."""
        return Sampling(self.n, None, self.groups)

    def statistic(self, name: str, scores: Any, labels: Any, rows: np.ndarray | None = None) -> Sampled:
        """Return a statistic of each row of scores (M, N) with labels (N,).

        Args:
            name: one of `TESTED`. rows: the images (N,) that they are of, by position; default all.
        """
        x, y = as_matrix(scores, labels)
        if name not in TESTED:
            raise UserError(f"statistic={name} is not known: use {', '.join(TESTED)}")
        rows = np.arange(self.n) if rows is None else rows
        if name == WITHIN:
            return self._within(x, y, rows)
        every = [self._row(name, row, y, rows) for row in x]
        return Sampled(np.array([v for v, _ in every]), np.array([p for _, p in every]).reshape(len(x), -1))

    def _within(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> Sampled:
        """Return the plain mean of SRCC within a group, over the groups in which it is defined.

        Its expectation depends on the groups' size m: ((m - 2) rho + 3 tau) / (m + 1). For normal values of population
        SRCC 0.58 that is 0.53 at m = 10 and 0.50 at m = 5. Sets whose groups differ in size cannot be compared by it.
        """
        if self.groups is None:
            raise UserError(f"{WITHIN} needs groups: name the annotation's column that holds them")
        values, parts = np.full(len(x), NAN), np.full((len(x), self.units), NAN)
        for k, row in enumerate(x):
            groups = defined_groups(row, y, self.groups[rows])
            scale = np.sqrt(self.units / max(self.units - 1, 1))
            total, count = np.zeros(self.units), np.full(self.units, float(len(groups)))
            each = []
            for g in groups:
                value, part = self._row("srcc", row[g], y[g], rows[g])
                each.append(value)
                if np.isfinite(part).all():
                    total += value - scale * part
                else:  # of one unit alone: without it the group is gone
                    gone = np.zeros(self.units, bool)
                    gone[self.unit[rows[g]]] = True
                    total += np.where(gone, 0.0, value)
                    count -= gone
            if groups and count.min() > 0:
                values[k], parts[k] = np.mean(each), scale * sampled.jackknife(total / count)
        return Sampled(values, parts)

    def _row(self, name: str, x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[float, np.ndarray]:
        if len(x) < 3 or is_constant(x) or is_constant(y):
            return NAN, np.full(self.units, NAN)
        value = plcc(x, y) if name == "plcc" else srcc(x, y)
        if name == "srcc" and self._independent(rows):
            return value, self._spread(rows, sampled.image_parts(x, y))
        return value, self._jackknifed(rows, lambda unit: sampled.WITHOUT[name](x, y, unit))

    def partial(self, x: np.ndarray, y: np.ndarray, given: np.ndarray) -> Sampled:
        """Return `partial_srcc` of scores (n,) and labels (n,) given controls (n, K)."""
        value, rows = partial_srcc(x, y, given), np.arange(self.n)
        if not np.isfinite(value):
            parts = np.full(self.units, NAN)
        elif self._independent(rows):
            parts = self._spread(rows, sampled.partial_parts(x, y, given))
        else:
            parts = self._jackknifed(
                rows, lambda unit: sampled.without(lambda r: partial_srcc(x[r], y[r], given[r]), unit)
            )
        return Sampled(np.array([value]), parts[None])

    def mean(self, values: np.ndarray, rows: np.ndarray) -> Sampled:
        """Return the mean of values (n,) over some of the images."""
        v = values[rows]
        return Sampled(np.array([v.mean()]), self._spread(rows, (v - v.mean()) / len(v))[None])

    def sum(self, parts: np.ndarray) -> np.ndarray:
        """Return the parts (U,) of units from those of all images (n,)."""
        return self._spread(np.arange(self.n), parts)

    def _independent(self, rows: np.ndarray) -> bool:
        """Tell whether no two of some images share a cluster."""
        return len(np.unique(self.unit[rows])) == len(rows)

    def _spread(self, rows: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """Sum parts of images (N,) by cluster, corrected for their number: (U,), 0 for units without an image."""
        units = len(np.unique(self.unit[rows]))
        return np.bincount(self.unit[rows], parts, self.units) * np.sqrt(units / max(units - 1, 1))

    def _jackknifed(self, rows: np.ndarray, without: Any) -> np.ndarray:
        """Return the parts (U,) from a statistic without each of the units of some images."""
        present, unit = np.unique(self.unit[rows], return_inverse=True)
        out = np.zeros(self.units)
        out[present] = sampled.jackknife(without(unit)) * np.sqrt(len(present) / max(len(present) - 1, 1))
        return out


def widening(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the factor by which heavy tails of scores or labels (N,) widen an interval of PLCC.

    It is the fourth root of kurtosis / 3.

    Example:
        >>> x = np.arange(9.0)
        >>> round(widening(x, x**5), 2), widening(x, x)
        (1.09, 1.0)
    """
    kurtosis = 3.0
    for v in (centered(scores), centered(labels)):
        square = float(np.mean(np.square(v)))
        kurtosis = max(kurtosis, float(np.mean(v**4)) / square**2 if square > 0 else 0.0)
    return (kurtosis / 3) ** 0.25


def column(table: pd.DataFrame, name: str | None) -> np.ndarray | None:
    """Return a column of names, or None where the table has none."""
    if not name or name not in table or not table[name].notna().any():
        return None
    return table[name].astype(str).to_numpy()
