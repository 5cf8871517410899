"""Every statistic of scores against labels, with bootstrap intervals. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from magiqa.errors import UserError
from magiqa.stats.arrays import NAN, as_names, as_pair, is_constant, members
from magiqa.stats.bootstrap import bootstrap_many, count_clusters, interval, resample_counts
from magiqa.stats.correlation import _POINT, RAW, WITHIN, defined_groups, plcc, srcc, srcc_within
from magiqa.stats.logistic import LogisticFit, fit_logistic, refit

FITTED = ("plcc_logistic", "rmse_logistic", "srcc_logistic")


@dataclass(frozen=True)
class Estimate:
    """A statistic's value, its interval, and how many images it rests on; NaN where undefined."""

    value: float
    ci_low: float
    ci_high: float
    n: int


@dataclass(frozen=True)
class Agreement:
    """How scores agree with labels: `Estimate` by statistic, and the fit behind the logistic ones."""

    estimates: dict[str, Estimate]
    fit: LogisticFit

    def __getitem__(self, statistic: str) -> Estimate:
        return self.estimates[statistic]

    def rows(self) -> list[dict[str, Any]]:
        """Tidy: statistic, value, ci_low, ci_high, n."""
        return [
            {"statistic": name, "value": e.value, "ci_low": e.ci_low, "ci_high": e.ci_high, "n": e.n}
            for name, e in self.estimates.items()
        ]


def _fitted(fit: LogisticFit, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    if fit.params is None:
        return dict.fromkeys(FITTED, NAN)
    values = fit.predict(x)
    return {"plcc_logistic": plcc(values, y), "rmse_logistic": fit.rmse, "srcc_logistic": srcc(values, y)}


def agreement(
    scores: Any,
    labels: Any,
    *,
    groups: Any = None,
    clusters: Any = None,
    fit: str = "best",
    ci_fit: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Agreement:
    """Every statistic of scores (N,) against labels (N,), higher = better in both, with bootstrap intervals.

    Args:
        groups: (N,) names: adds ``srcc_within``, the plain mean of SRCC over the groups in which it is defined.
        clusters: (N,) names: images that share a reference or a prompt are resampled together. Without them
            images are resampled one by one, for ``srcc_within`` within their group.
        fit: ``best`` or ``official``, see `fit_logistic`. ci_fit: intervals of the fitted statistics too, the
            curve refitted in each resample.

    Returns:
        srcc, krcc, plcc (raw, signed), plcc_logistic, rmse_logistic, srcc_logistic (of the fitted values),
        srcc_within; each with its percentile interval. NaN below three images and where nothing varies.
    """
    x, y = as_pair(scores, labels)
    n = len(x)
    if ci_fit and fit == "official":
        raise UserError("ci_fit=true needs fit=best: the official fit often falls back on its start values")
    curve, units = fit_logistic(x, y, fit), count_clusters(clusters)
    values = {name: f(x, y) if n >= 3 else NAN for name, f in _POINT.items()} | _fitted(curve, x, y)
    sizes = dict.fromkeys(values, n)
    intervals = dict.fromkeys(values, (NAN, NAN))
    counts = resample_counts(n, clusters, None, resamples, seed) if n >= 3 else np.zeros((0, n), np.uint8)
    for name in RAW:
        if np.isfinite(values[name]):
            intervals[name] = interval(bootstrap_many(name, x[None], y, counts)[0], level, units)
    if ci_fit and curve.params is not None:
        for name, draws in _bootstrap_fitted(curve, x, y, counts).items():
            intervals[name] = interval(draws, level, units)
    if groups is not None:
        used = defined_groups(x, y, groups)
        sizes[WITHIN] = sum(len(g) for _, g in used)
        values[WITHIN] = srcc_within(x, y, groups)
        intervals[WITHIN] = (NAN, NAN)
        if used:
            if clusters is None:
                counts = resample_counts(n, None, groups, resamples, seed)
            intervals[WITHIN] = interval(bootstrap_many(WITHIN, x[None], y, counts, groups)[0], level, units)
    return Agreement({k: Estimate(values[k], *intervals[k], sizes[k]) for k in values}, curve)


def _bootstrap_fitted(
    curve: LogisticFit, x: np.ndarray, y: np.ndarray, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """Fitted statistics in each resample, the curve refitted from the whole set's optimum."""
    out = {name: np.full(len(counts), NAN) for name in FITTED}
    for r, times in enumerate(counts):
        rows = np.repeat(np.arange(len(x)), times)
        xr, yr = x[rows], y[rows]
        if not is_constant(xr) and not is_constant(yr):
            for name, value in _fitted(refit(curve, xr, yr), xr, yr).items():
                out[name][r] = value
    return out


def by_group(
    scores: Any, labels: Any, groups: Any, *, clusters: Any = None, **options: Any
) -> Iterator[dict[str, Any]]:
    """Agreement within each group, groups in alphabetical order: rows group, statistic, value, ci_low, ci_high, n.

    Args: as `agreement`'s.
    """
    x, y = as_pair(scores, labels)
    shared = None if clusters is None else as_names(clusters, len(x), "clusters")
    for name, rows in members(groups, len(x)):
        part = agreement(x[rows], y[rows], clusters=None if shared is None else shared[rows], **options)
        yield from ({"group": name, **row} for row in part.rows())
