"""Paired tests have the right size and power; ceilings and controls recover what was simulated."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from magiqa.errors import UserError
from magiqa.stats.bootstrap import bootstrap_many, interval, resample_counts
from magiqa.stats.content import group_distance
from magiqa.stats.correlation import partial_srcc, plcc, srcc
from magiqa.stats.paired import bootstrap_p, compare, holm, meng, paired, regimes, resamples_for
from magiqa.stats.raters import krasula, noise_ceiling
from magiqa.stats.selection import crossval_linear, halves


def methods(
    rng: np.random.Generator, n: int, each: int = 1, worse: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two methods that correlate about 0.9 and agree equally well (b worse by added noise), labels, clusters."""

    def shared(scale: float) -> np.ndarray:
        return scale * rng.normal(size=n // each).repeat(each)

    quality = rng.normal(size=n) + (shared(0.7) if each > 1 else 0)
    common = 0.75 * rng.normal(size=n) + (shared(0.5) if each > 1 else 0)
    own = [0.4 * rng.normal(size=n) + (shared(0.4) if each > 1 else 0) for _ in range(2)]
    a, b = (quality + common + e for e in own)
    return a, b + worse * rng.normal(size=n), quality + 0.3 * rng.normal(size=n), np.arange(n) // each


class TestPaired:
    def test_difference_is_of_the_values_and_turns_with_the_order(self):
        a, b, y, _ = methods(np.random.default_rng(0), 150, worse=1.0)
        for statistic, value in (("srcc", srcc), ("plcc", plcc)):
            ab, ba = (paired(*s, y, statistic=statistic, resamples=300) for s in ((a, b), (b, a)))
            assert ab.diff == pytest.approx(value(a, y) - value(b, y))
            assert (ab.ci_low, ab.ci_high) == (pytest.approx(-ba.ci_high), pytest.approx(-ba.ci_low))
            assert (ab.p, ab.n) == (ba.p, 150)

    def test_interval_is_the_percentile_interval_of_differences_ranked_anew(self):
        a, b, y, _ = methods(np.random.default_rng(0), 60)
        a, y = a.round(0), y.round(0)
        differences = []
        for c in resample_counts(60, resamples=200, seed=9):
            drawn = np.repeat(np.arange(60), c)
            differences.append(
                stats.spearmanr(a[drawn], y[drawn]).statistic - stats.spearmanr(b[drawn], y[drawn]).statistic
            )
        result = paired(a, b, y, resamples=200, seed=9)
        assert (result.ci_low, result.ci_high) == pytest.approx(
            np.quantile(differences, [0.025, 0.975]), abs=1e-9
        )

    def test_a_method_does_not_differ_from_itself(self):
        a, _, y, _ = methods(np.random.default_rng(0), 50)
        result = paired(a, np.exp(a), y, resamples=200)
        assert (result.diff, result.p) == (pytest.approx(0, abs=1e-12), 1.0)

    def test_p_agrees_with_the_interval(self):
        rng = np.random.default_rng(2)
        for trial in range(40):
            a, b, y, clusters = methods(rng, 60, each=3, worse=0.5 * (trial % 3))
            for names in (None, clusters):
                result = paired(a, b, y, clusters=names, resamples=999, seed=trial)
                if abs(result.p - 0.05) > 0.004:
                    assert (result.p < 0.05) == (result.ci_low > 0 or result.ci_high < 0)

    def test_p_has_a_floor(self):
        y = np.arange(60.0)
        assert paired(y, -y, y, resamples=199).p == pytest.approx(2 / 200)
        assert bootstrap_p(np.linspace(-1, 3, 1000)) == pytest.approx(0.5, abs=0.01)
        assert math.isnan(bootstrap_p(np.full(100, np.nan)))

    def test_pairing_shortens_the_interval(self):
        a, b, y, _ = methods(np.random.default_rng(3), 400)
        result = paired(a, b, y, resamples=500)
        alone = [
            bootstrap_many("srcc", s[None], y, resample_counts(400, resamples=500, seed=k))[0]
            for k, s in enumerate((a, b))
        ]
        low, high = interval(alone[0] - alone[1])
        assert result.ci_high - result.ci_low < 0.6 * (high - low)

    def test_within_groups_needs_them(self):
        y = np.arange(9.0)
        with pytest.raises(UserError, match="srcc_within needs groups"):
            paired(y, y, y, statistic="srcc_within")
        groups = np.tile(["a", "b", "c"], 3)
        assert paired(y, -y, y, statistic="srcc_within", groups=groups, resamples=50).diff == pytest.approx(2)

    @pytest.mark.slow
    @pytest.mark.parametrize("ties, each", [(False, 1), (True, 1), (False, 4), (True, 4)])
    def test_equal_methods_are_called_different_in_one_of_twenty(self, ties, each):
        rng, trials = np.random.default_rng(4), 500
        called, alike = 0, []
        for trial in range(trials):
            a, b, y, clusters = methods(rng, 160, each)
            if ties:
                a, b, y = (s.round(0) for s in (a, b, y))
            alike.append(plcc(a, b))
            called += (
                paired(a, b, y, clusters=clusters if each > 1 else None, resamples=399, seed=trial).p < 0.05
            )
        assert np.mean(alike) == pytest.approx(0.9, abs=0.06)
        low, high = stats.binom.ppf([0.001, 0.999], trials, 0.05) / trials
        assert low - 0.005 <= called / trials <= high

    @pytest.mark.slow
    def test_images_that_share_clusters_resampled_alone_would_be_called_different_too_often(self):
        rng, trials, called = np.random.default_rng(5), 200, np.zeros(2)
        for trial in range(trials):
            a, b, y, clusters = methods(rng, 200, each=20)
            called += [
                paired(a, b, y, clusters=c, resamples=299, seed=trial).p < 0.05 for c in (None, clusters)
            ]
        assert called[0] / trials > 0.12 and called[1] / trials < 0.08

    @pytest.mark.slow
    def test_a_true_difference_is_found_with_the_power_of_theory(self):
        rng, trials, worse = np.random.default_rng(6), 300, 0.55
        differences, called = [], 0
        for trial in range(trials):
            a, b, y, _ = methods(rng, 200, worse=worse)
            result = paired(a, b, y, resamples=399, seed=trial)
            differences.append(result.diff)
            called += result.p < 0.05
        # power of a two-sided normal test with the difference's true mean and spread
        power = stats.norm.sf(1.96 - np.mean(differences) / np.std(differences))
        assert 0.4 < power < 0.95
        assert called / trials == pytest.approx(power, abs=0.1)


class TestCompare:
    def test_all_pairs_share_resamples_and_a_correction(self):
        a, b, y, _ = methods(np.random.default_rng(0), 100, worse=1.0)
        rows = compare({"a": a, "b": b, "noise": -y}, y, resamples=300, seed=2)
        assert [(r.a, r.b) for r in rows] == [("a", "b"), ("a", "noise"), ("b", "noise")]
        assert rows[0].test == paired(a, b, y, resamples=300, seed=2)
        np.testing.assert_allclose([r.p_holm for r in rows], holm([r.test.p for r in rows]))

    def test_against_a_reference(self):
        a, b, y, _ = methods(np.random.default_rng(0), 100)
        rows = compare({"a": a, "b": b, "c": y}, y, reference="b", resamples=100)
        assert [(r.a, r.b) for r in rows] == [("a", "b"), ("c", "b")]
        with pytest.raises(UserError, match="reference=d is not among the compared scores: a, b"):
            compare({"a": a, "b": b}, y, reference="d")

    def test_scores_of_other_images_are_refused(self):
        with pytest.raises(UserError, match="same images"):
            compare({"a": [1, 2, 3], "b": [1, 2]}, [1, 2, 3])


def test_holm_is_the_step_down_procedure():
    p = np.array([0.04, 0.001, np.nan, 0.03, 0.2, 0.02])
    adjusted = holm(p)
    # by its definition: walk up the sorted p until one fails
    for alpha in (0.01, 0.05, 0.06, 0.1, 0.3):
        rejected, known = set(), [i for i in np.argsort(p) if np.isfinite(p[i])]
        for step, i in enumerate(known):
            if p[i] > alpha / (len(known) - step):
                break
            rejected.add(i)
        assert {i for i in known if adjusted[i] <= alpha + 1e-12} == rejected
    assert math.isnan(adjusted[2])
    assert holm([]).shape == (0,)


def test_meng_is_the_published_formula():
    # z for r = 0.63 and 0.42, predictors' correlation 0.34, n = 203 (rank correlations stand in for Pearson's)
    a, b, y, _ = methods(np.random.default_rng(1), 203, worse=1.0)
    ra, rb, rx = srcc(a, y), srcc(b, y), srcc(a, b)
    mean = (ra**2 + rb**2) / 2
    f = min((1 - rx) / (2 * (1 - mean)), 1)
    expected = (math.atanh(ra) - math.atanh(rb)) * math.sqrt(
        200 * (1 - mean) / (2 * (1 - rx) * (1 - f * mean))
    )
    z, p = meng(a, b, y)
    assert (z, p) == (pytest.approx(expected), pytest.approx(2 * stats.norm.sf(abs(expected))))
    assert meng(a, a, y) == (0.0, 1.0)


def test_regimes_are_paired_tests_inside_bins():
    a, b, y, _ = methods(np.random.default_rng(0), 300, worse=1.0)
    y = y.round(1)
    rows = regimes(a, b, y, bins=3, resamples=200)
    assert sum(r.test.n for r in rows) == 300
    assert all(first.high < second.low for first, second in pairwise(rows))
    inside = (y >= rows[1].low) & (y <= rows[1].high)
    assert rows[1].test == paired(a[inside], b[inside], y[inside], resamples=200)
    with pytest.raises(UserError, match="bins=200: bin"):
        regimes(a, b, y, bins=200)


class TestRaters:
    @staticmethod
    def panel(n: int = 1500, seed: int = 0, ratings: int = 20) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(seed)
        truth, spread = rng.normal(size=n), rng.uniform(1.0, 3.0, n)
        votes = truth[:, None] + spread[:, None] * rng.normal(size=(n, ratings))
        return truth, votes.mean(axis=1), votes.std(axis=1, ddof=1)

    def test_noise_ceiling_is_what_the_truth_reaches(self):
        truth, mos, std = self.panel()
        _, other, _ = self.panel(seed=1)
        rng = np.random.default_rng(8)
        other = truth + rng.uniform(1.0, 3.0, 1500) / math.sqrt(20) * rng.normal(size=1500)
        ceiling = noise_ceiling(mos, std, 20)
        assert ceiling.srcc == pytest.approx(srcc(truth, mos), abs=0.01)
        assert ceiling.panel == pytest.approx(srcc(mos, other), abs=0.02)
        assert ceiling.low < ceiling.srcc < ceiling.high
        assert ceiling.reliability == pytest.approx(plcc(truth, mos) ** 2, abs=0.02)
        assert noise_ceiling(mos, std, 20) == ceiling

    @pytest.mark.slow
    def test_more_ratings_raise_it_and_standard_errors_can_be_given(self):
        _, mos, std = self.panel()
        assert noise_ceiling(mos, std, 80).srcc > noise_ceiling(mos, std, 20).srcc
        assert noise_ceiling(mos, std / math.sqrt(20), 1).srcc == pytest.approx(
            noise_ceiling(mos, std, 20).srcc
        )

    def test_noise_beyond_the_labels_is_refused(self):
        _, mos, std = self.panel()
        with pytest.raises(UserError, match="not above that of their noise"):
            noise_ceiling(mos, std, 1)
        with pytest.raises(UserError, match="label_std must be one finite number"):
            noise_ceiling(mos, np.full(1500, np.nan), 20)
        with pytest.raises(UserError, match="ratings must be a number >= 1"):
            krasula(mos, mos, std, 0)

    def test_krasula_by_hand(self):
        # error 0.5 each: told apart beyond 1.96 sqrt(0.5) = 1.386, which leaves (0, 2), (0, 3), (1, 3)
        result = krasula([1.0, 0.0, 1.0, 3.0], [0.0, 1.0, 2.0, 3.0], [0.5] * 4, 1, resamples=50)
        apart = {(0, 2): 0.0, (0, 3): 2.0, (1, 3): 3.0}
        others = [1.0, 1.0, 2.0]
        assert result.told_apart == pytest.approx(3 / 6)
        assert result.ordered_rightly == pytest.approx(2.5 / 3)
        wins = [(d > o) + 0.5 * (d == o) for d in apart.values() for o in others]
        assert result.auc_different == pytest.approx(np.mean(wins))
        assert (result.pairs, result.pairs_total) == (6, 6)

    def test_krasula_of_good_and_inverted_scores(self):
        truth, mos, std = self.panel(n=300)
        good, bad = (krasula(s * truth, mos, std, 20, resamples=200) for s in (1, -1))
        assert good.ordered_rightly > 0.98 and good.auc_better > 0.98
        assert bad.ordered_rightly == pytest.approx(1 - good.ordered_rightly)
        assert bad.auc_different == pytest.approx(good.auc_different)
        assert krasula(np.exp(truth), mos, std, 20).ordered_rightly == good.ordered_rightly

    def test_krasula_draws_pairs_where_there_are_too_many(self):
        truth, mos, std = self.panel(n=400)
        noisy = truth + np.random.default_rng(0).normal(size=400)
        whole, drawn = krasula(noisy, mos, std, 20), krasula(noisy, mos, std, 20, max_pairs=20_000)
        assert (drawn.pairs, drawn.pairs_total) == (20_000, whole.pairs)
        assert drawn.ordered_rightly == pytest.approx(whole.ordered_rightly, abs=0.015)
        assert drawn.told_apart == pytest.approx(whole.told_apart, abs=0.015)

    @pytest.mark.slow
    def test_krasulas_interval_is_that_of_resampled_images(self):
        truth, mos, std = self.panel(n=150)
        noisy = truth + np.random.default_rng(0).normal(size=150)
        result = krasula(noisy, mos, std, 20)
        draws = []
        for c in resample_counts(150, resamples=400, seed=5):
            drawn = np.repeat(np.arange(150), c)
            draws.append(krasula(noisy[drawn], mos[drawn], std[drawn], 20, resamples=2).ordered_rightly)
        assert (result.ci_low, result.ci_high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.015)


class TestPartial:
    def test_equals_the_formula_of_first_order(self):
        rng = np.random.default_rng(0)
        z = rng.normal(size=80)
        x, y = z + rng.normal(size=80), -z + rng.normal(size=80)
        xy, xz, yz = srcc(x, y), srcc(x, z), srcc(y, z)
        expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
        assert partial_srcc(x, y, z) == pytest.approx(expected)

    def test_a_common_cause_is_taken_out(self):
        rng = np.random.default_rng(0)
        z = rng.normal(size=2000)
        x, y = z + 0.5 * rng.normal(size=2000), z + 0.5 * rng.normal(size=2000)
        assert srcc(x, y) > 0.7
        assert abs(partial_srcc(x, y, np.stack([z, rng.normal(size=2000)], axis=1))) < 0.1

    def test_nothing_left_is_undefined(self):
        x = np.random.default_rng(0).normal(size=30)
        assert math.isnan(partial_srcc(x, x[::-1], np.exp(x)))


def test_group_distance_against_its_chance():
    rng = np.random.default_rng(0)
    groups = np.repeat(["a", "b"], 200)
    shift = 3.0 * (groups == "b")
    alike, apart = (
        group_distance(rng.normal(size=400), groups),
        group_distance(rng.normal(size=400) + shift, groups),
    )
    assert alike.distance < 3 * alike.chance
    assert apart.distance > 10 * apart.chance
    values = rng.normal(size=400) + shift
    expected = stats.wasserstein_distance(values[:200], values[200:]) / values.std()
    assert group_distance(values, groups).distance == pytest.approx(expected)
    assert math.isnan(group_distance(values, ["one"] * 400).distance)


def test_group_distance_is_scipys_over_all_pairs():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 300, 6000) / 7.0  # ties, more than one block
    groups = rng.choice(["a", "b", "c", "d"], p=[0.7, 0.2, 0.09, 0.01], size=6000)
    parts = [values[groups == g] for g in "abcd"]
    pairs = [stats.wasserstein_distance(a, b) for i, a in enumerate(parts) for b in parts[i + 1 :]]
    assert group_distance(values, groups).distance == pytest.approx(np.mean(pairs) / values.std())


