"""Test parts of a data set, and statistics over them. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from magiqa.stats.correlation import plcc, srcc


def random_parts(names: Any, repeats: int, share: float, seed: int) -> list[np.ndarray]:
    """Return the rows of each random test part: whole names (N,), a share of them all, at least one.

    Example:
        >>> [part.tolist() for part in random_parts(["a", "a", "b", "c"], 2, 0.34, 0)]
        [[3], [3]]
    """
    unit = np.unique(np.asarray(names), return_inverse=True)[1]
    units, rng = int(unit.max()) + 1, np.random.default_rng(seed)
    count = max(1, round(share * units))
    return [np.flatnonzero(np.isin(unit, rng.permutation(units)[:count])) for _ in range(repeats)]


def over_parts(scores: pd.DataFrame, labels: np.ndarray, parts: Sequence[np.ndarray]) -> pd.DataFrame:
    """Return median, mean and standard deviation of SRCC and PLCC over test parts, a row a score and statistic.

    A part in which a statistic is undefined is left out; ``parts`` counts the others. The standard deviation has the
    divisor ``parts`` - 1. It is no standard error, as the parts overlap.
    """
    rows = []
    for name, x in scores.items():
        for statistic, measure in (("srcc", srcc), ("plcc", plcc)):
            values = np.array([measure(x.to_numpy(float)[part], labels[part]) for part in parts])
            values = values[np.isfinite(values)]
            spread = values.std(ddof=1) if len(values) > 1 else np.nan
            middle = (np.median(values), values.mean()) if len(values) else (np.nan, np.nan)
            rows.append((name, statistic, *middle, spread, len(values)))
    return pd.DataFrame(rows, columns=["score", "statistic", "median", "mean", "sd", "parts"])
