"""Families of tests and best sets: against their definitions, and their error rates on simulated resamples."""

import math

import numpy as np
import pytest
from scipy import stats

from magiqa.stats.intervals import as_normal, as_student
from magiqa.stats.p_values import best_set, family


def resampled(
    rng: np.random.Generator, true: np.ndarray, units: int, resamples: int = 399, shared: float = 0.5
):
    """Means of `units` correlated values (M,), and of their resamples (M, R)."""
    values = true[:, None] + shared * rng.normal(size=units) + rng.normal(size=(len(true), units))
    counts = rng.multinomial(units, np.full(units, 1 / units), size=resamples)
    return values.mean(axis=1), values @ counts.T / units


def test_p_and_intervals_agree_row_by_row_and_p_adjusted_is_not_below_p():
    rng = np.random.default_rng(0)
    for trial in range(50):
        values, draws = resampled(rng, rng.normal(0, 0.3, 8), 5 + trial)
        found = family(values, draws, 5 + trial)
        assert ((found.p < 0.05) == ((found.low > 0) | (found.high < 0))).all()
        assert ((found.p_adjusted < 0.05) == ((found.low_all > 0) | (found.high_all < 0))).all()
        assert (found.p_adjusted >= found.p).all() and (
            found.high_all - found.low_all >= found.high - found.low
        ).all()


def test_a_large_effect_is_significant_whatever_the_number_of_tests_and_clusters():
    rng = np.random.default_rng(1)
    for units in (5, 8, 16):
        values, draws = resampled(rng, np.r_[50.0, np.zeros(60)], units, resamples=1000)
        assert family(values, draws, units).p_adjusted[0] == pytest.approx(1 / 1001)


def test_copies_of_a_test_cost_nothing():
    values, draws = resampled(np.random.default_rng(2), np.array([0.3]), 60)
    one, many = family(values, draws, 60), family(np.repeat(values, 101), np.repeat(draws, 101, axis=0), 60)
    assert many.p_adjusted == pytest.approx(np.repeat(one.p_adjusted, 101))


def test_what_never_differs_or_is_undefined_or_few_is_not_tested():
    draws = np.random.default_rng(0).normal(size=(3, 200))
    draws[1], draws[2, :20] = 0.0, np.nan
    found = family(np.array([0.5, 0.0, 0.5]), draws, 30)
    assert np.isfinite(found.p[0]) and found.p_adjusted[0] == found.p[0]
    for k in (1, 2):
        assert np.isnan([found.p[k], found.p_adjusted[k], found.low[k], found.low_all[k]]).all()
    assert np.isnan(family(np.array([0.5]), draws[:1], 4).p).all()


def test_the_same_difference_in_every_resample_is_no_certainty():
    draws = np.stack([np.full(200, 0.5), np.zeros(200), np.random.default_rng(0).normal(size=200)])
    found = family(np.array([0.5, 0.0, 0.1]), draws, 30)
    assert found.withheld == ("the same difference in every resample", "never differ", "")
    assert np.isnan([found.p[0], found.p_adjusted[0], found.low[0], found.high_all[0]]).all()
    assert found.p_adjusted[2] == found.p[2]
    best = best_set(
        np.array([1.0, 0.5, 0.9]), np.stack([np.ones(200), np.full(200, 0.5), 0.1 * draws[2] + 0.9]), 30
    )
    assert np.isnan(best).tolist() == [False, True, False]


def test_few_units_are_read_as_students_t():
    assert as_student(1.959964, 10) == pytest.approx(stats.t.isf(0.025, 9) * math.sqrt(10 / 9), abs=1e-4)
    assert as_normal(as_student(2.5, 7), 7) == pytest.approx(2.5)


@pytest.mark.parametrize("units, tests", [(10, 12), (200, 12)])
@pytest.mark.slow
def test_a_family_of_true_nulls_is_called_different_in_one_of_twenty(units, tests):
    rng, trials = np.random.default_rng(3), 400
    called = sum(
        (family(*resampled(rng, np.zeros(tests), units, 299), units).p_adjusted < 0.05).any()
        for _ in range(trials)
    )
    assert 0.01 < called / trials < stats.binom.ppf(0.999, trials, 0.06) / trials


@pytest.mark.parametrize("units", [12, 200])
@pytest.mark.slow
def test_ten_equal_methods_all_lie_in_the_best_set(units):
    rng, trials = np.random.default_rng(4), 300
    lost = sum(
        (best_set(*resampled(rng, np.zeros(10), units, 299), units) < 0.05).any() for _ in range(trials)
    )
    assert lost / trials < stats.binom.ppf(0.999, trials, 0.06) / trials


def test_the_best_set_leaves_out_what_is_worse():
    values, draws = resampled(np.random.default_rng(5), np.r_[1.0, 1.0, np.zeros(9)], 100)
    p = best_set(values, draws, 100)
    assert (p[:2] >= 0.05).all() and (p[2:] < 0.05).all() and p.max() == 1.0
    assert np.isnan(best_set(values, draws, 4)).all()
    values[3], draws[3] = np.nan, np.nan
    assert math.isnan(best_set(values, draws, 100)[3])
    assert best_set(values[:1], draws[:1], 100).tolist() == [1.0]


def test_equal_rows_stay_together_in_the_best_set():
    values, draws = resampled(np.random.default_rng(6), np.array([0.0, 0.5]), 100)
    p = best_set(values[[0, 1, 1]], draws[[0, 1, 1]], 100)
    assert (p[1:] >= 0.05).all()
