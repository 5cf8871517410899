"""Methods against each other on the same images."""

import math

import numpy as np
import pytest
from scipy import stats

from magiqa.errors import UserError
from magiqa.stats.family import SIGNIFICANCE, family
from magiqa.stats.paired import OTHER_GROUPS, against, against_best, compare
from magiqa.stats.raters import krasula
from magiqa.stats.sampled import auroc
from magiqa.stats.sampling import Sampling


def methods(n: int = 300, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A good method, a worse one, and labels."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=n)
    a = quality + rng.normal(size=n)
    return a, a + 0.75 * rng.normal(size=n), quality + 0.3 * rng.normal(size=n)


def swapped(x: np.ndarray, place: int) -> np.ndarray:
    order, out = np.argsort(x), x.copy()
    out[order[[place, place + 1]]] = x[order[[place + 1, place]]]
    return out


def test_a_paired_test_finds_what_two_intervals_hide():
    a, b, y = methods()
    row = compare({"a": a, "b": b}, y).iloc[0]
    assert (row["a"], row["b"], row["n"], row["withheld"]) == ("a", "b", 300, "")
    assert row["diff"] == pytest.approx(stats.spearmanr(a, y)[0] - stats.spearmanr(b, y)[0])
    assert row["p"] < 0.01 and row["diff_low"] > 0
    assert row["detectable"] == pytest.approx((row["diff_high"] - row["diff_low"]) / 2)
    bands = Sampling(300).statistic("srcc", np.stack([a, b]), y).correlation_intervals()
    assert bands[0, 0] < bands[1, 1]  # they overlap
    turned = compare({"b": b, "a": a}, y).iloc[0]
    assert (turned["diff"], turned["p"]) == pytest.approx((-row["diff"], row["p"]))


def test_all_pairs():
    a, b, y = methods()
    pairs = compare({"a": a, "b": b, "c": -b}, y)
    assert list(zip(pairs["a"], pairs["b"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    with pytest.raises(UserError, match="same images"):
        compare({"a": a, "b": b[:9]}, y)


@pytest.mark.parametrize("near", [2, 20, 100])
def test_rows_that_nearly_equal_the_reference_never_cost_more_than_bonferroni(near):
    a, b, y = methods()
    rows = [swapped(a, int(k)) for k in np.linspace(5, 290, near)]
    table = against(np.stack([a, b, *rows]), y, 0, Sampling(300))
    assert table["p"].iloc[1] <= table["p_adjusted"].iloc[1] <= (near + 1) * table["p"].iloc[1]
    p, _ = against_best(np.stack([a, *rows[:2], b]), y, "srcc", Sampling(300))
    assert p[-1] < 0.05 and p[:-1].min() > 0.05  # the worse one alone leaves the set of the best


def test_equivalence_is_an_interval_inside_the_margin_at_once():
    a, _, y = methods()
    near = a + 0.01 * np.random.default_rng(0).normal(size=300)
    table = compare({"a": a, "near": near, "noise": y[::-1]}, y, equivalence=0.02)
    np.testing.assert_array_equal(
        table["equivalent"],
        (table["ci_simultaneous_low"] > -0.02) & (table["ci_simultaneous_high"] < 0.02),
    )
    assert table["equivalent"].tolist() == [True, False, False]
    assert "equivalent" not in compare({"a": a, "near": near}, y)
    with pytest.raises(UserError, match="equivalence=-1 must be a number above 0"):
        compare({"a": a, "near": near}, y, equivalence=-1)


def test_the_best_is_in_its_own_set_whatever_its_tails():
    a, b, y = methods()
    heavy = np.exp(2.0 * y)
    p, words = against_best(np.stack([a, heavy, b]), y, "plcc", Sampling(300))
    best = int(np.argmax([stats.pearsonr(x, y)[0] for x in (a, heavy, b)]))
    assert p[best] == 1.0 and set(words) == {""}
    p, words = against_best(np.stack([a, a, np.ones(300)]), y, "srcc", Sampling(300))
    assert p[:2].tolist() == [1.0, 1.0] and math.isnan(p[2]) and words[2] == "undefined"
    p, words = against_best(np.stack([a, b]), y, "srcc", Sampling(300, None, np.arange(300) // 100))
    assert np.isnan(p).all() and words[0] == "3 clusters, fewer than 5"


def test_srcc_within_is_compared_inside_the_same_groups_only():
    a, b, y = methods()
    groups = np.arange(300) // 30
    saturated = np.where(groups == 0, y, 0.5)  # varies in one group, where it is perfect
    sampling = Sampling(300, groups)
    p, words = against_best(np.stack([saturated, a, b]), y, "srcc_within", sampling)
    assert words[0] == OTHER_GROUPS and math.isnan(p[0]) and p[1] == 1.0
    row = compare({"s": saturated, "a": a}, y, sampling, statistic="srcc_within").iloc[0]
    assert row["withheld"] == OTHER_GROUPS and math.isnan(row["p"]) and row["n"] == 30
    table = against(np.stack([a, saturated, b]), y, 0, sampling)
    assert table["n_within"].tolist() == [300, 30, 300]
    assert table["diff_within"].isna().tolist() == [False, True, False]
    assert table["withheld"].tolist() == ["", f"within groups: {OTHER_GROUPS}", ""]


def test_many_variants_have_their_statistics_and_the_reference_none_of_its_own_tests():
    a, b, y = methods()
    sampling = Sampling(300, np.arange(300) % 4, np.arange(300) // 10)
    table = against(np.stack([a, b, a]), y, 0, sampling)
    assert table["srcc"].tolist() == pytest.approx([stats.spearmanr(x, y)[0] for x in (a, b, a)])
    assert table["plcc"].tolist() == pytest.approx([stats.pearsonr(x, y)[0] for x in (a, b, a)])
    assert (table["srcc_low"] < table["srcc"]).all() and (
        table["srcc_within_low"] < table["srcc_within"]
    ).all()
    assert table["diff"].iloc[0] == 0 and math.isnan(table["p"].iloc[0]) and table["withheld"].iloc[0] == ""
    assert table["withheld"].iloc[2] == "never differ"
    one = compare({"b": b, "a": a}, y, sampling).iloc[0]
    assert table[["diff", "diff_low", "p"]].iloc[1].tolist() == pytest.approx(
        one[["diff", "diff_low", "p"]].tolist()
    )


# --- pairs that raters tell apart ---


def test_krasula_counts_the_pairs_that_raters_tell_apart():
    y, x = np.array([1.0, 2.0, 3.0, 3.1]), np.array([1.0, 2.0, 2.0, 9.0])
    result = krasula(x, y, np.full(4, 0.3), 1)
    apart = [(i, j) for i in range(4) for j in range(i) if abs(y[i] - y[j]) > 1.645 * 0.3 * 2**0.5]
    right = [1.0 if x[i] > x[j] else 0.5 if x[i] == x[j] else 0.0 for i, j in apart]
    assert (result.pairs, result.pairs_total) == (6, 6)
    assert result.told_apart == pytest.approx(len(apart) / 6)
    assert result.ordered_rightly == pytest.approx(np.mean(right))


def test_krasulas_share_has_the_interval_of_its_images_or_clusters():
    a, _, y = methods(100)
    std = np.full(100, 0.4)
    alone, by_cluster = (
        krasula(a, y, std, 1, Sampling(100, None, clusters)) for clusters in (None, np.arange(100) // 5)
    )
    assert alone.ci_low < alone.ordered_rightly < alone.ci_high < 1
    rng = np.random.default_rng(0)
    draws = [krasula(a[r], y[r], std, 1).ordered_rightly for r in rng.integers(100, size=(200, 100))]
    assert alone.ci_high - alone.ci_low == pytest.approx(4 * np.std(draws), rel=0.25)
    assert by_cluster.ordered_rightly == alone.ordered_rightly and by_cluster.ci_low != alone.ci_low
    assert math.isnan(krasula(a, y, std, 1, Sampling(100, None, np.arange(100) // 30)).ci_low)
    drawn = krasula(a, y, std, 1, max_pairs=2000)
    assert drawn.pairs == 2000 and drawn.ordered_rightly == pytest.approx(alone.ordered_rightly, abs=0.05)


def test_auc_is_the_share_of_pairs():
    values, positive = np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, True, False, True])
    assert auroc(values[positive], values[~positive]) == pytest.approx(np.mean([1, 0.5, 1, 1]))
    assert math.isnan(auroc(values, values[:0]))


# --- tests of many differences at once ---


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
