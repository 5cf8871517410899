"""Every statistic of scores against labels."""

import math

import numpy as np
import pytest
from scipy import stats

from magiqa.stats.agreement import STATISTICS, agreement, by_group
from magiqa.stats.logistic import fit_logistic
from magiqa.stats.sampling import TESTED, Sampling

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
