"""Tests of many differences at once."""

import math

import numpy as np
import pytest
from scipy import stats

from magiqa.stats.family import SIGNIFICANCE, family


def parts(rows: int, units: int = 200, shared: float = 0.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (shared * rng.normal(size=units) + rng.normal(size=(rows, units))) / 100


def test_one_row_is_students_t_test():
    d = parts(1)
    error = math.sqrt(float(np.square(d).sum()))
    result = family(np.array([0.3]), d)
    assert result.p[0] == pytest.approx(2 * stats.t.sf(0.3 / error, 199), rel=0.05)
    assert result.p_adjusted[0] == result.p[0]
    assert (result.low_all[0], result.high_all[0]) == (result.low[0], result.high[0])


@pytest.mark.parametrize("units", [6, 12, 200])
def test_p_is_below_the_level_exactly_where_the_interval_leaves_out_0(units):
    d = parts(60, units, shared=1.0)
    values = np.linspace(-4, 4, 60) * np.sqrt(np.square(d).sum(axis=1))
    result = family(values, d)
    for p, low, high in (
        (result.p, result.low, result.high),
        (result.p_adjusted, result.low_all, result.high_all),
    ):
        np.testing.assert_array_equal(p < SIGNIFICANCE, (low > 0) | (high < 0))
    assert ((result.p <= result.p_adjusted) & (result.p_adjusted <= np.minimum(1, 60 * result.p))).all()


def test_the_adjustment_is_that_of_the_largest_of_correlated_normals():
    alike, apart = parts(1, 1000).repeat(20, axis=0), parts(20, 1000)
    value = np.full(20, 2.5 * math.sqrt(float(np.square(alike[0]).sum())))
    same = family(value, alike)
    assert same.p_adjusted == pytest.approx(same.p, rel=0.15)  # copies of a test cost nothing
    error = np.sqrt(np.square(apart).sum(axis=1))
    other = family(2.5 * error, apart)
    sidak = 1 - (1 - 2 * stats.norm.sf(2.5)) ** 20
    assert other.p_adjusted == pytest.approx(np.full(20, sidak), rel=0.15)


def test_no_number_of_tests_makes_significance_impossible():
    d = parts(500, 50)
    result = family(12 * np.sqrt(np.square(d).sum(axis=1)), d)
    assert (result.p_adjusted < 1e-6).all()


def test_what_never_differs_is_undefined_or_rests_on_few_is_not_tested():
    d = np.vstack([parts(1), np.zeros((2, 200)), parts(1), np.r_[np.ones(4), np.zeros(196)][None]])
    result = family(np.array([0.1, 0.0, 0.2, np.nan, 0.5]), d)
    assert result.withheld == (
        "",
        "never differ",
        "the same difference for every image",
        "undefined",
        "4 images or clusters, fewer than 5",
    )
    assert np.isfinite(result.p).tolist() == [True, False, False, False, False]
    assert np.isnan(family(np.array([np.nan]), parts(1)).p_adjusted).all()


@pytest.mark.slow
def test_all_pairs_of_ten_equal_methods_hold_with_five_clusters():
    rng, rejected = np.random.default_rng(2), 0
    first, second = np.triu_indices(10, 1)
    for _ in range(300):
        errors = rng.normal(size=(10, 5))
        own = (errors - errors.mean(axis=1, keepdims=True)) / 5 * np.sqrt(5 / 4)
        values = errors.mean(axis=1)
        tests = family(values[first] - values[second], own[first] - own[second])
        rejected += (tests.p_adjusted < SIGNIFICANCE).any()
    assert rejected / 300 < 0.1
