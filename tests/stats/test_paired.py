"""Paired tests have the right size and power; ceilings and controls recover what was simulated."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from magiqa.errors import UserError
from magiqa.stats.agreement import agreement
from magiqa.stats.bootstrap import bootstrap_many, resample_counts
from magiqa.stats.content import alike, group_distance
from magiqa.stats.correlation import partial_srcc, plcc, srcc
from magiqa.stats.intervals import interval, mean_band
from magiqa.stats.paired import bins, compare, paired
from magiqa.stats.raters import krasula, noise_ceiling
from magiqa.stats.selection import crossval_linear, excess, halves
from magiqa.stats.variants import statistics


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

    def test_interval_and_p_are_the_resampled_deviations_in_their_own_spread(self):
        a, b, y, _ = methods(np.random.default_rng(0), 60)
        a, y = a.round(0), y.round(0)
        differences = []
        for c in resample_counts(60, resamples=199, seed=9):
            drawn = np.repeat(np.arange(60), c)
            differences.append(
                stats.spearmanr(a[drawn], y[drawn]).statistic - stats.spearmanr(b[drawn], y[drawn]).statistic
            )
        result = paired(a, b, y, resamples=199, seed=9)
        spread = np.std(differences, ddof=1)
        off = np.abs(differences - np.mean(differences)) / spread
        tail = stats.norm.sf(
            np.sort(off)[-9]
        )  # 9 of 199 may reach it: (1 + 9) / 200 is not under 0.05, (1 + 8) / 200 is
        half = stats.t.isf(tail, 59) * math.sqrt(60 / 59) * spread
        assert (result.ci_low, result.ci_high) == pytest.approx(
            (result.diff - half, result.diff + half), abs=1e-9
        )
        t = stats.norm.isf(stats.t.sf(abs(result.diff) / spread * math.sqrt(59 / 60), 59))
        assert result.p == pytest.approx((1 + (off >= t).sum()) / 200)

    def test_a_method_does_not_differ_from_itself(self):
        a, _, y, _ = methods(np.random.default_rng(0), 50)
        result = paired(a, np.exp(a), y, resamples=200)
        assert result.diff == pytest.approx(0, abs=1e-12)
        assert math.isnan(result.p) and result.withheld == "never differ"

    def test_p_agrees_with_the_interval(self):
        rng = np.random.default_rng(2)
        for trial in range(40):
            a, b, y, clusters = methods(rng, 60, each=3, worse=0.5 * (trial % 3))
            for names in (None, clusters):
                result = paired(a, b, y, clusters=names, resamples=999, seed=trial)
                assert (result.p < 0.05) == (result.ci_low > 0 or result.ci_high < 0)

    def test_p_has_a_floor(self):
        y = np.arange(60.0)
        assert paired(y, -y, y + y % 7, resamples=199).p == pytest.approx(1 / 200)
        found = paired(y, -y, y, resamples=199)
        assert found.withheld == "the same difference in every resample"
        assert found.diff == pytest.approx(2) and np.isnan([found.p, found.ci_low, found.ci_high]).all()

    def test_four_clusters_have_no_p_and_say_why(self):
        a, b, y, _ = methods(np.random.default_rng(0), 60, worse=2.0)
        few, enough = (paired(a, b, y, clusters=np.arange(60) % k, resamples=99) for k in (4, 5))
        assert math.isnan(few.p) and few.withheld == "4 clusters, fewer than 5"
        assert np.isfinite(enough.p) and not enough.withheld

    def test_pairing_shortens_the_interval(self):
        a, b, y, _ = methods(np.random.default_rng(3), 400)
        result = paired(a, b, y, resamples=500)
        alone = [
            bootstrap_many("srcc", s[None], y, resample_counts(400, resamples=500, seed=k))[0]
            for k, s in enumerate((a, b))
        ]
        low, high = interval(alone[0] - alone[1], 400)
        assert result.ci_high - result.ci_low < 0.6 * (high - low)

    def test_within_groups_n_is_that_of_the_groups_that_count(self):
        a, b, y, _ = methods(np.random.default_rng(4), 60)
        groups = np.array(
            ["p"] * 15 + ["q"] * 15 + [f"r{k // 2}" for k in range(30)]
        )  # pairs: no SRCC in them
        counted = agreement(a, y, groups=groups, resamples=50)["srcc_within"].n
        found = paired(a, b, y, statistic="srcc_within", groups=groups, resamples=50)
        assert found.n == counted == 30 and found.withheld == ""
        table = statistics(np.stack([a, b]), y, 0, groups=groups, resamples=50)
        assert table["n"].tolist() == [60, 60] and table["n_within"].tolist() == [30, 30]

    def test_methods_that_count_in_other_groups_are_not_tested(self):
        a, b, y, _ = methods(np.random.default_rng(4), 60)
        groups = np.repeat(["p", "q", "r"], 20)
        b[:20] = 1.0  # it says nothing in p
        found = paired(a, b, y, statistic="srcc_within", groups=groups, resamples=50)
        assert (found.n, found.withheld) == (40, "defined in other groups than what it is compared with")
        assert np.isnan([found.ci_low, found.ci_high, found.p]).all()
        table = statistics(np.stack([a, b]), y, 0, groups=groups, resamples=50)
        assert np.isnan(table.loc[1, ["diff_within", "diff_within_low", "p_within"]].astype(float)).all()
        assert table.loc[1, "withheld"] == f"scores too skewed for an interval of PLCC; {found.withheld}"
        assert np.isfinite(table.loc[1, "diff"])

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
        assert all(r.p_adjusted >= r.test.p for r in rows)

    def test_against_a_reference(self):
        a, b, y, _ = methods(np.random.default_rng(0), 100)
        rows = compare({"a": a, "b": b, "c": y}, y, reference="b", resamples=100)
        assert [(r.a, r.b) for r in rows] == [("a", "b"), ("c", "b")]
        with pytest.raises(UserError, match="reference=d is not among the compared scores: a, b"):
            compare({"a": a, "b": b}, y, reference="d")

    def test_scores_of_other_images_are_refused(self):
        with pytest.raises(UserError, match="same images"):
            compare({"a": [1, 2, 3], "b": [1, 2]}, [1, 2, 3])


def test_bins_hold_every_image_once_and_equal_labels_together():
    y = np.random.default_rng(0).normal(size=300).round(1)
    found = bins(y, 3)
    assert sorted(np.concatenate([rows for *_, rows in found])) == list(range(300))
    assert all(first[1] < second[0] for first, second in pairwise(found))
    with pytest.raises(UserError, match="bins=200: bin"):
        bins(y, 200)


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
        # error 0.5 each: told apart beyond 1.645 sqrt(0.5) = 1.163, which leaves (0, 2), (0, 3), (1, 3)
        result = krasula([1.0, 0.0, 1.0, 3.0], [0.0, 1.0, 2.0, 3.0], [0.5] * 4, 1, resamples=50)
        narrow, wide = (
            krasula([1.0, 0.0, 1.0, 3.0], [0.0, 1.3, 2.0, 3.0], [0.5] * 4, 1, level=v) for v in (0.90, 0.95)
        )
        assert (narrow.told_apart, wide.told_apart) == (4 / 6, 3 / 6)  # 1.3 lies between 1.163 and 1.386
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


def test_chance_of_a_crossed_design_is_shuffled_within_it():
    rng = np.random.default_rng(2)
    prompts, generators = np.repeat(np.arange(60), 8), np.tile(np.arange(8), 60)
    values = 3.0 * generators + rng.normal(size=480)  # prompts alike, generators not
    free = group_distance(values, prompts, permutations=99)
    held = group_distance(values, prompts, within=generators, permutations=99)
    assert free.distance < 0.8 * free.chance  # why chance within the design is needed
    assert held.distance == free.distance == pytest.approx(held.chance, rel=0.1) and held.p > 0.01
    shifted = values + 2.0 * rng.normal(size=60)[prompts]
    assert group_distance(shifted, prompts, within=generators, permutations=99).p == pytest.approx(0.01)


class TestExcess:
    def test_it_is_signed_and_seeds_are_part_of_its_variance(self):
        rng = np.random.default_rng(0)
        draws, nulls = -0.2 + 0.01 * rng.normal(size=500), np.array([0.1, -0.1, 0.06])
        null_draws = nulls[:, None] + 0.01 * rng.normal(size=(3, 500))
        found = excess(-0.2, draws, nulls, null_draws, 300)
        assert found.value == pytest.approx(-0.22)
        alone = np.ptp(np.quantile(draws - null_draws.mean(axis=0), [0.025, 0.975]))
        assert found.high - found.low > 5 * alone
        one = excess(-0.2, draws, nulls[:1], null_draws[:1], 300)
        assert math.isnan(one.low) and one.withheld == "one seed: nothing says how seeds differ"

    def test_it_covers_the_mean_over_all_seeds(self):
        rng, held, trials = np.random.default_rng(1), 0, 400
        for _ in range(trials):
            error = 0.03 * rng.normal(size=4)  # of the images, each score its own
            nulls = 0.08 * rng.normal(size=3) + error[1:]
            draws = 0.03 * rng.normal(size=(4, 300))
            found = excess(0.3 + error[0], draws[0], nulls, draws[1:], 200)
            held += found.low <= 0.3 <= found.high
        assert held / trials > 0.92


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
        assert srcc(result.scores, y) == pytest.approx(result.srcc, abs=0.01)
        assert result.srcc > 0.98

    def test_useless_cues_are_not_ranked_backwards(self):
        rng = np.random.default_rng(3)
        clusters, found = np.repeat(np.arange(16), 8), []
        for _ in range(40):
            y = rng.normal(size=16)[clusters] + rng.normal(size=128)
            found.append(srcc(crossval_linear(rng.normal(size=(128, 2)), y, clusters=clusters).scores, y))
        assert abs(np.mean(found)) < 0.08  # with the folds' own constants -0.37

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
        cues, moved = rng.normal(size=(200, 2)), y + 100.0 * (clusters == 7)
        before, after = (crossval_linear(cues, v, clusters=clusters).scores for v in (y, moved))
        assert (before == after)[clusters == 7].all() and (before != after).any()
        with pytest.raises(
            UserError, match="folds=30 must lie between 2 and the number of images or clusters, 20"
        ):
            crossval_linear(names, y, 30, clusters=clusters)


def test_strata_of_like_labels_lie_inside_what_they_are_asked_to():
    y = np.random.default_rng(0).normal(size=46)
    kinds = np.arange(46) % 2
    found = alike(y, kinds, size=5)
    for k in (0, 1):
        inside = found[kinds == k][np.argsort(y[kinds == k])]
        assert (np.diff(inside) >= 0).all() and set(np.bincount(inside)[np.unique(inside)]) <= {5, 6}
    assert not set(found[kinds == 0]) & set(found[kinds == 1])
    assert len(set(alike(y, size=50))) == 1


def test_values_that_follow_the_label_alone_do_not_differ_given_it():
    rng, given, shuffled_at_large = np.random.default_rng(1), [], []
    groups = np.repeat(np.arange(8), 12)
    for trial in range(40):
        y = 2 * rng.normal(size=8)[groups] + rng.normal(size=96)
        x = y + np.exp(y / 2) * rng.normal(size=96)  # its spread follows too
        for p, within in ((given, alike(y)), (shuffled_at_large, None)):
            p.append(group_distance(x - y, groups, within=within, permutations=39, seed=trial).p)
    assert np.mean(np.array(given) <= 0.05) < 0.2 and np.mean(given) > 0.35
    assert np.mean(np.array(shuffled_at_large) <= 0.05) > 0.7


def test_means_of_few_images_have_wide_intervals_and_of_four_none():
    values = np.random.default_rng(0).normal(size=300)
    counts = resample_counts(300, resamples=400)
    widths = []
    for n in (4, 6, 100):
        at = np.arange(300) < n
        low, high = mean_band(values, counts, at)
        drawn = np.array([np.repeat(values[at], c[at]).mean() if c[at].any() else np.nan for c in counts])
        if n == 4:
            assert np.isnan([low, high]).all()
            continue
        plain = np.nanquantile(drawn, [0.025, 0.975])
        widths.append((high - low) / np.ptp(plain))
    assert widths[0] > 1.15 and widths[1] == pytest.approx(1.0, abs=0.05)
    clusters = np.arange(300) % 4
    assert np.isnan(mean_band(values, resample_counts(300, clusters), values < 9, clusters)).all()
