"""Paired tests of methods on the same images; p values and intervals come from `magiqa.stats.family`. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from magiqa.errors import UserError
from magiqa.stats.correlation import NAN, as_matrix, defined_groups
from magiqa.stats.family import family
from magiqa.stats.sampled import Sampled
from magiqa.stats.sampling import WITHIN, Sampling, widening

MIN_SETS = 5  # of an interval over data sets

OTHER_GROUPS = "defined in other groups than what it is compared with"


def differences(difference: Sampled, few: str = "", equivalence: float | None = None) -> pd.DataFrame:
    """Return the tests of differences: a row each, alone and all at once.

    Args:
        few: the reason why nothing can be tested. equivalence: differences within +- this do not matter.

    Returns:
        ``diff, diff_low, diff_high, p``: of a row alone. ``detectable``: half the width of its interval, the smallest
        difference that these images could show. ``p_adjusted, ci_simultaneous_low, ci_simultaneous_high``: of all rows
        at once. ``equivalent`` (with `equivalence` only): the simultaneous interval lies within +- equivalence.
        ``withheld``: the reason why a row is not tested.
    """
    tests = family(difference.values * (NAN if few else 1.0), difference.parts)
    table = pd.DataFrame(
        {
            "diff": difference.values,
            "diff_low": tests.low,
            "diff_high": tests.high,
            "detectable": (tests.high - tests.low) / 2,
            "p": tests.p,
            "p_adjusted": tests.p_adjusted,
            "ci_simultaneous_low": tests.low_all,
            "ci_simultaneous_high": tests.high_all,
        }
    )
    if equivalence is not None:
        if not equivalence > 0:
            raise UserError(f"equivalence={equivalence} must be a number above 0, e.g. equivalence=0.01")
        table["equivalent"] = (tests.low_all > -equivalence) & (tests.high_all < equivalence)
    table["withheld"] = [few or w for w in tests.withheld]
    return table


def compare(
    scores: Mapping[str, Any],
    labels: Any,
    sampling: Sampling | None = None,
    *,
    statistic: str = "srcc",
    equivalence: float | None = None,
) -> pd.DataFrame:
    """Test every two methods on the same images; all pairs of the table at once.

    Args:
        scores: name -> (N,), higher = better. labels: (N,).
        statistic: srcc, plcc or srcc_within. Two methods whose SRCC is defined in different groups are not compared.

    Returns:
        Rows of ``comparison.csv``: a, b, their values, and `differences` of a - b. diff > 0 where a agrees better.

    Example:
        >>> y = np.arange(50.0)
        >>> row = compare({"a": y % 49, "b": -y}, y).iloc[0]
        >>> round(float(row["diff"]), 2), bool(row["p"] < 0.05)
        (1.88, True)
    """
    names = list(scores)
    if len({len(np.asarray(s)) for s in [*scores.values(), labels]}) != 1:
        raise UserError("compare: all scores and the labels must be of the same images: their numbers differ")
    x, y = as_matrix(np.stack([np.asarray(scores[name], np.float64) for name in names]), labels)
    sampling = sampling or Sampling(len(y))
    values = sampling.statistic(statistic, x, y)
    counted = _images(statistic, x, y, sampling)
    first, second = np.triu_indices(len(names), 1)
    others = (counted[first] != counted[second]).any(axis=1)
    difference = values[first] - values[second]
    tests = _tests(difference, others, sampling, equivalence)
    head = pd.DataFrame(
        {
            "a": [names[i] for i in first],
            "b": [names[j] for j in second],
            "statistic": statistic,
            "value_a": values.values[first],
            "value_b": values.values[second],
        }
    )
    tests.insert(tests.columns.get_loc("withheld"), "n", (counted[first] & counted[second]).sum(axis=1))
    return pd.concat([head, tests], axis=1)


def _tests(
    difference: Sampled, others: np.ndarray, sampling: Sampling, equivalence: float | None = None
) -> pd.DataFrame:
    """Return `differences`; rows over other groups are not tested."""
    usable = Sampled(np.where(others, NAN, difference.values), difference.parts)
    table = differences(usable, sampling.too_few(), equivalence)
    table["diff"] = difference.values
    table.loc[others, "withheld"] = OTHER_GROUPS
    return table


def _images(statistic: str, x: np.ndarray, y: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Tell which images (M, N) a statistic of each row counts: for SRCC within groups, those of its defined groups."""
    out = np.ones(x.shape, bool)
    if statistic == WITHIN:
        out[:] = False
        for k, row in enumerate(x):
            for g in defined_groups(row, y, sampling.groups):
                out[k, g] = True
    return out


