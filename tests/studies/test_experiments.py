"""Every experiment runs, and says what an independent computation says."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from scipy.stats import spearmanr, wasserstein_distance

from magiqa.errors import UserError
from magiqa.package import conf_dir
from magiqa.stats.sampled import Sampled
from magiqa.studies.evaluate import evaluate
from magiqa.studies.experiments.bias import Bias, group_distance
from magiqa.studies.experiments.magnitude import Magnitude, excess
from magiqa.studies.experiments.raters import Raters
from magiqa.studies.experiments.regimes import Regimes
from magiqa.studies.experiments.run import run

OPTIONS = sorted(f.stem for f in (conf_dir() / "experiment").glob("*.yaml"))


# experiments that name MA-CLIP's views cut windows of 224 whatever the overrides say: small images are enlarged
SMALL = "views.small=upscale"
MACLIP = ["views.window=224", "views.stride=128", SMALL]


def experiment(folder, name, out, *more):
    args = tiny.overrides(folder, f"experiment={name}", f"out={out}", *more)
    compose = tiny.configs().composer(args, packaged=True)
    return run(tiny.configs().job(args), compose, progress=False)


@pytest.mark.parametrize("name", [n for n in OPTIONS if n not in ("align", "magnitude", "attribution")])
@pytest.mark.slow
def test_every_experiment_writes_tables_a_figure_and_a_record(folder, name, tmp_path):
    more = ["experiment.ratings=10"] if name == "raters" else MACLIP if name == "main" else []
    printed = experiment(folder, name, tmp_path, "figures=true", *more)
    assert "untrained, seed 0" in printed
    assert list(tmp_path.glob("*.csv"))
    assert list((tmp_path / "figures").glob("*.png"))
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["command"] == "experiment"
    assert record["experiment"]["notes"]
    assert record["backbone"]["label"] == "untrained, seed 0"


@pytest.mark.slow
def test_main_equals_single_runs(folder, tmp_path):
    # whatever is typed, the rows are the methods that their names say
    other = ["fusion.alpha=5", "magnitude.lam=0.1", "pooling=median", "backbone.positional_embedding=native"]
    experiment(folder, "main", tmp_path / "main", SMALL, *other)
    record = json.loads((tmp_path / "main" / "record.json").read_text())
    assert (record["views"]["window"], record["views"]["stride"]) == (224, 128)
    assert (record["config"]["fusion"]["alpha"], record["config"]["pooling"]) == (1.0, "mean")
    table = pd.read_csv(tmp_path / "main" / "main.csv").set_index("method")
    for method, score, more in (
        ("MA-CLIP", "q", []),
        ("CLIP-IQA (one pair, whole image)", "q_sim", ["prompts=clipiqa", "views=whole"]),
    ):
        single, _ = evaluate(tiny.job(folder, f"out={tmp_path / score}", *MACLIP, *more), progress=False)
        single = single.set_index(["score", "statistic"])
        for statistic in ("srcc", "srcc_within", "plcc"):
            expected = single.loc[(score, statistic), ["value", "ci_low", "ci_high"]].tolist()
            mine = table.loc[method, [statistic, f"{statistic}_low", f"{statistic}_high"]].tolist()
            assert mine == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "needs"),
    [("main", "windows, global views and whole images"), ("magnitude", "untrained networks")],
)
def test_what_a_bundle_cannot_serve_is_said(folder, tmp_path, name, needs):
    job = tiny.job(folder, f"experiment={name}", f"out={tmp_path}").having(bundle="b.safetensors")
    with pytest.raises(UserError, match=rf"experiment={name} needs features of {needs}, .*leave out bundle="):
        run(job, progress=False)


@pytest.mark.slow
def test_attribution_sums_to_the_gain(folder, tmp_path):
    experiment(folder, "attribution", tmp_path, "figures=true", "fusion.alpha=5", SMALL)
    cells = pd.read_csv(tmp_path / "cells.csv").set_index(["prompts", "views", "cue"])["srcc"]
    steps, shares = (pd.read_csv(tmp_path / f"{n}.csv") for n in ("steps", "shares"))
    assert (len(cells), len(steps), len(shares)) == (18, 12, 4)
    gain = cells["five pairs", "windows and global", "fused"] - cells["one pair", "whole image", "similarity"]
    by = shares.set_index("factor")["diff"]
    assert by["all three"] == pytest.approx(gain, abs=1e-12)
    assert by.drop("all three").sum() == pytest.approx(gain, abs=1e-12)
    # the magnitude cue knows no prompts
    assert cells["one pair", "global view", "magnitude"] == cells["five pairs", "global view", "magnitude"]
    assert (tmp_path / "figures" / "attribution.png").is_file()


@pytest.mark.slow
def test_magnitude_stands_beside_its_null(folder, tmp_path):
    more = ["experiment.seeds=[5]", "experiment.definitions=[boxcox,l2]"]
    experiment(folder, "magnitude", tmp_path, "figures=true", *more)
    table = pd.read_csv(tmp_path / "magnitude.csv").set_index(["definition", "network"])
    assert set(table.index.get_level_values(1)) == {"untrained, seed 0", "untrained, seed 5", "control"}
    own, null = table.loc[("l2", "untrained, seed 0")], table.loc[("l2", "untrained, seed 5")]
    assert own["diff"] == pytest.approx(own["srcc"] - null["srcc"], abs=1e-12)  # signed
    assert np.isnan(null["diff"])
    assert table["partial"].notna().sum() == 4


@pytest.mark.slow
def test_bias_is_between_contents_where_images_share_them(folder, tmp_path):
    labels = pd.read_csv(folder / "set" / "labels.csv", dtype=str)
    labels["scene"], labels["own"] = [f"s{i % 4}" for i in range(len(labels))], labels["image"]
    labels.to_csv(folder / "set" / "contents.csv", index=False)
    mos = labels["mos"].astype(float).to_numpy()
    for column, by in (("scene", "reference"), ("own", "group")):
        more = ["dataset.annotation=contents.csv", f"dataset.reference_column={column}"]
        experiment(folder, "bias", tmp_path / column, *more)
        table = pd.read_csv(tmp_path / column / "bias.csv")
        names = labels["scene" if by == "reference" else "gen"].to_numpy()
        parts = [mos[names == n] for n in sorted(set(names))]
        pairs = [wasserstein_distance(a, b) for i, a in enumerate(parts) for b in parts[i + 1 :]]
        own = table[table["cue"] == "label"].iloc[0]
        assert set(table["by"]) == {by} and own["distance"] == pytest.approx(np.mean(pairs) / mos.std())


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Regimes(bins=0), r"^experiment.bins=0 must be a whole number from 1$"),
        (lambda: Raters(ratings="many"), r"^experiment.ratings=many must be a finite number from 1 or null$"),
        (lambda: Bias(lams=["a"]), r"^experiment.lams\[0\]=a must be a finite number$"),
        (lambda: Bias(permutations=0), r"^experiment.permutations=0 must be a whole number from 19$"),
        (
            lambda: Magnitude(seeds=[1, 1]),
            r"^experiment.seeds=\[1, 1\] must hold one value or more, each once",
        ),
    ],
)
def test_experiments_check_themselves(made, message):
    with pytest.raises(UserError, match=message):
        made()


@pytest.mark.slow
def test_breakdown_equals_scipy_inside_a_group(folder, scores, tmp_path):
    experiment(folder, "breakdown", tmp_path)
    table = pd.read_csv(tmp_path / "group.csv").set_index("group")
    for group, part in scores.groupby("group"):
        assert table.loc[group, "q"] == pytest.approx(spearmanr(part["q"], part["mos"])[0], abs=1e-12)
        assert table.loc[group, "n"] == len(part)


@pytest.mark.slow
def test_weights_are_those_of_the_run(folder, scores, tmp_path):
    experiment(folder, "weights", tmp_path / "e", "experiment.bins=2")
    table = pd.read_csv(tmp_path / "e" / "weights.csv")
    assert np.average(table["w_sim"], weights=table["n"]) == pytest.approx(scores["w_sim"].mean())
    with pytest.raises(UserError, match=r"^fusion: this one has no weights; use fusion=adaptive$"):
        experiment(folder, "weights", tmp_path / "p", "fusion=product")


@pytest.mark.slow
def test_raters_takes_the_number_of_ratings_of_each_image(folder, tmp_path):
    made = pd.read_csv(folder / "set" / "labels.csv")
    grades = made["mos"].to_numpy()[:, None] + np.random.default_rng(5).normal(size=(len(made), 5))
    grades[::3, 4] = np.nan
    wide = pd.DataFrame(grades, columns=[f"r{k}" for k in range(1, 6)]).assign(image=made["image"])
    wide.to_csv(folder / "set" / "wide.csv", index=False)
    keys = ["dataset.annotation=wide.csv", "dataset.rater_columns=r1..r5", "dataset.mos_std_column=null"]
    printed = experiment(folder, "raters", tmp_path / "e", "dataset.group_column=null", *keys)
    assert "4 to 5 ratings an image" in printed
    n = (~np.isnan(grades)).sum(axis=1)
    error, y = np.nanstd(grades, axis=1, ddof=1) / np.sqrt(n), np.nanmean(grades, axis=1)
    i, j = np.triu_indices(len(n), 1)
    apart = np.abs(y[i] - y[j]) > 1.6448536 * np.hypot(error[i], error[j])
    assert pd.read_csv(tmp_path / "e" / "pairs.csv")["told_apart"][0] == pytest.approx(apart.mean())


@pytest.mark.slow
def test_what_a_data_set_lacks_is_said(folder, tmp_path):
    bare = tiny.job(folder, f"out={tmp_path}").having(experiment=Raters(ratings=5))
    bare = bare.having(dataset=replace(bare.source.dataset, mos_std_column=None))
    for call, message in (
        (lambda: experiment(folder, "align", tmp_path), "set has no mos_align; use dataset=agiqa3k"),
        (lambda: experiment(folder, "raters", tmp_path), "ratings is not set: add experiment.ratings=N"),
        (lambda: run(bare, progress=False), "set has no mos_std, which this experiment needs; leave it out"),
        (lambda: run(bare.having(experiment=None), progress=False), "experiment is not set: add experiment="),
    ):
        with pytest.raises(UserError, match=message):
            call()


@pytest.mark.slow
def test_reproduce_resumes_and_lists_what_is_missing(folder, tmp_path, capsys, monkeypatch):
    script = Path(__file__).parents[2] / "scripts" / "reproduce.py"
    spec = importlib.util.spec_from_file_location("reproduce", script)
    reproduce = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reproduce)
    overrides = [o for o in tiny.overrides(folder) if not o.startswith(("dataset=", "dataset.root="))]
    steps = "run-maclip,experiment-weights,experiment-align,experiment-raters,run-clipiqa"
    args = [
        "--root",
        f"folder={folder / 'set'}",
        "--sets",
        "folder,koniq",
        "--only",
        steps,
        "--out",
        str(tmp_path),
    ]
    args += ["--without", "run-clipiqa", "--no-report", *overrides]
    assert reproduce.main(args) == 0
    printed = capsys.readouterr().out
    assert "koniq: no --root given; get it from http" in printed
    assert "folder experiment-align: only AGIQA-3K has labels" in printed
    assert "folder experiment-raters: " in printed and "(--ratings folder=N)" in printed
    assert "folder run-clipiqa: --without" in printed
    done = {p.parent.name for p in (tmp_path / "folder").glob("*/record.json")}
    assert done == {"run-maclip", "experiment-weights"}
    assert reproduce.main(args) == 0
    assert capsys.readouterr().out.count("done before") == 2
    for more, message in (
        (["--without", "nosuch"], r"^step nosuch is not known: there are run-maclip, "),
        (["--ratings", "folder=abc"], r"^--ratings folder=abc: N must be a number from 1$"),
    ):
        with pytest.raises(UserError, match=message):
            reproduce.main([*args, *more])
    # an experiment's own options are as packaged, whatever is typed
    alphas = []
    spy = lambda _, compose: alphas.append(compose(["fusion=adaptive"]).get("fusion").alpha)  # noqa: E731
    monkeypatch.setattr(reproduce, "experiment", spy)
    reproduce.run_step("experiment", [*tiny.overrides(folder), "experiment=main", "fusion.alpha=2"])
    assert alphas == [1.0]


def test_group_distance_is_scipys_over_all_pairs():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 300, 2000) / 7.0  # ties
    groups = rng.choice(["a", "b", "c", "d"], p=[0.7, 0.2, 0.09, 0.01], size=2000)
    parts = [values[groups == g] for g in "abcd"]
    pairs = [wasserstein_distance(a, b) for i, a in enumerate(parts) for b in parts[i + 1 :]]
    distance = group_distance(values, groups, permutations=19)
    assert distance["distance"] == pytest.approx(np.mean(pairs) / values.std())
    assert distance["p"] > 0.05 and distance["distance"] < 3 * distance["chance"]
    apart = group_distance(values + 100 * (groups == "b"), groups, permutations=19)
    assert apart["p"] == pytest.approx(0.05) and apart["distance"] > 5 * apart["chance"]
    assert np.isnan(group_distance(values, ["one"] * 2000)["distance"])


def test_the_excess_over_untrained_networks_holds_for_other_seeds_too():
    rng = np.random.default_rng(0)
    parts = 0.01 * rng.normal(size=(4, 300)) / np.sqrt(300)
    method, nulls = Sampled(np.array([-0.2]), parts[:1]), Sampled(np.array([0.1, -0.1, 0.06]), parts[1:])
    row = excess(method, nulls)
    assert row["diff"] == pytest.approx(-0.22)
    between = np.std([0.1, -0.1, 0.06], ddof=1) / np.sqrt(3)
    assert (row["diff_high"] - row["diff_low"]) / 2 == pytest.approx(4.3 * between, rel=0.1)  # t of 2 degrees
    assert excess(method, nulls[:1])["withheld"] == "one seed: nothing says how seeds differ"
    assert excess(method, nulls, "2 images, fewer than 5")["withheld"].startswith("2 images")


@pytest.fixture(scope="module")
def scores(folder):
    """The scores of a plain run, for experiments to be compared with."""
    evaluate(tiny.job(folder, f"out={folder / 'run'}"), progress=False)
    return pd.read_csv(folder / "run" / "scores.csv")
