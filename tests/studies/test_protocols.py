"""Protocols that reviewers ask for equal independent computations: splits, pristine, few labels, gMAD, across sets."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import runs
import tiny
from PIL import Image
from scipy.special import logit
from scipy.stats import mannwhitneyu, pearsonr, spearmanr, t

from magiqa.errors import UserError
from magiqa.runs.record import Clock
from magiqa.stats.paired import mean_over_sets
from magiqa.stats.sampled import auroc_interval
from magiqa.studies.compare import compare, gmad_pairs
from magiqa.studies.evaluate import evaluate
from magiqa.studies.experiments.labels import ALPHAS, image_features, level_srcc, linear, ridge
from magiqa.studies.experiments.study import Study, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny set as six scenes at four levels of one distortion, and each scene's pristine image."""
    made = tiny.make(tmp_path_factory.mktemp("protocols"))
    labels = pd.read_csv(made / "set" / "labels.csv", dtype={"image": str})
    labels["scene"], labels["gen"] = [f"s{i % 6}" for i in range(24)], "noise"
    labels["level"] = [1 + i // 6 for i in range(24)]
    labels.to_csv(made / "set" / "labels.csv", index=False)
    (made / "set" / "originals").mkdir()
    rng = np.random.default_rng(8)
    for k in range(6):
        pixels = rng.integers(0, 256, (96, 128, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(made / "set" / "originals" / f"S{k}.png")
    return made


def overrides(folder, out, *more):
    return tiny.overrides(folder, f"out={out}", "dataset.reference_column=scene", *more)


def experiment(folder, name, out, *more):
    args = overrides(folder, out, f"experiment={name}", "figures=true", *more)
    return run(tiny.configs().job(args), tiny.configs().composer(args, packaged=True), progress=False)


@pytest.mark.slow
def test_splits_stand_beside_the_whole_set(folder, tmp_path):
    keys = ["splits.repeats=7", "splits.share=0.34", "splits.seed=4"]
    table, _ = evaluate(tiny.configs().job(overrides(folder, tmp_path / "run", *keys)), progress=False)
    scores = pd.read_csv(tmp_path / "run" / "scores.csv")
    splits = pd.read_csv(tmp_path / "run" / "splits.csv").set_index(["score", "statistic"])
    names, rng, values = sorted(scores["reference"].unique()), np.random.default_rng(4), []
    for _ in range(7):
        part = scores[scores["reference"].isin([names[i] for i in rng.permutation(6)[:2]])]
        values.append((spearmanr(part["q"], part["mos"])[0], pearsonr(part["q"], part["mos"])[0]))
    for statistic, own in zip(("srcc", "plcc"), np.array(values).T, strict=True):
        row = splits.loc[("q", statistic), ["n", "parts", "median", "mean", "sd"]].tolist()
        assert row == pytest.approx([8, 7, np.median(own), own.mean(), own.std(ddof=1)], abs=1e-9)
    whole = table.set_index(["score", "statistic"]).loc[("q", "srcc"), "ci_low"]
    assert splits.loc[("q", "srcc"), "ci_low"] == pytest.approx(whole)
    (tmp_path / "a.txt").write_text("\n".join(f"{i:02d}.png" for i in range(9)))
    np.save(tmp_path / "b.npy", np.arange(5, 12)[None])
    keys = [f"splits.files=[{tmp_path}/a.txt,{tmp_path}/b.npy]"]
    evaluate(tiny.configs().job(overrides(folder, tmp_path / "lists", *keys)), progress=False)
    row = pd.read_csv(tmp_path / "lists" / "splits.csv").set_index(["score", "statistic"]).loc[("q", "srcc")]
    own = [spearmanr(scores["q"][part], scores["mos"][part])[0] for part in (slice(0, 9), slice(5, 12))]
    assert row["median"] == pytest.approx(np.mean(own), abs=1e-9)
    wrong = tiny.configs().job(overrides(folder, tmp_path / "no", "splits.repeats=2", "splits.by=prompt"))
    with pytest.raises(UserError, match=r"splits.by=prompt: dataset set has no prompt"):
        evaluate(wrong, progress=False)


@pytest.mark.slow
def test_pristine_equals_mann_whitney(folder, tmp_path):
    experiment(folder, "pristine", tmp_path / "e")
    table = pd.read_csv(tmp_path / "e" / "pristine.csv").set_index("score")
    assert (table["references"].tolist(), table["distorted"].tolist()) == ([6] * 5, [24] * 5)
    originals = tmp_path / "originals.csv"
    lines = [f"originals/S{k}.png,{k}" for k in range(6)]
    originals.write_text("\n".join(["image,mos", *lines]))
    keys = ["dataset.group_column=null", "dataset.mos_std_column=null", f"dataset.annotation={originals}"]
    evaluate(tiny.job(folder, *keys, f"out={tmp_path / 'p'}"), progress=False)
    evaluate(tiny.configs().job(overrides(folder, tmp_path / "d")), progress=False)
    pristine, distorted = (pd.read_csv(tmp_path / name / "scores.csv") for name in "pd")
    for name in table.index:
        u = mannwhitneyu(pristine[name], distorted[name]).statistic / (6 * 24)
        assert table.loc[name, "auroc"] == pytest.approx(u, abs=1e-9)
    assert (tmp_path / "e" / "figures" / "auroc.png").is_file()


@pytest.mark.slow
def test_pristine_says_which_references_are_missing_and_refuses_two_of_one_name(folder, tmp_path):
    made = tmp_path / "copy"
    shutil.copytree(folder, made)
    (made / "set" / "originals" / "S0.png").unlink()
    labels = pd.read_csv(made / "set" / "labels.csv", dtype={"image": str})
    labels.assign(level=1 + labels["level"] // 3).to_csv(made / "set" / "labels.csv", index=False)
    experiment(made, "pristine", tmp_path / "e")
    table = pd.read_csv(tmp_path / "e" / "pristine.csv")
    assert table["auroc"].notna().all() and "srcc_level" not in table  # two levels are too few
    assert set(table["references"]) == {5} and set(table["distorted"]) == {20}
    warnings = json.loads((tmp_path / "e" / "record.json").read_text())["warnings"]
    assert any(w.startswith("1 of 6 reference images are not below") for w in warnings)
    (made / "set" / "small").mkdir()
    shutil.copy(made / "set" / "originals" / "S1.png", made / "set" / "small" / "s1.png")
    with pytest.raises(UserError, match=r"reference image .*S1.png and .*s1.png: one name, two files"):
        experiment(made, "pristine", tmp_path / "f")


def test_srcc_with_the_level_is_a_mean_over_references():
    rng = np.random.default_rng(9)
    table = pd.DataFrame(
        [(r, g, k) for r in range(6) for g in "ab" for k in range(1, 6)], columns=list("rgk")
    )
    table["x"] = rng.normal(size=60) - 0.3 * table["k"]
    chains = table.groupby(["r", "g"])[["x", "k"]].apply(lambda c: spearmanr(c["x"], c["k"])[0])
    means = chains.groupby("r").mean()
    row = level_srcc(*(table[c].to_numpy() for c in "xkrg"))
    half = t.ppf(0.975, 5) * means.std(ddof=1) / np.sqrt(6)
    assert row["srcc_level"] == pytest.approx(means.mean(), abs=1e-9)
    assert row["srcc_level_high"] == pytest.approx(means.mean() + half, abs=0.3 * half)  # heavy tails: wider
    assert level_srcc(table["x"], np.ones(60), table["r"], None) == {}


def test_auroc_interval_is_a_jackknife_over_references():
    rng = np.random.default_rng(2)
    own, others = rng.normal(1, 1, 20), rng.normal(0, 1, 100)
    of, each = np.arange(20), np.arange(100) % 20
    value, low, high = auroc_interval(own, others, of, each)
    without = [mannwhitneyu(own[of != k], others[each != k]).statistic / (19 * 95) for k in range(20)]
    error = np.sqrt(19) * np.std(without) / (value * (1 - value))
    assert low < value < high < 1
    assert logit(high) - logit(value) == pytest.approx(t.ppf(0.975, 19) * error, rel=0.25)
    assert np.isnan(auroc_interval(own + 100, others, of, each)[1])  # nothing varies at 1


@pytest.mark.slow
def test_few_labels_fit_on_other_references_only(folder, tmp_path):
    keys = ["experiment.labels=[5,9]", "experiment.repeats=3", "experiment.share=0.34"]
    experiment(folder, "few_labels", tmp_path / "e", *keys)
    job = tiny.configs().job(overrides(folder, tmp_path / "d"))
    evaluate(job, progress=False)
    scores, study = pd.read_csv(tmp_path / "d" / "scores.csv"), Study(job, None, Clock(), progress=False)
    features = image_features(study)
    rows = study.features.cache.rows(study.features.images[3])
    assert features[3] == pytest.approx(rows.astype(float).mean(axis=0))
    y, drawn = scores["mos"].to_numpy(), []
    rng, parts = np.random.default_rng(0), np.random.default_rng(0)
    design = np.column_stack([np.ones(24), scores["q_sim"], scores["q_mag"]])
    for _ in range(3):
        test = np.flatnonzero(scores["reference"].isin([f"s{k}" for k in parts.permutation(6)[:2]]))
        fit = rng.permutation(np.setdiff1d(np.arange(24), test))[:9]
        cues = design[test] @ np.linalg.pinv(design[fit]) @ y[fit]
        drawn.append([spearmanr(x, y[test])[0] for x in (scores["q"][test], cues)])
    table = pd.read_csv(tmp_path / "e" / "few_labels.csv").set_index(["predictor", "labels"])
    for name, own in zip(("q", "cues"), np.array(drawn).T, strict=True):
        assert table.loc[(name, 9)].tolist() == pytest.approx([own.mean(), own.std(ddof=1)], abs=1e-9)
    with pytest.raises(UserError, match=r"experiment.labels: 90 labels, but 16 images"):
        experiment(folder, "few_labels", tmp_path / "x", "experiment.labels=[90]", *keys[1:])


def test_ridge_and_linear_are_the_normal_equations():
    rng = np.random.default_rng(1)
    x, new = rng.normal(size=(30, 50)), rng.normal(size=(4, 50))
    x[:, 7] = 1.0  # a constant column
    y = x[:, :5].sum(axis=1) + rng.normal(size=30)

    def fitted(rows, alpha, to):
        z = x[rows] - x.mean(axis=0)
        spread = np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
        z, to = z / spread, (to - x.mean(axis=0)) / spread
        return y.mean() + to @ np.linalg.solve(z.T @ z + alpha * np.eye(50), z.T @ (y[rows] - y.mean()))

    every = np.arange(30)
    errors = [
        sum((y[i] - fitted(every[every != i], alpha, x[[i]])[0]) ** 2 for i in every) for alpha in ALPHAS
    ]
    assert ridge(x, y, new) == pytest.approx(fitted(every, ALPHAS[int(np.argmin(errors))], new), abs=1e-9)
    design = np.column_stack([np.ones(30), x[:, :3]])
    expected = np.column_stack([np.ones(4), new[:, :3]]) @ np.linalg.solve(design.T @ design, design.T @ y)
    assert linear(x[:, :3], y, new[:, :3]) == pytest.approx(expected, abs=1e-9)


def test_gmad_pairs_are_the_attackers_extremes_in_the_defenders_bins():
    rng = np.random.default_rng(6)
    scores = {"a": rng.normal(size=40), "b": rng.normal(size=40)}
    pairs = gmad_pairs(scores, 4)
    assert pairs[["defender", "attacker"]].drop_duplicates().to_numpy().tolist() == [["a", "b"], ["b", "a"]]
    for row in pairs.to_dict("records"):
        order = np.argsort(scores[row["defender"]])
        inside = order[10 * (row["level"] - 1) : 10 * row["level"]]
        own = scores[row["attacker"]][inside]
        assert (row["worst"], row["best"]) == (inside[own.argmin()], inside[own.argmax()])


@pytest.mark.slow
@runs.undrawn
def test_compare_writes_gmad_pairs_with_their_pictures(tmp_path):
    one = runs.write_run(tmp_path / "one", images=tmp_path / "images")
    two = runs.write_run(tmp_path / "two", seed=1)
    compare(one, [two], gmad=tmp_path / "gmad")
    first = pd.read_csv(tmp_path / "gmad" / "gmad.csv").iloc[0]
    defender, attacker = (pd.read_csv(f / "scores.csv").set_index("image") for f in (one, two))
    assert first["best_attacker"] == attacker.loc[first["best"], "q"]
    assert first["worst_mos"] == defender.loc[first["worst"], "mos"]
    assert all((tmp_path / "gmad" / "figures" / f"gmad-{k}.png").is_file() for k in (1, 2))
    assert json.loads((tmp_path / "gmad" / "record.json").read_text())["command"] == "compare gmad"
    with pytest.raises(UserError, match=r"gmad=DIR takes two methods"):
        compare(one, gmad=tmp_path / "g")
    with pytest.raises(UserError, match=r"images of .*two are not where its record says"):
        compare(two, [one], gmad=tmp_path / "h", out=tmp_path / "o")


def test_the_mean_over_sets_is_students_t():
    values = [0.05, 0.01, 0.09, -0.02, 0.04]
    half = t.ppf(0.975, 4) * np.std(values, ddof=1) / np.sqrt(5)
    expected = (np.mean(values), np.mean(values) - half, np.mean(values) + half)
    assert mean_over_sets(values) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(mean_over_sets(values[:4])[1])
