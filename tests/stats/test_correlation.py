"""Correlations against scipy's, and the intervals' parts against numerical ones."""

import math

import numpy as np
import pytest
from scipy import stats

from magiqa.errors import UserError
from magiqa.stats.correlation import krcc, partial_srcc, plcc, ranks, srcc, srcc_within
from magiqa.stats.sampled import Sampled
from magiqa.stats.sampling import Sampling

SCIPY = {
    srcc: lambda x, y: stats.spearmanr(x, y)[0],
    krcc: lambda x, y: stats.kendalltau(x, y)[0],
    plcc: lambda x, y: stats.pearsonr(x, y)[0],
}


def pair(n: int = 120, seed: int = 0, digits: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x.round(digits), (0.6 * x + 0.8 * rng.normal(size=n)).round(digits)


@pytest.mark.parametrize("digits", [0, 1, 9])
@pytest.mark.parametrize("statistic", SCIPY)
def test_points_are_scipys_with_and_without_ties(statistic, digits):
    for n in (3, 8, 200):
        x, y = pair(n, n, digits)
        expected = SCIPY[statistic](x, y)
        assert statistic(x, y) == pytest.approx(expected, abs=1e-12, nan_ok=True)
        assert statistic(-x, y) == pytest.approx(-expected, abs=1e-12, nan_ok=True)
    np.testing.assert_array_equal(ranks(x), stats.rankdata(x))


@pytest.mark.parametrize("offset, scale", [(0, 1e300), (0, 1e-300), (1e12, 1.0), (-(2.0**40), 2.0**-10)])
def test_plcc_is_exact_whatever_the_offset_and_scale(offset, scale):
    steps = np.arange(40.0)
    y = np.sin(steps)
    assert plcc(offset + scale * steps, y) == pytest.approx(plcc(steps, y), abs=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused(bad):
    with pytest.raises(UserError, match=r"scores: 1 of 3 values are NaN or infinite \(first: row 1\)"):
        srcc([1.0, bad, 2.0], [1, 2, 3])


def test_srcc_within_is_the_mean_over_the_groups_where_it_is_defined():
    x, y = pair(20)
    groups = np.array(["a"] * 8 + ["b"] * 8 + ["two"] * 2 + ["flat"] * 2)
    x[18:] = 1.0
    expected = np.mean([stats.spearmanr(x[g], y[g])[0] for g in (slice(0, 8), slice(8, 16))])
    assert srcc_within(x, y, groups) == pytest.approx(expected)


def test_partial_srcc_is_that_of_the_residual_ranks():
    x, y = pair(80)
    given = np.random.default_rng(1).normal(size=(80, 2)) + x[:, None]
    r = np.corrcoef(np.stack([stats.rankdata(v) for v in (x, y, *given.T)]))
    inverse = np.linalg.inv(r)
    expected = -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
    assert partial_srcc(x, y, given) == pytest.approx(expected)
    assert math.isnan(partial_srcc(x, x[::-1], np.exp(x)[:, None]))  # nothing is left


# --- the part of each image in a statistic ---


def squared_error(statistic: Sampled) -> float:
    return float(np.square(statistic.parts).sum())


def left_out(statistic, unit: np.ndarray) -> float:
    """The variance of a statistic by the delete-one jackknife."""
    values = np.array([statistic(np.flatnonzero(unit != k)) for k in np.unique(unit)])
    return float((len(values) - 1) * values.var())


@pytest.mark.parametrize("digits", [0, 9])
def test_parts_of_independent_images_are_those_of_the_jackknife_and_the_bootstrap(digits):
    x, y = pair(300, 3, digits)
    given = np.random.default_rng(1).normal(size=(300, 2)) + x[:, None]
    sampling, rng = Sampling(300), np.random.default_rng(0)
    draws = [rng.integers(300, size=300) for _ in range(400)]
    for statistic, value in (
        (sampling.statistic("srcc", x[None], y), lambda r: stats.spearmanr(x[r], y[r])[0]),
        (sampling.statistic("plcc", x[None], y), lambda r: np.corrcoef(x[r], y[r])[0, 1]),
        (sampling.partial(x, y, given), lambda r: partial_srcc(x[r], y[r], given[r])),
    ):
        assert squared_error(statistic) == pytest.approx(left_out(value, np.arange(300)), rel=0.06)
        assert squared_error(statistic) == pytest.approx(np.var([value(r) for r in draws]), rel=0.25)


def test_parts_of_clusters_are_those_of_the_delete_one_jackknife():
    x, y = pair(90)
    unit = np.arange(90) ** 2 % 23
    groups, given = np.arange(90) // 30, np.random.default_rng(0).normal(size=(90, 1))
    sampling = Sampling(90, groups, unit)
    for statistic, value in (
        (sampling.statistic("srcc", x[None], y), lambda r: stats.spearmanr(x[r], y[r])[0]),
        (sampling.statistic("plcc", x[None], y), lambda r: np.corrcoef(x[r], y[r])[0, 1]),
        (sampling.partial(x, y, given), lambda r: partial_srcc(x[r], y[r], given[r])),
    ):
        assert squared_error(statistic) == pytest.approx(left_out(value, unit))
    within = sampling.statistic("srcc_within", x[None], y)
    assert squared_error(within) == pytest.approx(
        left_out(lambda r: srcc_within(x[r], y[r], groups[r]), unit), rel=0.3
    )


def test_an_interval_lies_inside_the_range_and_is_left_out_where_nothing_says_how_wide_it_is():
    x, y = pair(30, digits=9)
    ((low, high),) = Sampling(30).statistic("srcc", (y + 0.05 * x)[None], y).correlation_intervals()
    assert 0.9 < low < srcc(y + 0.05 * x, y) < high < 1
    for n, scores in ((30, y), (30, np.ones(30)), (4, x[:4])):
        statistic = Sampling(n).statistic("srcc", scores[None], y[:n])
        assert np.isnan(statistic.correlation_intervals()).all()
