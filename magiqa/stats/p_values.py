"""Many differences at once: tests and intervals of one and the same resampled maximum. Pure.

A difference is tested by t = |difference| / its standard deviation over the resamples, against the largest such
deviation of the whole family in each resample (single-step max-T). Rows that rise and fall together, as 101 settings of
one parameter do, then cost little more than one test, and no number of rows makes significance impossible.

Source: Westfall and Young, Resampling-Based Multiple Testing, 1993, section 2.6; Romano and Wolf, JASA 100(469), 2005.
"""

from dataclasses import dataclass

import numpy as np

from magiqa.stats.arrays import NAN
from magiqa.stats.intervals import MIN_DEFINED, MIN_UNITS, as_normal, as_student

_NOTHING = 1e-12  # a difference that rounding leaves between two equal rows

NEVER, ALIKE, UNDEFINED = (
    "never differ",
    "the same difference in every resample",
    "undefined, or in resamples",
)


@dataclass(frozen=True)
class Family:
    """Differences (M,) tested one by one and together; NaN where a row is not tested.

    Args:
        low, high, p: of each row alone. low_all, high_all, p_adjusted: of all rows at once. Below 1 - level p is
            exactly where its interval leaves out 0; p_adjusted >= p. floor: the smallest p possible: read it as "<=".
    """

    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    low_all: np.ndarray
    high_all: np.ndarray
    p_adjusted: np.ndarray
    floor: float
    withheld: tuple[str, ...]


def family(values: np.ndarray, draws: np.ndarray, units: int, level: float = 0.95) -> Family:
    """Test differences on shared resamples.

    Rows that are the same in every resample (0: they never differ), which is no certainty, or undefined in over 5 % of
    them are not tested. With fewer than five units nothing is.

    Args:
        values: (M,) differences. draws: (M, R), the same in each resample. units: how many images, or clusters, were
            resampled. Few of them are known to spread too little: the deviations are read as those of Student's t with
            units - 1 degrees of freedom, at the adjusted level.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> draws = np.array([[0.5], [0.0]]) + rng.normal(0, 0.1, (2, 999))
        >>> found = family(np.array([0.5, 0.0]), draws, units=200)
        >>> (found.p_adjusted < 0.05).tolist(), bool(found.low_all[0] > 0)
        ([True, False], True)
    """
    values, draws = np.asarray(values, np.float64), np.asarray(draws, np.float64)
    deviation, spread, words = _deviations(values, draws, units)
    tested = np.array([not w for w in words], bool)
    resamples = draws.shape[1]
    blank = np.full(len(values), NAN)
    if not tested.any():
        return Family(blank, blank, blank, blank, blank, blank, 1.0 / (resamples + 1), words)
    t = _as_normal_t(values, spread, units)
    largest = deviation[tested].max(axis=0)
    own = {"p": blank.copy(), "half": blank.copy()}
    together = {"p": blank.copy(), "half": blank.copy()}
    for i in np.flatnonzero(tested):
        for out, against in ((own, deviation[i]), (together, largest)):
            out["p"][i] = (1 + int((against >= t[i]).sum())) / (resamples + 1)
            out["half"][i] = as_student(_critical(against, level), units) * spread[i]
    return Family(
        values - own["half"],
        values + own["half"],
        own["p"],
        values - together["half"],
        values + together["half"],
        together["p"],
        1.0 / (resamples + 1),
        words,
    )