@pytest.mark.parametrize("clusters", [None, 12, 30, 300])
@pytest.mark.parametrize("p", [0.05, 0.005])
def test_the_resamples_that_a_p_needs_are_those_that_reach_it(clusters, p):
    needed = resamples_for(p, clusters)
    assert needed is not None
    # all resamples on one side of 0: the smallest p there is
    assert bootstrap_p(np.ones(needed), clusters) < p
    assert bootstrap_p(np.ones(needed - 1), clusters) >= p


class TestGrid:
    def test_halves_complete_each_other_and_keep_clusters_whole(self):
        clusters = np.repeat(np.arange(10), 3)
        rows = halves(30, clusters=clusters, splits=7)
        np.testing.assert_array_equal(rows[:7] + rows[7:], 1)
        assert (rows.reshape(14, 10, 3) == rows.reshape(14, 10, 3)[:, :, :1]).all()
        assert (rows.sum(axis=1) == 15).all()


class TestCrossval:
    def test_recovers_weights_and_predicts_what_it_did_not_see(self):
        rng = np.random.default_rng(0)
        cues = rng.normal(size=(400, 2)) * [1.0, 10.0]
        y = 2 * cues[:, 0] - 0.1 * cues[:, 1] + 0.1 * rng.normal(size=400)
        result = crossval_linear(cues, y)
        assert result.weights == pytest.approx([2, -1], abs=0.1)
        assert srcc(result.predictions, y) == pytest.approx(result.srcc, abs=0.01)
        assert result.srcc > 0.98

    def test_noise_predicts_nothing(self):
        rng = np.random.default_rng(0)
        assert abs(crossval_linear(rng.normal(size=(300, 30)), rng.normal(size=300)).srcc) < 0.15

    def test_folds_too_small_to_rank_have_no_srcc(self):
        rng = np.random.default_rng(0)
        assert np.isnan(crossval_linear(rng.normal(size=(12, 2)), rng.normal(size=12)).srcc)
        assert np.isfinite(crossval_linear(rng.normal(size=(12, 2)), rng.normal(size=12), 4).srcc)

    def test_clusters_stay_in_one_fold(self):
        # a cue that names the cluster predicts only where the cluster was seen
        rng = np.random.default_rng(0)
        clusters = np.repeat(np.arange(20), 10)
        names, y = np.eye(20)[clusters], rng.normal(size=20)[clusters]
        assert crossval_linear(names, y + 0.01 * rng.normal(size=200)).srcc > 0.9
        assert abs(crossval_linear(names, y, clusters=clusters).predictions - y).mean() > 0.5
        with pytest.raises(
            UserError, match="folds=30 must lie between 2 and the number of images or clusters, 20"
        ):
            crossval_linear(names, y, 30, clusters=clusters)
