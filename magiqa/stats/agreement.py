"""Every statistic of scores against labels, with the intervals that hold. Pure."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from magiqa.stats.arrays import NAN, as_names, as_pair, members
from magiqa.stats.bootstrap import bootstrap_many, resample_counts
from magiqa.stats.correlation import _POINT, RAW, WITHIN, defined_groups, plcc, srcc, srcc_within
from magiqa.stats.intervals import (
    count_units,
    interval,
    shifted,
    studentized_plcc,
    too_few,
    too_skewed,
)
from magiqa.stats.logistic import LogisticFit, fit_logistic

FITTED = ("plcc_logistic", "rmse_logistic", "srcc_logistic")

OUT_OF_FOLD = "plcc_logistic_cv"

MOST_GROUPS = 100  # to leave one out of, or to resample: more are content, not generators

_UNDEFINED, _FITTED, _ALIKE = (
    "undefined",
    "a fitted value: in-sample",
    "all resamples alike, or undefined in some",
)


def _undefined(x: np.ndarray, y: np.ndarray) -> str:
    """Why a correlation has no value."""
    equal = [what for what, values in (("scores", x), ("labels", y)) if len(values) and np.ptp(values) == 0]
    return f"{_UNDEFINED}: all {' and '.join(equal)} are equal" if equal else _UNDEFINED


@dataclass(frozen=True)
class Estimate:
    """A statistic's value, its interval, and how many images it rests on; NaN where undefined or withheld.

    Args:
        loo_group_low, loo_group_high: lowest and highest value when one group is left out.
        ci_groups_low, ci_groups_high: the interval that resamples whole groups (SRCC and PLCC): what other groups of
            the kind could give, where groups are a sample (generators). ci_low and ci_high hold *these* groups fixed.
        withheld: why there is no interval; empty where there is one.
    """

    value: float
    ci_low: float
    ci_high: float
    n: int
    loo_group_low: float = NAN
    loo_group_high: float = NAN
    ci_groups_low: float = NAN
    ci_groups_high: float = NAN
    withheld: str = ""


@dataclass(frozen=True)
class Agreement:
    """How scores agree with labels: `Estimate` by statistic, and the fit behind the logistic ones."""

    estimates: dict[str, Estimate]
    fit: LogisticFit

    def __getitem__(self, statistic: str) -> Estimate:
        return self.estimates[statistic]

    def rows(self) -> list[dict[str, Any]]:
        """Tidy: statistic, then the fields of `Estimate`."""
        return [{"statistic": name} | asdict(e) for name, e in self.estimates.items()]


def agreement(
    scores: Any,
    labels: Any,
    *,
    groups: Any = None,
    clusters: Any = None,
    cluster_name: str = "clusters",
    fit: str | None = "monotone",
    turned: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Agreement:
    """Every statistic of scores (N,) against labels (N,), higher = better in both, with bootstrap intervals.

    Args:
        groups: (N,) names: adds ``srcc_within``, the plain mean of SRCC over the groups in which it is defined, and
            how the others move without a group and with other groups.
        clusters: (N,) names: images that share a reference or a prompt are resampled together. Without them
            images are resampled one by one, for ``srcc_within`` within their group. cluster_name: what they are.
        fit, turned: see `fit_logistic`; None: no fit, no fitted statistics.

    Returns:
        srcc, krcc, plcc (raw, signed), plcc_logistic, rmse_logistic, srcc_logistic (of the fitted values, in-sample and
        so too good at small n), plcc_logistic_cv (the fit's PLCC out of fold), srcc_within. NaN below three images and
        where nothing varies. Intervals: SRCC and KRCC percentile, widened for few images or clusters; PLCC studentized;
        srcc_within shifted by the resamples' bias. None where its coverage does not hold: `withheld` says why.
    """
    x, y = as_pair(scores, labels)
    n, units = len(x), count_units(len(x), clusters)
    curve = fit_logistic(x, y, fit, turned) if fit else LogisticFit("none", None, NAN)
    values = {name: f(x, y) if n >= 3 else NAN for name, f in _POINT.items()}
    few = too_few(n, clusters, cluster_name)
    skewed = too_skewed(x, "scores") or too_skewed(y, "labels")
    counts = resample_counts(n, clusters, None, resamples, seed) if not few else np.zeros((0, n), np.uint8)
    grouped = _group_counts(n, groups, resamples, seed) if groups is not None and n >= 3 else None
    out: dict[str, Estimate] = {}
    for name in RAW:
        known = np.isfinite(values[name])
        reason = few or (skewed if name == "plcc" else "") or ("" if known else _undefined(x, y))
        found = {"ci_low": NAN, "ci_high": NAN}
        if not reason:
            low, high = (
                studentized_plcc(x, y, counts, clusters, level)
                if name == "plcc"
                else interval(bootstrap_many(name, x[None], y, counts)[0], units, level)
            )
            reason = "" if np.isfinite(low) else _ALIKE
            found = {"ci_low": low, "ci_high": high}
        if grouped is not None and known:
            found |= _without_groups(name, x, y, grouped[0])
            if name == "plcc" and not skewed:
                found |= _sides(studentized_plcc(x, y, grouped[1], groups, level))
            elif name == "srcc":
                found |= _sides(interval(bootstrap_many(name, x[None], y, grouped[1])[0], grouped[2], level))
        out[name] = Estimate(values[name], n=n, withheld=reason, **found)
    for name, value in _fitted(curve, x, y).items() if fit else ():
        out[name] = Estimate(value, NAN, NAN, n, withheld=_FITTED)
    if fit:
        value = out_of_fold(x, y, fit, turned, clusters=clusters, seed=seed)
        out[OUT_OF_FOLD] = Estimate(value, NAN, NAN, n, withheld="mean over folds")
    if groups is not None:
        if clusters is None and not few:
            counts = resample_counts(n, None, groups, resamples, seed)
        out[WITHIN] = within_groups(x, y, groups, counts, units, few, level)
    return Agreement(out, curve)


def within_groups(
    x: np.ndarray, y: np.ndarray, groups: Any, counts: np.ndarray, units: int, few: str, level: float
) -> Estimate:
    """srcc_within and its interval; resampled groups repeat images, which lowers SRCC in them: it is shifted back."""
    value, images = srcc_within(x, y, groups), sum(len(g) for _, g in defined_groups(x, y, groups))
    if few or not images:
        return Estimate(value, NAN, NAN, images, withheld=few or _UNDEFINED)
    low, high = shifted(value, bootstrap_many(WITHIN, x[None], y, counts, groups)[0], units, level)
    return Estimate(value, low, high, images, withheld="" if np.isfinite(low) else _ALIKE)


def _group_counts(
    n: int, groups: Any, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Counts that leave out one group each, counts that resample whole groups, and how many groups there are."""
    rows = members(groups, n)
    if not 2 <= len(rows) <= MOST_GROUPS:
        return None
    without = np.ones((len(rows), n), np.uint8)
    for k, (_, g) in enumerate(rows):
        without[k, g] = 0
    return without, resample_counts(n, groups, None, resamples, seed), len(rows)


def _without_groups(name: str, x: np.ndarray, y: np.ndarray, without: np.ndarray) -> dict[str, float]:
    """How a statistic moves when one group is left out."""
    left = bootstrap_many(name, x[None], y, without)[0]
    left = left[np.isfinite(left)]
    return {"loo_group_low": float(left.min()), "loo_group_high": float(left.max())} if len(left) else {}


def _sides(found: tuple[float, float]) -> dict[str, float]:
    return {"ci_groups_low": found[0], "ci_groups_high": found[1]}


def _fitted(fit: LogisticFit, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    if fit.params is None:
        return dict.fromkeys(FITTED, NAN)
    values = fit.predict(x)
    return {"plcc_logistic": plcc(values, y), "rmse_logistic": fit.rmse, "srcc_logistic": srcc(values, y)}


def out_of_fold(
    scores: np.ndarray,
    labels: np.ndarray,
    fit: str = "monotone",
    turned: bool = False,
    *,
    clusters: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> float:
    """PLCC of fitted values on images that the fit has not seen: the mean over left-out folds.

    Args:
        scores, labels: (N,). clusters: (N,) names; a cluster lies in one fold.

    Returns:
        NaN where a fold would hold fewer than ten images, or one has none that vary.

    Note:
        Inside a fold, then averaged: values of different folds carry different fits, and pooled they would disagree
        with the labels (a fold of good images is fitted without them, and so predicted low).
    """
    n = len(labels)
    unit = np.arange(n) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    total = int(unit.max()) + 1 if n else 0
    if total < folds:
        return NAN
    fold = (np.random.default_rng(seed).permutation(total) % folds)[unit]
    if np.bincount(fold, minlength=folds).min() < 10:
        return NAN
    values = []
    for k in range(folds):
        out = fold == k
        curve = fit_logistic(scores[~out], labels[~out], fit, turned)
        values.append(plcc(curve.predict(scores[out]), labels[out]) if curve.params else NAN)
    return float(np.mean(values))


def by_group(
    scores: Any, labels: Any, groups: Any, *, clusters: Any = None, **options: Any
) -> Iterator[dict[str, Any]]:
    """Agreement within each group, groups in alphabetical order: rows group, statistic, value, ci_low, ci_high, n.

    Of raw scores: a fit of so few images flatters, and many of them cost more than all the rest.

    Note:
        SRCC inside a group falls with the range of its labels: the same error gave 0.23 in one generator and 0.53 in
        another. Compare cues inside a group, never groups with each other.

    Args: as `agreement`'s.
    """
    x, y = as_pair(scores, labels)
    shared = None if clusters is None else as_names(clusters, len(x), "clusters")
    kept = ("statistic", "value", "ci_low", "ci_high", "n", "withheld")
    for name, rows in members(groups, len(x)):
        inside = None if shared is None else shared[rows]
        part = agreement(x[rows], y[rows], clusters=inside, fit=None, **options)
        yield from ({"group": name} | {k: row[k] for k in kept} for row in part.rows())
