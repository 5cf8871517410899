"""Every experiment runs, and says what an independent computation says."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny
from runs import undrawn, write_run
from scipy.stats import f as f_distribution
from scipy.stats import f_oneway, rankdata, spearmanr

from magiqa.errors import UserError
from magiqa.package import conf_dir
from magiqa.report.material import Asked
from magiqa.report.paper import paper
from magiqa.report.report import report
from magiqa.report.study_exhibits import TABLES
from magiqa.stats.sampled import Sampled
from magiqa.studies.evaluate import evaluate
from magiqa.studies.experiments.cost import multiply_adds
from magiqa.studies.experiments.labels import Raters
from magiqa.studies.experiments.magnitude import Bias, Magnitudes, content_share, excess
from magiqa.studies.experiments.methods import FACTORS, Regimes
from magiqa.studies.experiments.study import run

OPTIONS = sorted(f.stem for f in (conf_dir() / "experiment").glob("*.yaml"))


# experiments that name MA-CLIP's views cut windows of 224 whatever the overrides say: small images are enlarged
SMALL = "views.small=upscale"
MACLIP = ["views.window=224", "views.stride=128", SMALL]


def experiment(folder, name, out, *more):
    args = tiny.overrides(folder, f"experiment={name}", f"out={out}", *more)
    compose = tiny.configs().composer(args, packaged=True)
    return run(tiny.configs().job(args), compose, progress=False)


@pytest.mark.parametrize(
    "name",
    [n for n in OPTIONS if n not in ("align", "magnitude", "attribution", "pristine", "cost", "teaser")],
)
@pytest.mark.slow
def test_every_experiment_writes_tables_a_figure_and_a_record(folder, name, tmp_path):
    own = {"raters": ["experiment.ratings=10"], "main": MACLIP, "few_labels": ["experiment.labels=[5]"]}
    printed = experiment(folder, name, tmp_path, "figures=true", *own.get(name, []))
    tables = {p.stem for p in tmp_path.glob("*.csv")}
    assert "untrained, seed 0" in printed and tables and tables <= TABLES.keys()  # each has a caption
    assert list((tmp_path / "figures").glob("*.png"))
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["command"] == "experiment" and record["experiment"]["notes"]
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
            row = table.loc[method, [statistic, f"{statistic}_low", f"{statistic}_high"]]
            assert row.tolist() == pytest.approx(expected, abs=1e-12)


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
    cells = pd.read_csv(tmp_path / "cells.csv").set_index([*FACTORS])["srcc"]
    steps, shares = (pd.read_csv(tmp_path / f"{n}.csv") for n in ("steps", "shares"))
    assert (len(cells), len(steps), len(shares)) == (8, 12, 4)
    gain = cells[True, True, True] - cells[False, False, False]
    by = shares.set_index("factor")["diff"]
    assert [by["all three"], by.drop("all three").sum()] == pytest.approx([gain, gain], abs=1e-12)
    assert (tmp_path / "figures" / "attribution.png").is_file()


@pytest.mark.slow
def test_magnitude_stands_beside_its_rivals_and_its_null(folder, tmp_path, capsys):
    tiny.pristine(folder)
    more = ["experiment.seeds=[5]", "experiment.definitions=[boxcox,l2]"]
    more += [f"experiment.statistics_from={folder / 'pristine'}"]
    experiment(folder, "magnitude", tmp_path, "figures=true", *more)
    table = pd.read_csv(tmp_path / "magnitude.csv").set_index("definition")
    rivals = ["whitened", "conformity", "mahalanobis", "entropy", "participation"]
    assert list(table.index) == ["boxcox", "l2", *rivals, "laplacian", "bytes", "q_sim"]
    assert "1 untrained networks encode 24 images each" in capsys.readouterr().err
    runs = {}
    for name, more in {
        "own": ["magnitude=l2"],
        "null": ["magnitude=l2", "backbone.untrained=5"],
        "whitened": ["magnitude=whitened", f"magnitude.statistics_from={folder / 'pristine'}"],
    }.items():
        evaluate(tiny.job(folder, f"out={tmp_path / name}", *more), progress=False)
        runs[name] = pd.read_csv(tmp_path / name / "scores.csv")
    own, null, whitened = (
        {s: spearmanr(t[s], t["mos"])[0] for s in ("q", "q_mag", "q_sim")} for t in runs.values()
    )
    expected = [own["q_mag"], null["q_mag"], own["q_mag"] - null["q_mag"]]  # signed
    assert table.loc["l2", ["srcc", "untrained", "diff"]].tolist() == pytest.approx(expected, abs=1e-9)
    expected = [whitened["q_mag"], whitened["q"] - own["q_sim"]]
    assert table.loc["whitened", ["srcc", "gain"]].tolist() == pytest.approx(expected, abs=1e-9)
    assert table.loc[["l2", "entropy", "participation"], "gain"].isna().all()
    scores = runs["own"]
    z = np.column_stack([np.ones(24), *(rankdata(scores[c]) for c in ("laplacian", "bytes", "q_sim"))])
    a, b = (rankdata(scores[c]) - z @ np.linalg.pinv(z) @ rankdata(scores[c]) for c in ("q_mag", "mos"))
    assert table.loc["l2", "partial"] == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-9)
    alike = pd.read_csv(tmp_path / "redundancy.csv").set_index("definition").loc["l2", "whitened"]
    assert alike == pytest.approx(spearmanr(scores["q_mag"], runs["whitened"]["q_mag"])[0], abs=1e-9)
    assert json.loads((tmp_path / "record.json").read_text())["reference"]["images"] == 30


@pytest.mark.slow
def test_bias_is_between_contents_where_images_share_them(folder, tmp_path):
    labels = pd.read_csv(folder / "set" / "labels.csv", dtype=str)
    labels["scene"], labels["own"] = [f"s{i % 4}" for i in range(len(labels))], labels["image"]
    labels.to_csv(folder / "set" / "contents.csv", index=False)
    mos = labels["mos"].astype(float)
    for column, by in (("scene", "reference"), ("own", "group")):
        more = ["dataset.annotation=contents.csv", f"dataset.reference_column={column}"]
        experiment(folder, "bias", tmp_path / column, *more)
        table = pd.read_csv(tmp_path / column / "bias.csv")
        own = table[table["cue"] == "MOS"].iloc[0]
        names = labels["scene" if by == "reference" else "gen"].to_numpy()
        expected = content_share(mos, names, [labels["gen"].to_numpy()] if by == "reference" else [])
        assert set(table["by"]) == {by} and own[["share", "p"]].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Regimes(bins=0), r"^experiment.bins=0 must be a whole number from 1$"),
        (lambda: Raters(ratings="many"), r"^experiment.ratings=many must be a finite number from 1 or null$"),
        (lambda: Bias(lams=["a"]), r"^experiment.lams\[0\]=a must be a finite number$"),
        (
            lambda: Magnitudes(seeds=[1, 1]),
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
    labels = pd.read_csv(folder / "set" / "labels.csv", dtype=str)
    labels.loc[labels["gen"] == labels["gen"][0], "mos"] = "3"
    labels.to_csv(folder / "set" / "alike.csv", index=False)
    printed = experiment(folder, "breakdown", tmp_path / "alike", "dataset.annotation=alike.csv")
    assert f"{labels['gen'][0]} is left out, where all images have one MOS" in " ".join(printed.split())


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


def test_content_share_is_an_f_test_of_nested_models():
    rng = np.random.default_rng(4)
    content, kinds = np.repeat(np.arange(20), 8), np.tile(np.arange(8), 20)
    y = rng.normal(size=160) + 0.4 * rng.normal(size=20)[content]
    x = y + 3.0 * kinds + 0.5 * rng.normal(size=160)
    one_way = [rankdata(y)[content == k] for k in range(20)]
    assert content_share(y, content)[1] == pytest.approx(f_oneway(*one_way).pvalue, abs=1e-12)
    dummies = [(v[:, None] == np.unique(v)).astype(float) for v in (kinds, content)]
    designs = [[dummies[0], rankdata(y)[:, None]], [*dummies, rankdata(y)[:, None]]]
    left = [rankdata(x) - z @ (np.linalg.pinv(z) @ rankdata(x)) for z in map(np.hstack, designs)]
    few, many = (np.linalg.matrix_rank(np.hstack(design)) for design in designs)
    before, after = (np.sum(e**2) for e in left)
    share, p = content_share(x, content, [kinds], y)
    ratio = (before - after) / (many - few) / (after / (160 - many))
    assert p == pytest.approx(f_distribution.sf(ratio, many - few, 160 - many), abs=1e-9)
    assert share == pytest.approx(1 - after / (160 - many) / (before / (160 - few)), abs=1e-9)


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


@pytest.mark.slow
def test_cost_measures_each_method_without_the_data_set(folder, tmp_path):
    sizes = ["experiment.sizes=[[256,224],[352,352]]", "experiment.images=1", "experiment.repeats=1"]
    printed = experiment(folder, "cost", tmp_path / "cost", *sizes, "dataset.root=.")
    assert "cores" in printed
    table = pd.read_csv(tmp_path / "cost" / "cost.csv").set_index("method")
    assert table["views_256x224"].to_dict() == {"CLIP-IQA": 1, "MA-CLIP": 2}
    assert table["views_352x352"].to_dict() == {"CLIP-IQA": 1, "MA-CLIP": 5}
    row = table.loc["MA-CLIP"]
    assert row["gmacs_352x352"] == pytest.approx(2.5 * row["gmacs_256x224"])
    assert (table[["ms_256x224", "ms_352x352"]] > 0).all(axis=None)
    with undrawn:
        paper([write_run(tmp_path / "run"), tmp_path / "cost"], tmp_path / "paper")
    text = (tmp_path / "paper" / "results.tex").read_text()
    assert "Parameters, arithmetic and time are given in Table" in text
    table = next((tmp_path / "paper" / "tables").glob("*cost*.tex")).read_text()
    assert "median of 1 repeats" in table and "Parameters (M)" not in table and "M parameters" in table
    (note,) = json.loads((tmp_path / "paper" / "paper.json").read_text())["warnings"]
    assert note.startswith("without experiment=teaser")


def test_multiply_adds_are_those_of_the_layers():
    import torch

    conv = torch.nn.Conv2d(3, 8, 4, stride=4, device="meta")  # a view of 32 x 16: 8 x 4 places
    tower = torch.nn.Sequential(conv, torch.nn.Flatten(), torch.nn.Linear(8 * 32, 10, device="meta"))
    assert multiply_adds(tower, (32, 16)) == 32 * 8 * 3 * 16 + 8 * 32 * 10


@pytest.mark.long
@pytest.mark.parametrize(("name", "gmacs"), [("RN50", 12.22 / 2), ("ViT-B-32", 8.82 / 2)])
def test_multiply_adds_of_clip_are_those_that_open_clip_lists(name, gmacs):
    import open_clip

    tower = open_clip.create_model(name, pretrained=None).visual.eval().to("meta")
    assert multiply_adds(tower, (224, 224)) / 1e9 == pytest.approx(gmacs, abs=0.01)


@pytest.mark.slow
@undrawn
def test_teaser_shows_the_images_named_and_the_largest_disagreements(folder, scores, tmp_path):
    named = ["experiment.images=[03.png,20.png]", "experiment.stride=16", "figures=true"]
    experiment(folder, "teaser", tmp_path / "teaser", *named)
    table = pd.read_csv(tmp_path / "teaser" / "teaser.csv")
    row = table[table["figure"] == "teaser"]
    assert set(row["image"]) == {"03.png", "20.png"} and row["q"].is_monotonic_decreasing
    gap = scores.set_index("image")["q_mag"].rank() - scores.set_index("image")["mos"].rank()
    part = table[(table["figure"] == "disagreements") & (table["cue"] == "q_mag")]
    assert gap[part["image"]].tolist() == [*gap.nlargest(2), *gap.nsmallest(2)]
    figures = {p.name for p in (tmp_path / "teaser" / "figures").glob("*.pdf")}
    assert figures == {"teaser.pdf", "disagreements.pdf"}
    with pytest.raises(UserError, match=r"experiment.images: no.png is no image .*scores.csv"):
        experiment(folder, "teaser", tmp_path / "other", "experiment.images=[no.png]")
    results = [folder / "run", tmp_path / "teaser"]
    paper(results, tmp_path / "paper")
    text = (tmp_path / "paper" / "results.tex").read_text()
    assert text.index("/teaser.pdf") < text.index("tables/agreement")
    report(results, tmp_path / "report", Asked(thumbnails=False))
    assert not list((tmp_path / "report").rglob("maps.png"))
