"""Ranks, tau and tails are those of scipy.stats, to the bit."""

import numpy as np
import pytest
import scipy.stats as reference

from magiqa.stats import bootstrap, distributions, ranks
from magiqa.stats.bootstrap import bootstrap_many, resample_counts
from magiqa.stats.correlation import images_within, srcc_many, srcc_within
from magiqa.stats.intervals import studentized_plcc, studentized_plcc_many


@pytest.mark.parametrize("levels", [2, 7, 100, 10**9])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 64, 1000])
def test_ranks_are_scipys(n, levels):
    rng = np.random.default_rng(n + levels)
    x = rng.integers(0, levels, (3, n)).astype(float)
    np.testing.assert_array_equal(ranks.mid_ranks(x), reference.rankdata(x, axis=1))
    np.testing.assert_array_equal(ranks.dense_ranks(x[0]), reference.rankdata(x[0], "dense"))
    if n > 2 and (np.ptp(x[:2], axis=1) > 0).all():
        assert ranks.tau_b(x[0], x[1]) == reference.kendalltau(x[0], x[1], method="asymptotic").statistic


def test_tails_are_scipys_at_their_ends_too():
    for tail in (0.0, 1e-300, 1e-9, 0.025, 0.5, 0.975, 1.0):
        assert distributions.normal_quantile(tail) == reference.norm.isf(tail)
        for freedom in (1, 4, 15, 2981.5):
            assert distributions.student_quantile(tail, freedom) == reference.t.isf(tail, freedom)
    for value in (-np.inf, -40.0, -1.0, 0.0, 1.96, 10.0, np.inf):
        assert distributions.normal_tail(value) == reference.norm.sf(value)
        for freedom in (1, 4, 15, 2981.5):
            assert distributions.student_tail(value, freedom) == reference.t.sf(value, freedom)


def test_many_rows_at_once_are_each_row_alone():
    rng = np.random.default_rng(0)
    y, groups = rng.integers(0, 9, 60).astype(float), np.repeat(list("abc"), [2, 28, 30])
    x = np.stack([rng.normal(size=60), np.ones(60), y, rng.integers(0, 3, 60)])
    x[3, 2:30] = 1.0  # a is too small, and b constant in this row
    alone = [srcc_within(row, y, groups) for row in x]
    assert np.isnan(alone).tolist() == [False, True, False, False]
    np.testing.assert_allclose(srcc_many(x, y, groups), alone, atol=1e-15)
    counted = images_within(x, y, groups)
    assert counted.sum(axis=1).tolist() == [58, 0, 58, 30]
    counts = resample_counts(60, resamples=50)
    rows = x[[0, 2, 3]]
    alone = [studentized_plcc(row, y, counts) for row in rows]
    np.testing.assert_allclose(studentized_plcc_many(rows, y, counts), alone, rtol=1e-12)


@pytest.mark.parametrize("levels", [2, 5, 40, 10**9])  # long runs of equal values, short ones, none
def test_ties_are_summed_alike_however_long_their_runs_are(levels, monkeypatch):
    rng = np.random.default_rng(levels)
    x, y = rng.integers(0, levels, (2, 80)).astype(float)
    counts = resample_counts(80, resamples=30)
    found = bootstrap_many("srcc", x[None], y, counts)[0]
    drawn = [np.repeat(np.arange(80), c) for c in counts]
    np.testing.assert_allclose(found, [reference.spearmanr(x[d], y[d])[0] for d in drawn], atol=1e-12)
    monkeypatch.setattr(bootstrap, "_DEEP", 0)  # all by one reduction
    np.testing.assert_array_equal(bootstrap_many("srcc", x[None], y, counts)[0], found)
