"""Every statistic of scores against MOS, with the intervals that hold; and statistics over test parts. Pure.

`STATISTICS` is the one list of them: a new statistic is one entry here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from magiqa.stats import sampled
from magiqa.stats.correlation import NAN, as_pair, defined_groups, krcc, members, plcc, srcc
from magiqa.stats.logistic import LogisticFit, fit_logistic, fit_title
from magiqa.stats.sampled import Sampled
from magiqa.stats.sampling import WITHIN, Sampling, widening

MOST_GROUPS = 100  # to leave one out of; more are content, not generators

FOLDS = 5


@dataclass(frozen=True)
class Estimate:
    """A statistic's value, its 95 % interval, and how many images it rests on; NaN where undefined or withheld.

    Args:
        loo_group_low, loo_group_high: lowest and highest value when one group is left out.
        ci_groups_low, ci_groups_high: the interval for other groups than these: other generators, say. ci_low and
            ci_high are for these groups.
        withheld: the reason why there is no interval; empty where there is one. fit: the logistic fit behind it.
    """

    value: float
    ci_low: float = NAN
    ci_high: float = NAN
    n: int = 0
    loo_group_low: float = NAN
    loo_group_high: float = NAN
    ci_groups_low: float = NAN
    ci_groups_high: float = NAN
    withheld: str = ""
    fit: str = ""


@dataclass(frozen=True)
class Sample:
    """Scores (N,) and MOS (N,) of images, as `STATISTICS` measure them. fit None: no fitted statistics."""

    x: np.ndarray
    y: np.ndarray
    sampling: Sampling
    cluster_name: str = "clusters"
    fit: str | None = "logistic4"
    turned: bool = False
    seed: int = 0

    @cached_property
    def curve(self) -> LogisticFit:
        """The logistic fit of all images."""
        return fit_logistic(self.x, self.y, self.fit or "logistic4", self.turned)


@dataclass(frozen=True)
class Statistic:
    """A statistic of agreement.

    Args:
        name: in ``agreement.csv``. title: in tables. measure: returns its estimate, or None where it does not apply.
    """

    name: str
    title: str
    measure: Callable[[Sample], Estimate | None]
    higher_is_better: bool = True


def _undefined(x: np.ndarray, y: np.ndarray) -> str:
    """Return the reason why a correlation has no value."""
    equal = [what for what, values in (("scores", x), ("labels", y)) if len(values) and np.ptp(values) == 0]
    return f"undefined: all {' and '.join(equal)} are equal" if equal else "undefined"


def _estimate(sample: Sample, statistic: Sampled, wider: float, n: int, **more: Any) -> Estimate:
    """Return the estimate of a correlation, with an interval or the reason why it has none."""
    value, ((low, high),) = float(statistic.values[0]), statistic.correlation_intervals(wider)
    reason = sample.sampling.too_few(sample.cluster_name)
    if not reason and not np.isfinite(value):
        reason = _undefined(sample.x, sample.y)
    elif not reason and not np.isfinite(low):
        reason = "too little varies for an interval"
    low, high = (NAN, NAN) if reason else (float(low), float(high))
    return Estimate(value, low, high, n, withheld=reason, **more)


def _srcc(sample: Sample) -> Estimate:
    return _correlation(sample, "srcc", 1.0)


def _plcc(sample: Sample) -> Estimate:
    return _correlation(sample, "plcc", widening(sample.x, sample.y) if len(sample.x) else 1.0)


def _correlation(sample: Sample, name: str, wider: float) -> Estimate:
    """Measure a pooled correlation, and how it depends on which groups there are."""
    x, y, sampling = sample.x, sample.y, sample.sampling
    statistic, more = sampling.statistic(name, x[None], y), dict[str, float]()
    groups = sampling.by_group()
    if sampling.groups is not None and 2 <= groups.units <= MOST_GROUPS and np.isfinite(statistic.values[0]):
        without = sampled.WITHOUT[name](x, y, groups.unit)
        if np.isfinite(without).any():
            more = {"loo_group_low": float(np.nanmin(without)), "loo_group_high": float(np.nanmax(without))}
        ((low, high),) = groups.statistic(name, x[None], y).correlation_intervals(wider)
        more |= {"ci_groups_low": float(low), "ci_groups_high": float(high)}
    return _estimate(sample, statistic, wider, len(x), **more)


def _krcc(sample: Sample) -> Estimate:
    value = krcc(sample.x, sample.y) if len(sample.x) >= 3 else NAN
    reason = "point value only" if np.isfinite(value) else _undefined(sample.x, sample.y)
    return Estimate(value, n=len(sample.x), withheld=reason)


def _srcc_within(sample: Sample) -> Estimate | None:
    """Measure the mean of SRCC over the groups; with one group it is SRCC itself, and left out."""
    groups = sample.sampling.groups
    if groups is None or len(set(groups)) < 2:
        return None
    statistic = sample.sampling.statistic(WITHIN, sample.x[None], sample.y)
    images = sum(len(g) for g in defined_groups(sample.x, sample.y, groups))
    return _estimate(sample, statistic, 1.0, images)


def _fitted(value: Callable[[LogisticFit, Sample], float]) -> Callable[[Sample], Estimate | None]:
    """Return the measure of a fitted statistic: in-sample, so without an interval."""

    def measure(sample: Sample) -> Estimate | None:
        if sample.fit is None:
            return None
        number = NAN if sample.curve.params is None else value(sample.curve, sample)
        return Estimate(
            number, n=len(sample.x), withheld="a fitted value: in-sample", fit=fit_title(sample.fit)
        )

    return measure


def _out_of_fold(sample: Sample) -> Estimate | None:
    """Measure PLCC of fitted values on images that the fit has not seen: the mean over left-out folds.

    It is taken inside each fold: values of different folds come from different fits. A cluster lies in one fold. NaN
    where a fold would hold fewer than ten images.
    """
    if sample.fit is None:
        return None
    x, y, sampling = sample.x, sample.y, sample.sampling
    fold = (np.random.default_rng(sample.seed).permutation(sampling.units) % FOLDS)[sampling.unit]
    values = [NAN]
    if sampling.units >= FOLDS and np.bincount(fold, minlength=FOLDS).min() >= 10:
        values = []
        for out in (fold == k for k in range(FOLDS)):
            curve = fit_logistic(x[~out], y[~out], sample.fit, sample.turned)
            values.append(plcc(curve.predict(x[out]), y[out]) if curve.params else NAN)
    return Estimate(
        float(np.mean(values)), n=len(x), withheld="mean over five folds", fit=fit_title(sample.fit)
    )


STATISTICS: dict[str, Statistic] = {
    s.name: s
    for s in (
        Statistic("srcc", "SRCC", _srcc),
        Statistic("krcc", "KRCC", _krcc),
        Statistic("plcc", "PLCC (raw)", _plcc),
        Statistic("plcc_logistic", "PLCC", _fitted(lambda curve, s: plcc(curve.predict(s.x), s.y))),
        Statistic("rmse_logistic", "RMSE", _fitted(lambda curve, s: curve.rmse), False),
        Statistic("plcc_logistic_cv", "PLCC (fitted, out of fold)", _out_of_fold),
        Statistic(WITHIN, "SRCC within groups", _srcc_within),
    )
}

_IN_GROUPS = ("srcc", "krcc", "plcc")


@dataclass(frozen=True)
class Agreement:
    """The agreement of scores with MOS: `Estimate` by statistic, and the logistic fit."""

    estimates: dict[str, Estimate]
    fit: LogisticFit

    def __getitem__(self, statistic: str) -> Estimate:
        return self.estimates[statistic]

    def rows(self) -> list[dict[str, Any]]:
        """Return tidy rows: statistic, then the fields of `Estimate`."""
        return [{"statistic": name} | asdict(e) for name, e in self.estimates.items()]


def agreement(scores: Any, labels: Any, sampling: Sampling | None = None, **options: Any) -> Agreement:
    """Measure every statistic of scores (N,) against MOS (N,), higher = better in both.

    Args:
        sampling: groups and clusters of the images; default none. options: further fields of `Sample`.

    Returns:
        An estimate for each of `STATISTICS` that applies. NaN below three images and where nothing varies.
    """
    x, y = as_pair(scores, labels)
    sample = Sample(x, y, sampling or Sampling(len(x)), **options)
    found = {name: statistic.measure(sample) for name, statistic in STATISTICS.items()}
    curve = sample.curve if sample.fit else LogisticFit("none", None, NAN)
    return Agreement({name: e for name, e in found.items() if e is not None}, curve)


def by_group(
    scores: Any, labels: Any, sampling: Sampling, *, cluster_name: str = "clusters"
) -> Iterator[dict[str, Any]]:
    """Yield SRCC, KRCC and PLCC within each group, groups in alphabetical order: rows of ``groups.csv``.

    Note:
        SRCC inside a group falls with the range of its labels: the same error gave 0.23 in one generator and 0.53 in
        another. Compare cues inside a group, never groups with each other.
    """
    x, y = as_pair(scores, labels)
    fields = ("value", "ci_low", "ci_high", "n", "withheld")
    for name, rows in members(sampling.groups, len(x)):
        inside = Sampling(len(rows), None, sampling.within(rows).clusters)
        sample = Sample(x[rows], y[rows], inside, cluster_name)
        for statistic in _IN_GROUPS:
            estimate = STATISTICS[statistic].measure(sample)
            yield {"group": name, "statistic": statistic} | {k: getattr(estimate, k) for k in fields}


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