def _deviations(
    values: np.ndarray, draws: np.ndarray, units: int
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """|draw - mean| / spread (M, R), the spread (M,), and why a row cannot be tested (M,)."""
    known = np.isfinite(draws)
    filled = np.where(known, draws, 0.0)
    times = np.maximum(known.sum(axis=1, keepdims=True), 1)
    off = np.where(known, draws - filled.sum(axis=1, keepdims=True) / times, 0.0)
    spread = np.sqrt(np.square(off).sum(axis=1) / np.maximum(times[:, 0] - 1, 1))
    spread = np.where(spread <= _NOTHING, 0.0, spread)
    deviation = np.divide(np.abs(off), spread[:, None], out=np.zeros_like(off), where=spread[:, None] > 0)
    often = known.mean(axis=1) >= MIN_DEFINED
    return (
        deviation,
        spread,
        tuple(
            f"{units} units to resample, fewer than {MIN_UNITS}"
            if units < MIN_UNITS
            else UNDEFINED
            if not (enough and np.isfinite(value))
            else ""
            if varies > 0
            else NEVER
            if abs(value) <= _NOTHING
            else ALIKE
            for value, varies, enough in zip(values, spread, often, strict=True)
        ),
    )


def _as_normal_t(values: np.ndarray, spread: np.ndarray, units: int) -> np.ndarray:
    """|value| / spread on the scale of the resampled deviations."""
    t = np.divide(np.abs(values), spread, out=np.zeros(len(values)), where=spread > 0)
    return as_normal(t, units)


def _critical(deviations: np.ndarray, level: float) -> float:
    """What |t| must exceed for its p, (1 + the deviations that reach it) / (R + 1), to be under 1 - level."""
    reached = int(np.ceil((1.0 - level) * (len(deviations) + 1) - 1e-9)) - 2  # so many may reach it
    if reached < 0:
        return np.inf
    return float(np.partition(deviations, len(deviations) - 1 - reached)[len(deviations) - 1 - reached])


def best_set(values: np.ndarray, draws: np.ndarray, units: int) -> np.ndarray:
    """Which methods may be the best? A model confidence set.

    All pairs' largest t is tested against its resampled maximum; while that rejects, the method that is furthest behind
    another goes. The set of p >= 0.05 holds *all* methods that are truly best with probability 95 %, whichever of them
    came out on top here.

    Args:
        values: (M,) of a statistic, higher = better. draws: (M, R), on shared resamples. units: as `family`'s.

    Returns:
        (M,) p: a method lies in the set of confidence 1 - alpha where p >= alpha. The last one left has 1. NaN for
        undefined rows, for one behind another by the same in every resample, and for all with fewer than five units.

    Source: Hansen, Lunde and Nason, Econometrica 79(2), 2011 (the range statistic).
    """
    values, draws = np.asarray(values, np.float64), np.asarray(draws, np.float64)
    out = np.full(len(values), NAN)
    known = (np.isfinite(draws).mean(axis=1) >= MIN_DEFINED) & np.isfinite(values)
    active = list(np.flatnonzero(known))
    if units < MIN_UNITS or not active:
        return out
    if len(active) == 1:
        out[active] = 1.0
        return out
    first, second = (k.tolist() for k in np.triu_indices(len(active), 1))
    pairs = [(active[i], active[j]) for i, j in zip(first, second, strict=True)]
    difference = np.array([values[a] - values[b] for a, b in pairs])
    deviation, spread, words = _deviations(
        difference, np.array([draws[a] - draws[b] for a, b in pairs]), units
    )
    for (a, b), word in zip(pairs, words, strict=True):
        worse = a if values[a] < values[b] else b
        if word == ALIKE and worse in active:
            active.remove(worse)
    deviation = deviation.astype(np.float32)
    t = np.where([not w for w in words], _as_normal_t(difference, spread, units), 0.0)
    reached = 0.0
    while len(active) > 1:
        inside = [k for k, (a, b) in enumerate(pairs) if a in active and b in active]
        top = max(inside, key=lambda k: t[k])
        largest = deviation[inside].max(axis=0)
        p = (1 + int((largest >= t[top]).sum())) / (draws.shape[1] + 1) if t[top] > 0 else 1.0
        reached = max(reached, p)
        a, b = pairs[top]
        worse = a if values[a] < values[b] else b
        if t[top] == 0:  # nothing is left that differs
            worse = active[-1]
        out[worse] = reached
        active.remove(worse)
    out[active] = 1.0
    return out