def against(
    matrix: np.ndarray,
    labels: np.ndarray,
    reference: int,
    sampling: Sampling,
    equivalence: float | None = None,
) -> pd.DataFrame:
    """Compare many variants with one of them: a row each.

    Args:
        matrix: (M, N) scores. labels: (N,). reference: the row that all others are compared with.

    Returns:
        n, SRCC, SRCC within groups and PLCC with their intervals, ``n_within`` (images in groups where SRCC is
        defined), `differences` in SRCC, and in SRCC within groups: ``diff_within, diff_within_low, diff_within_high,
        p_within, p_within_adjusted, within_simultaneous_low, within_simultaneous_high``.
    """
    x, y = as_matrix(matrix, labels)
    few, grouped = sampling.too_few(), sampling.groups is not None
    table = pd.DataFrame({"n": np.full(len(x), len(y))})
    for name in ("srcc", *([WITHIN] if grouped else []), "plcc"):
        values = sampling.statistic(name, x, y)
        wider = np.array([widening(row, y) for row in x]) if name == "plcc" else 1.0
        bands = np.full((len(x), 2), NAN) if few else values.correlation_intervals(wider)
        table[name], table[f"{name}_low"], table[f"{name}_high"] = values.values, *bands.T
        if name == "srcc":
            tests = differences(values - values[[reference] * len(x)], few, equivalence)
        elif name == WITHIN:
            counted = _images(name, x, y, sampling)
            table["n_within"] = counted.sum(axis=1)
            others = (counted != counted[reference]).any(axis=1)
            within = _tests(values - values[[reference] * len(x)], others, sampling)
            within.loc[others, "diff"] = NAN
            within = within.rename(
                columns=lambda c: c.replace("ci_", "within_").replace("diff", "diff_within")
            )
            within = within.rename(columns={"p": "p_within", "p_adjusted": "p_within_adjusted"})
            tests.loc[others & (tests["withheld"] == ""), "withheld"] = f"within groups: {OTHER_GROUPS}"
            tests = pd.concat([tests, within.drop(columns=["detectable", "withheld"])], axis=1)
    tests.loc[reference, "withheld"] = few
    return pd.concat([table, tests], axis=1)


def against_best(
    matrix: np.ndarray, labels: np.ndarray, statistic: str, sampling: Sampling
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Test every method against the best one, for all pairs at once, so that the choice of the best is paid for.

    Args:
        matrix: (M, N) scores, higher = better. statistic: as `compare`'s.

    Returns:
        The adjusted p (M,) of the hypothesis that a method is as good as the best: 1 for the best itself, NaN where it
        is not tested; and the reasons. SRCC within groups: of methods that are defined in the most groups only.
    """
    x, y = as_matrix(matrix, labels)
    counted = _images(statistic, x, y, sampling)
    values = sampling.statistic(statistic, x, y)
    alike = (counted == counted[np.argmax(counted.sum(axis=1))]).all(axis=1)
    usable = np.flatnonzero(alike & np.isfinite(values.values))
    words = np.where(alike, "undefined", OTHER_GROUPS).astype(object)
    out, few = np.full(len(x), NAN), sampling.too_few()
    if few or not len(usable):
        return out, tuple([few or str(w) for w in words])
    first, second = np.triu_indices(len(usable), 1)
    kept = values[usable]
    tests = family(kept.values[first] - kept.values[second], kept.parts[first] - kept.parts[second])
    top = int(np.argmax(kept.values))
    out[usable[top]], words[usable] = 1.0, ""
    for i, j, p, word in zip(first, second, tests.p_adjusted, tests.withheld, strict=True):
        if top in (i, j):
            other = usable[j if i == top else i]
            out[other], words[other] = (1.0, "") if word == "never differ" else (p, word)
    return out, tuple(str(w) for w in words)


def mean_over_sets(gains: Sequence[float]) -> tuple[float, float, float]:
    """Return the unweighted mean of a gain over data sets, with the 95 % t interval of k - 1 degrees of freedom.

    The interval is for other sets of the kind. Weights of random-effects models hold less often where the sets'
    variances are unequal.

    Returns:
        The mean, and the ends of its interval: NaN for fewer than five sets.
    """
    values = np.asarray(gains, float)
    mean, count = float(values.mean()), len(values)
    if count < MIN_SETS:
        return mean, NAN, NAN
    half = float(-stdtrit(count - 1, 0.025) * values.std(ddof=1) / np.sqrt(count))
    return mean, mean - half, mean + half
