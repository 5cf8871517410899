"""Every experiment runs, and says what an independent computation says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from scipy.stats import spearmanr, wasserstein_distance

from magiqa.cli import main as cli
from magiqa.errors import UserError
from magiqa.package import conf_dir
from magiqa.stats.sampled import Sampled
from magiqa.studies.evaluate import evaluate
from magiqa.studies.experiments.bias import Bias, alike, group_distance
from magiqa.studies.experiments.magnitude import Magnitude, excess
from magiqa.studies.experiments.raters import Raters
from magiqa.studies.experiments.regimes import Regimes
from magiqa.studies.experiments.run import run
from magiqa.studies.experiments.weights import Weights

OPTIONS = sorted(f.stem for f in (conf_dir() / "experiment").glob("*.yaml"))


# experiments that name MA-CLIP's views cut windows of 224 whatever the overrides say: small images are enlarged
SMALL = "views.small=upscale"
MACLIP = ["views.window=224", "views.stride=128", SMALL]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("experiments"))


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
    assert record["config"]["fusion"]["alpha"] == 1.0
    assert record["config"]["pooling"] == "mean"
    table = pd.read_csv(tmp_path / "main" / "main.csv").set_index("method")
    for method, score, more in (
        ("MA-CLIP", "q", []),
        ("magnitude only", "q_mag", []),
        ("CLIP-IQA (one pair, whole image)", "q_sim", ["prompts=clipiqa", "views=whole"]),
        ("Laplacian variance (control)", "laplacian", []),
    ):
        single, _ = evaluate(tiny.job(folder, f"out={tmp_path / method}", *MACLIP, *more), progress=False)
        one = single.set_index(["score", "statistic"])
        for statistic in ("srcc", "srcc_within", "plcc"):
            assert table.loc[method, statistic] == pytest.approx(
                one.loc[(score, statistic), "value"], abs=1e-12
            )
            assert table.loc[method, f"{statistic}_low"] == pytest.approx(
                one.loc[(score, statistic), "ci_low"], abs=1e-12
            )


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("main", "windows, global views and whole images"),
        ("attribution", "windows, global views and whole images"),
        ("magnitude", "untrained networks"),
    ],
)
def test_what_a_bundle_cannot_serve_is_said(folder, tmp_path, name, needs):
    job = tiny.job(folder, f"experiment={name}", f"out={tmp_path}").having(bundle="b.safetensors")
    with pytest.raises(UserError) as error:
        run(job, progress=False)
    assert str(error.value) == (
        f"experiment={name} needs features of {needs}, bundle=b.safetensors does not hold them all; leave out bundle= "
        "and give the images and weights (dataset.root=DIR)"
    )


@pytest.mark.slow
def test_another_commands_record_is_kept(folder, tmp_path):
    evaluate(tiny.job(folder, f"out={tmp_path / 'run'}"), progress=False)
    with pytest.raises(
        UserError,
        match=r"run: holds the record of magiqa evaluate, which magiqa experiment experiment=weights would overwrite",
    ):
        experiment(folder, "weights", tmp_path / "run")


@pytest.mark.slow
def test_a_folder_used_again_holds_the_last_experiment_alone(folder, tmp_path):
    experiment(folder, "breakdown", tmp_path, "figures=true")
    record = json.loads((tmp_path / "record.json").read_text())
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert list(record["files"]) == [name for name in written if name != "record.json"]
    assert any(name.startswith("figures/") for name in written)
    (tmp_path / "figures" / "mine.png").write_text("")
    experiment(folder, "breakdown", tmp_path, "figures=false")
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    record = json.loads((tmp_path / "record.json").read_text())
    assert left == {*record["files"], "record.json", "figures/mine.png"}
    assert all(name.endswith(".csv") for name in record["files"])
    with pytest.raises(
        UserError,
        match="holds the record of magiqa experiment experiment=breakdown, which magiqa experiment experiment=weights",
    ):
        experiment(folder, "weights", tmp_path)
    assert json.loads((tmp_path / "record.json").read_text()) == record


@pytest.mark.slow
def test_a_sweep_has_a_folder_a_job(folder, tmp_path, capsys):
    args = tiny.overrides(folder, "experiment=weights", "fusion.alpha=0,2", f"out={tmp_path / 'all'}")
    assert cli.main(["experiment", "-m", *args]) == 0
    capsys.readouterr()
    records = [json.loads(f.read_text()) for f in sorted((tmp_path / "all").glob("*/record.json"))]
    assert sorted(r["config"]["fusion"]["alpha"] for r in records) == [0, 2]


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
    labels["scene"] = [f"s{i % 4}" for i in range(len(labels))]
    labels["own"] = labels["image"]
    labels.to_csv(folder / "set" / "contents.csv", index=False)
    more = ["dataset.annotation=contents.csv", "figures=true"]
    for column, by, words in (
        ("scene", "reference", "between 4 reference images"),
        (
            "own",
            "group",
            "between 3 groups (generators or distortion types); no content is shared by images of",
        ),
    ):
        out = tmp_path / column
        assert words in experiment(folder, "bias", out, *more, f"dataset.reference_column={column}")
        table = pd.read_csv(out / "bias.csv")
        assert set(table["by"]) == {by}
        mos = labels["mos"].astype(float).to_numpy()
        names = labels["scene" if by == "reference" else "gen"].to_numpy()
        parts = [mos[names == n] for n in sorted(set(names))]
        pairs = [wasserstein_distance(a, b) for i, a in enumerate(parts) for b in parts[i + 1 :]]
        own = table[table["cue"] == "label"].iloc[0]
        assert own["distance"] == pytest.approx(np.mean(pairs) / mos.std())


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Regimes(bins=0), r"^experiment.bins=0 must be a whole number from 1$"),
        (lambda: Weights(bins=2.5), r"^experiment.bins=2.5 must be a whole number from 1$"),
        (lambda: Raters(ratings="many"), r"^experiment.ratings=many must be a finite number from 1 or null$"),
        (lambda: Bias(lams=["a"]), r"^experiment.lams\[0\]=a must be a finite number$"),
        (lambda: Bias(lams=[]), r"^experiment.lams=\[\] must hold one value or more, each once$"),
        (lambda: Bias(permutations=0), r"^experiment.permutations=0 must be a whole number from 19$"),
        (
            lambda: Magnitude(seeds=[1, 1]),
            r"^experiment.seeds=\[1, 1\] must hold one value or more, each once$",
        ),
        (lambda: Magnitude(seeds=[-1]), r"^experiment.seeds\[0\]=-1 must be a whole number from 0$"),
        (lambda: Magnitude(definitions="l2"), r"^experiment.definitions=l2 must be a list, such as"),
    ],
)
def test_experiments_check_themselves(made, message):
    with pytest.raises(UserError, match=message):
        made()


@pytest.mark.slow
def test_regimes_say_that_bins_cannot_be_compared(folder, tmp_path):
    printed = experiment(folder, "regimes", tmp_path)
    assert "compare cues inside one bin, never bins with each other" in " ".join(printed.split())
    table = pd.read_csv(tmp_path / "regimes.csv")
    assert table.groupby(["a", "b"])["n"].sum().tolist() == [24, 24, 24]


@pytest.mark.slow
def test_breakdown_equals_scipy_inside_a_group(folder, tmp_path):
    experiment(folder, "breakdown", tmp_path / "e")
    evaluate(tiny.job(folder, f"out={tmp_path / 'r'}"), progress=False)
    scores = pd.read_csv(tmp_path / "r" / "scores.csv")
    table = pd.read_csv(tmp_path / "e" / "group.csv").set_index("group")
    for group, part in scores.groupby("group"):
        assert table.loc[group, "q"] == pytest.approx(spearmanr(part["q"], part["mos"])[0], abs=1e-12)
        assert table.loc[group, "n"] == len(part)


@pytest.mark.slow
def test_weights_are_those_of_the_run(folder, tmp_path):
    experiment(folder, "weights", tmp_path / "e", "experiment.bins=2")
    evaluate(tiny.job(folder, f"out={tmp_path / 'r'}"), progress=False)
    scores = pd.read_csv(tmp_path / "r" / "scores.csv")
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
    evaluate(tiny.job(folder, "dataset.group_column=null", f"out={tmp_path / 'r'}", *keys), progress=False)
    scores = pd.read_csv(tmp_path / "r" / "scores.csv")
    n = (~np.isnan(grades)).sum(axis=1)
    assert scores["ratings"].tolist() == n.tolist()
    error = np.nanstd(grades, axis=1, ddof=1) / np.sqrt(n)
    i, j = np.triu_indices(len(n), 1)
    y = np.nanmean(grades, axis=1)
    apart = np.abs(y[i] - y[j]) > 1.6448536 * np.hypot(error[i], error[j])
    assert pd.read_csv(tmp_path / "e" / "pairs.csv")["told_apart"][0] == pytest.approx(apart.mean())


@pytest.mark.slow
def test_what_a_reader_warns_of_is_said_before_encoding(folder, tmp_path, capsys):
    text = (folder / "set" / "labels.csv").read_text()
    (folder / "set" / "bare.csv").write_text(text.partition("\n")[2])
    keys = ["dataset.annotation=bare.csv", "dataset.group_column=3", "dataset.mos_std_column=4"]
    for cached in (False, True):
        job = tiny.job(folder, *keys, f"cache_dir={tmp_path / 'cache'}", f"out={tmp_path / 'run'}")
        evaluate(job, progress=True)
        error = capsys.readouterr().err
        assert ("note: set: no header: column 1 is the image" in error.partition("encode")[0]) is not cached


@pytest.mark.slow
def test_what_a_data_set_lacks_is_said(folder, tmp_path):
    with pytest.raises(
        UserError, match=r"^dataset set has no mos_align; use dataset=agiqa3k dataset.root=DIR$"
    ):
        experiment(folder, "align", tmp_path)
    with pytest.raises(
        UserError, match=r"^experiment.ratings is not set: add experiment.ratings=N, how many ratings"
    ):
        experiment(folder, "raters", tmp_path)
    bare = tiny.job(folder, f"out={tmp_path}").having(experiment=Raters(ratings=5))
    bare = bare.having(dataset=replace(bare.source.dataset, mos_std_column=None))
    with pytest.raises(
        UserError, match=r"^dataset set has no mos_std, which this experiment needs; leave it out$"
    ):
        run(bare, progress=False)
    with pytest.raises(
        UserError, match=r"^experiment is not set: add experiment=NAME, one of the options that --help"
    ):
        run(tiny.job(folder, f"out={tmp_path}"), progress=False)


@pytest.mark.long
def test_agiqa3k(real_data, tmp_path):
    """On real labels, with a tiny untrained network: every experiment that the set allows."""
    made = tiny.make(tmp_path / "tiny")
    for name in OPTIONS:
        args = [
            "dataset=agiqa3k",
            f"dataset.root={real_data / 'datasets' / 'AGIQA-3K'}",
            "dataset.every=60",
            f"experiment={name}",
            "backbone=open_clip",
            f"backbone.name='local-dir:{made / 'clip'}'",
            "backbone.untrained=0",
            f"cache_dir={tmp_path / 'cache'}",
            "engine=torch",
            "batch_size=8",
            "figures=false",
            f"out={tmp_path / name}",
            *(["experiment.ratings=20"] if name == "raters" else []),
            *(["experiment.seeds=[1]"] if name == "magnitude" else []),
        ]
        compose = tiny.configs().composer(args, packaged=True)
        printed = run(tiny.configs().job(args), compose, progress=False)
        assert "n=50, label mos" in printed


@pytest.mark.slow
def test_reproduce_resumes_and_lists_what_is_missing(folder, tmp_path, capsys, monkeypatch):
    import importlib.util

    script = Path(__file__).parents[2] / "scripts" / "reproduce.py"
    spec = importlib.util.spec_from_file_location("reproduce", script)
    reproduce = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reproduce)
    overrides = [o for o in tiny.overrides(folder) if not o.startswith(("dataset=", "dataset.root="))]
    args = [
        "--root",
        f"folder={folder / 'set'}",
        "--sets",
        "folder,koniq",
        "--only",
        "run-maclip,ablation-pooling,experiment-weights,experiment-align,experiment-raters,run-clipiqa",
        "--without",
        "run-clipiqa",
        "--out",
        str(tmp_path),
        "--no-report",
        *overrides,
    ]
    assert reproduce.main(args) == 0
    printed = capsys.readouterr().out
    assert "koniq: no --root given; get it from http://database.mmsp-kn.de/koniq-10k-database.html" in printed
    assert "left out:\n  folder experiment-align: only AGIQA-3K has labels of alignment\n" in printed
    assert "  folder experiment-raters: add --ratings folder=N, how many ratings a label averages" in printed
    assert "  folder run-clipiqa: --without\n" in printed
    assert {p.parent.name for p in (tmp_path / "folder").glob("*/record.json")} == {
        "run-maclip",
        "ablation-pooling",
        "experiment-weights",
    }
    before = (tmp_path / "folder" / "run-maclip" / "record.json").stat().st_mtime_ns
    assert reproduce.main(args) == 0
    assert capsys.readouterr().out.count("done before") == 3
    assert (tmp_path / "folder" / "run-maclip" / "record.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"^--root nosuch: no such data set option; there are agiqa1k, "):
        reproduce.main(["--root", "nosuch=x"])
    with pytest.raises(UserError, match=r"^step nosuch is not known: there are run-maclip, "):
        reproduce.main([*args, "--without", "nosuch"])
    with pytest.raises(UserError, match=r"^--ratings folder=abc: N must be a number from 1$"):
        reproduce.main([*args, "--ratings", "folder=abc"])
    # a set without groups: what is about them is left out, not failed
    at = args.index("--only")
    bare = [*args[: at + 1], "run-maclip,experiment-bias,experiment-breakdown", *args[at + 2 :]]
    assert reproduce.main([*bare, "dataset.group_column=null"]) == 0
    printed = capsys.readouterr().out
    for name in ("bias", "breakdown"):
        assert f"  folder experiment-{name}: dataset set has no group, which this experiment needs" in printed
    # an experiment's own options are as packaged, whatever is typed
    alphas = []
    monkeypatch.setattr(
        reproduce,
        "experiment",
        lambda _, compose: alphas.append(compose(["fusion=adaptive"]).get("fusion").alpha),
    )
    reproduce.run_step("experiment", [*tiny.overrides(folder), "experiment=main", "fusion.alpha=2"])
    assert alphas == [1.0]
    # a step that is cut short leaves nothing that another one could be taken for
    step = tmp_path / "folder" / "run-maclip" / "step.json"
    assert "dataset.group_column=null" in json.loads(step.read_text())
    monkeypatch.setattr(reproduce, "run_step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        reproduce.main(args)
    assert not step.exists()


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


def test_chance_of_a_crossed_design_is_shuffled_within_it():
    rng = np.random.default_rng(2)
    prompts, generators = np.repeat(np.arange(60), 8), np.tile(np.arange(8), 60)
    values = 3.0 * generators + rng.normal(size=480)  # prompts alike, generators not
    free = group_distance(values, prompts, permutations=99)
    inside = group_distance(values, prompts, within=generators, permutations=99)
    assert free["distance"] < 0.8 * free["chance"]  # why chance within the design is needed
    assert inside["distance"] == pytest.approx(inside["chance"], rel=0.1) and inside["p"] > 0.01
    y = np.repeat(np.arange(40.0), 5)
    strata, within = alike(y, np.arange(200) % 2), np.arange(200) % 2
    assert all(len(set(within[strata == k])) == 1 and np.ptp(y[strata == k]) <= 2 for k in set(strata))


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
