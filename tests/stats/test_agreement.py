"""Correlations and every other statistic against SciPy's, the intervals' parts against numerical ones."""

import math

import numpy as np
import pytest
from scipy import stats

from magiqa.errors import UserError
from magiqa.stats.agreement import STATISTICS, agreement, by_group
from magiqa.stats.correlation import krcc, partial_srcc, plcc, ranks, srcc
from magiqa.stats.logistic import fit_logistic
from magiqa.stats.sampled import Sampled
from magiqa.stats.sampling import TESTED, Sampling

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
    assert Sampling(20, groups).statistic("srcc_within", x[None], y).values == pytest.approx(expected)


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
def test_parts_of_independent_images_are_those_of_the_delete_one_jackknife(digits):
    x, y = pair(300, 3, digits)
    given = np.random.default_rng(1).normal(size=(300, 2)) + x[:, None]
    sampling = Sampling(300)
    for statistic, value in (
        (sampling.statistic("srcc", x[None], y), lambda r: stats.spearmanr(x[r], y[r])[0]),
        (sampling.statistic("plcc", x[None], y), lambda r: np.corrcoef(x[r], y[r])[0, 1]),
        (sampling.partial(x, y, given), lambda r: partial_srcc(x[r], y[r], given[r])),
    ):
        assert squared_error(statistic) == pytest.approx(left_out(value, np.arange(300)), rel=0.06)


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

    def within_groups(r):
        return np.mean([stats.spearmanr(x[g], y[g])[0] for g in (r[groups[r] == k] for k in range(3))])

    assert squared_error(within) == pytest.approx(left_out(within_groups, unit), rel=0.3)


def test_an_interval_lies_inside_the_range_and_is_left_out_where_nothing_says_how_wide_it_is():
    x, y = pair(30, digits=9)
    ((low, high),) = Sampling(30).statistic("srcc", (y + 0.05 * x)[None], y).correlation_intervals()
    assert 0.9 < low < srcc(y + 0.05 * x, y) < high < 1
    for n, scores in ((30, y), (30, np.ones(30)), (4, x[:4])):
        statistic = Sampling(n).statistic("srcc", scores[None], y[:n])
        assert np.isnan(statistic.correlation_intervals()).all()


# --- every statistic of scores against MOS ---

RNG = np.random.default_rng(0)
X = RNG.normal(size=200)
Y = 3 + X + RNG.normal(size=200)
GROUPS, CLUSTERS = np.repeat(list("abcd"), 50), np.arange(200) % 50


@pytest.fixture(scope="module")
def result():
    return agreement(X, Y, Sampling(200, GROUPS, CLUSTERS))


def test_values_are_scipys_and_the_rows_say_how_they_were_made(result):
    rows = {row["statistic"]: row for row in result.rows()}
    assert list(rows) == list(STATISTICS)
    assert rows["srcc"]["value"] == pytest.approx(stats.spearmanr(X, Y)[0])
    assert rows["krcc"]["value"] == pytest.approx(stats.kendalltau(X, Y)[0])
    assert rows["plcc"]["value"] == pytest.approx(stats.pearsonr(X, Y)[0])
    fitted = fit_logistic(X, Y).predict(X)
    assert rows["plcc_logistic"]["value"] == pytest.approx(stats.pearsonr(fitted, Y)[0])
    assert rows["rmse_logistic"]["value"] == pytest.approx(np.sqrt(np.mean((fitted - Y) ** 2)))
    assert {name for name, row in rows.items() if row["fit"] == "logistic4, 4 parameters"} == {
        "plcc_logistic",
        "rmse_logistic",
        "plcc_logistic_cv",
    }
    assert agreement(X, Y, fit="official")["plcc_logistic"].fit == "official, 5 parameters"


def test_srcc_and_raw_plcc_have_intervals_and_the_others_a_reason(result):
    for name in STATISTICS:
        e = result[name]
        assert (e.ci_low < e.value < e.ci_high) if name in TESTED else math.isnan(e.ci_low)
        assert bool(e.withheld) != (name in TESTED)
    assert result["krcc"].withheld == "point value only"
    assert result["plcc_logistic"].withheld.startswith("a fitted value")


def test_intervals_are_by_cluster(result):
    alone = agreement(X + CLUSTERS / 10, Y + CLUSTERS / 10, fit=None)["srcc"]
    shared = agreement(X + CLUSTERS / 10, Y + CLUSTERS / 10, Sampling(200, None, CLUSTERS), fit=None)["srcc"]
    assert alone.value == shared.value and alone.ci_high - alone.ci_low < shared.ci_high - shared.ci_low


def test_groups_show_how_much_depends_on_which_they_are(result):
    left = [stats.spearmanr(X[g != GROUPS], Y[g != GROUPS])[0] for g in "abcd"]
    e = result["srcc"]
    assert (e.loo_group_low, e.loo_group_high) == pytest.approx((min(left), max(left)))
    assert math.isnan(e.ci_groups_low)  # four groups say too little
    five = agreement(X, Y, Sampling(200, np.arange(200) % 5), fit=None)["plcc"]
    assert five.ci_groups_low < five.value < five.ci_groups_high


@pytest.mark.parametrize(
    "scores, labels, why",
    [
        ([1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6], "undefined: all scores are equal"),
        ([1, 2, 3, 4, 5, 6], [2, 2, 2, 2, 2, 2], "undefined: all labels are equal"),
        ([1, 2, 3, 4], [1, 2, 4, 3], "4 images, fewer than 5"),
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], "too little varies for an interval"),
    ],
)
def test_a_correlation_without_an_interval_says_why(scores, labels, why):
    assert agreement(scores, labels, fit=None)["srcc"].withheld == why


@pytest.mark.slow
def test_an_unrelated_score_fits_well_in_sample_but_not_out_of_fold():
    rng = np.random.default_rng(1)
    results = [agreement(rng.normal(size=60), rng.normal(size=60)) for _ in range(15)]
    inside, outside = (np.mean([r[s].value for r in results]) for s in ("plcc_logistic", "plcc_logistic_cv"))
    assert inside > 0.15 and abs(outside) < 0.12
    assert math.isnan(agreement(X[:40], Y[:40])["plcc_logistic_cv"].value)  # folds of fewer than ten


def test_by_group_is_agreement_inside_each():
    rows = list(by_group(X, Y, Sampling(200, GROUPS, CLUSTERS)))
    assert [(r["group"], r["statistic"]) for r in rows[:4]] == [
        ("a", "srcc"), ("a", "krcc"), ("a", "plcc"), ("b", "srcc"),
    ]  # fmt: skip
    inside = agreement(X[:50], Y[:50], Sampling(50, None, CLUSTERS[:50]), fit=None)["srcc"]
    assert (rows[0]["value"], rows[0]["ci_low"]) == pytest.approx((inside.value, inside.ci_low))
    assert rows[0]["value"] == pytest.approx(stats.spearmanr(X[:50], Y[:50])[0])
