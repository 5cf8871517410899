"""A walk from one protocol to another attributes a known difference to the factors that make it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny

from magiqa.backbones.spec import Backbone
from magiqa.cli import main as cli
from magiqa.datasets.koniq import Koniq
from magiqa.errors import UserError
from magiqa.images.views import Resize
from magiqa.method.fusion import Fixed
from magiqa.package import conf_dir
from magiqa.report.published import PROTOCOLS, option, published
from magiqa.studies.evaluate import evaluate
from magiqa.studies.protocols import overrides_of, published_row
from magiqa.studies.reconcile import FACTORS, path, reconcile, render

RN50 = Backbone("RN50", "openai")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tiny.make(tmp_path_factory.mktemp("explained"))
    table = pd.read_csv(made / "set" / "labels.csv")
    # a second label whose noise is known, and a split
    table["noisy"] = table["mos"] + 2.0 * np.random.default_rng(3).normal(size=len(table))
    table["part"] = np.where(np.arange(len(table)) % 3 == 0, "train", "test")
    table.to_csv(made / "set" / "labels.csv", index=False)
    return made


def srcc_of(job, out):
    table, _ = evaluate(job.having(out=str(out)), progress=False)
    row = table.set_index(["score", "statistic"]).loc[("q", "srcc")]
    return row["value"], row["ci_low"], row["ci_high"]


@pytest.mark.slow
def test_three_known_factors_are_each_found(folder, tmp_path):
    first = tiny.job(folder)
    last = tiny.job(
        folder,
        "dataset.split_column=part",
        "dataset.split=test",
        "dataset.mos_column=noisy",
        "prompts=clipiqa",
        "fusion=similarity",
    )
    table, features = reconcile(first, last, progress=False)
    assert table["factor"].tolist() == ["start", "split and images", "label column", "prompts", "fusion"]
    assert table["n"].tolist() == [24, 16, 16, 16, 16]
    # every step is a run of its own
    steps = [
        first,
        tiny.job(folder, "dataset.split_column=part", "dataset.split=test"),
        tiny.job(folder, "dataset.split_column=part", "dataset.split=test", "dataset.mos_column=noisy"),
    ]
    values = [srcc_of(job, tmp_path / str(i))[0] for i, job in enumerate(steps)] + [np.nan]
    values.append(srcc_of(last, tmp_path / "last")[0])
    for row, value in zip(table.to_dict("records"), values, strict=True):
        assert np.isnan(value) or row["srcc"] == pytest.approx(value, abs=1e-12)
    assert table["change"].sum() == pytest.approx(values[-1] - values[0], abs=1e-12)
    for row in table.to_dict("records")[1:]:
        # a change that is nothing for every image has no interval
        nothing = row["change"] == 0 and np.isnan(row["change_low"])
        assert nothing or row["change_low"] <= row["change"] <= row["change_high"]
    noise, prompts = table.iloc[2], table.iloc[3]
    assert noise["change"] < 0
    assert "noisy" in noise["to"]
    assert "clipiqa (1 groups of texts)" in prompts["to"]
    assert "split=test" in table.iloc[1]["to"]
    assert "weights: untrained, seed 0" in render(table, features)


def test_whole_images_and_the_positional_embedding_change_together(folder):
    first = tiny.job(folder, "backbone.positional_embedding=native")
    last = tiny.job(folder, "views=whole")
    assert [f for f, _ in path(first, last)] == ["start", "views and positional embedding"]
    assert [f for f, _ in path(last, first)] == ["start", "views", "positional embedding"]


def test_keys_that_read_the_ratings_are_of_the_label(folder):
    last = tiny.job(
        folder, "dataset.rater_columns=[mos,noisy]", "dataset.decimal=,", "dataset.encoding=utf-8"
    )
    assert [f for f, _ in path(tiny.job(folder), last)] == ["start", "label column"]


def test_each_factor_changes_its_own_part_only(folder):
    first = tiny.job(folder)
    last = replace(
        tiny.job(
            folder,
            "dataset.mos_column=noisy",
            "dataset.every=2",
            "backbone.untrained=1",
            "views.stride=16",
            "precision=bf16",
            "prompts=clipiqa",
            "magnitude=l2",
            "fusion=fixed",
            "pooling=median",
            "fit=official",
        ),
    )
    last = last.having(
        dataset=replace(last.source.dataset, resize=Resize("squash", 80)),
        backbone=replace(last.method.backbone, positional_embedding="interpolate"),
    )
    assert [f for f, _ in path(first, last)] == ["start", *FACTORS]


@pytest.mark.slow
def test_a_walk_between_official_fits_has_the_raw_scores_intervals_and_says_how_the_fits_went(folder):
    first = tiny.job(folder, "fit=official").having(fusion=Fixed(1.0))  # whose fits keep the order
    last = first.having(fusion=Fixed(0.9), pooling="median")
    table, features = reconcile(first, last, progress=False)
    raw, _ = reconcile(first.having(fit="logistic4"), last.having(fit="logistic4"), progress=False)
    assert table["factor"].tolist() == ["start", "fusion", "pooling"]
    assert table["change_low"].equals(raw["change_low"]) and table["change_low"][1:].notna().all()
    table.loc[1, "fit"] = "start_values"
    shown = render(table, features, warnings=["something slow"])
    assert "(official fit: start_values)" in shown and shown.endswith("note: something slow")
    # the step of the fit itself has no interval
    table, _ = reconcile(first.having(fit="logistic4"), first, progress=False)
    assert table["factor"].tolist() == ["start", "fit"] and np.isnan(table.loc[1, "change_low"])


@pytest.mark.slow
def test_runs_whose_images_or_labels_are_others_are_refused(tmp_path, capsys):
    made = [tiny.make(tmp_path / name) for name in ("one", "two")]
    labels = made[1] / "set" / "labels.csv"
    labels.write_text(labels.read_text().replace("00.png,", "00.png,1"))
    for folder in made:
        evaluate(tiny.job(folder, f"out={folder / 'run'}", "pooling=median"), progress=False)
    evaluate(tiny.job(made[0], f"out={made[0] / 'other'}"), progress=False)
    assert cli.main(["reconcile", str(made[0] / "run"), str(made[0] / "other"), *map(tiny.named, made)]) == 0
    capsys.readouterr()
    assert cli.main(["reconcile", str(made[0] / "other"), str(made[1] / "run"), *map(tiny.named, made)]) == 2
    assert (
        f"are not those found now in {made[0] / 'set'}; give two runs on one data set"
        in capsys.readouterr().err
    )
    shutil.copy(made[0] / "set" / "05.png", made[0] / "set" / "00.png")
    assert cli.main(["reconcile", str(made[0] / "run"), str(made[0] / "other"), *map(tiny.named, made)]) == 2
    assert "reconcile: the images of " in capsys.readouterr().err


def test_two_data_sets_are_refused(folder, tmp_path):
    other = tiny.job(folder).having(dataset=Koniq(str(tmp_path)))
    with pytest.raises(
        UserError, match=r"^reconcile: Folder and Koniq are different data sets, their numbers differ for no"
    ):
        path(tiny.job(folder), other)


def test_published_rows():
    row = published_row("MA-CLIP:koniq")
    assert (row["n"], row["value"], row["grade"]) == (10073, 0.7645, "C")
    options = [f.stem for f in (conf_dir() / "dataset").glob("*.yaml")]
    assert {"fit=official", "backbone.pretrained=openai"} <= set(overrides_of(row, options, RN50))
    given = Backbone("RN50", None, checkpoint="rn50.pt")
    assert not [o for o in overrides_of(row, options, given) if o.startswith("backbone.pre")]
    assert "dataset=livec_practice" in overrides_of(published_row("MA-CLIP:livec"), options, RN50)
    clipiqa = overrides_of(published_row("CLIP-IQA:koniq_test"), options, RN50)
    assert {"dataset=koniq_test", "prompts=clipiqa", "views=whole", "fusion=similarity"} <= set(clipiqa)
    with pytest.raises(
        UserError, match=r"^reconcile: MA-CLIP:nothing is no published row; use METHOD:DATASET, one of "
    ):
        published_row("MA-CLIP:nothing")
    with pytest.raises(
        UserError, match=r"^reconcile: the protocol of NIQE is not known well enough to be run"
    ):
        published_row("NIQE:koniq")
    with pytest.raises(UserError, match=r"^reconcile: this row is of RN50, not ViT-B-32; use that backbone$"):
        overrides_of(row, options, Backbone("ViT-B-32", "openai"))


@pytest.mark.parametrize("method", sorted(PROTOCOLS))
@pytest.mark.slow
def test_each_known_protocol_composes(tmp_path, method):
    options = [f.stem for f in (conf_dir() / "dataset").glob("*.yaml")]
    typed = [f"dataset.root={tmp_path}"]
    rows = published()
    mine = rows[(rows["method"] == method) & (rows["statistic"] == "srcc")]
    names = sorted({str(d) for d in mine["dataset"]})
    runnable = [d for d in names if option(method, d) in options]
    assert runnable
    for name in runnable:
        asked = overrides_of(
            published_row(f"{method}:{name}"), options, Backbone(PROTOCOLS[method].backbone, "openai")
        )
        job = tiny.configs().composer(typed, packaged=True)(asked)
        assert job.statistics.fit == ("official" if method.startswith("MA-CLIP") else "logistic4")


@pytest.mark.slow
def test_a_change_from_an_srcc_that_the_fit_turned_has_no_interval(folder):
    first = tiny.job(folder, "fit=official", "fusion=similarity", "dataset.mos_column=noisy")
    table, _ = reconcile(first, first.having(fusion=Fixed(0.0), pooling="median"), progress=False)
    raw, _ = reconcile(
        first.having(fit="logistic4"),
        first.having(fit="logistic4", fusion=Fixed(0.0), pooling="median"),
        progress=False,
    )
    changed = (table["srcc"] - raw["srcc"]).abs().to_numpy() >= 1e-9
    assert changed.any()  # or this test says nothing
    assert table["srcc_low"].isna().tolist() == changed.tolist()
    touched = changed[1:] | changed[:-1]
    assert table.loc[1:, "change_low"].isna().tolist() == touched.tolist()


@pytest.mark.slow
def test_a_published_row_is_walked_to_as_it_was_whatever_is_typed(tmp_path):
    typed = [
        "dataset=koniq_512",
        f"dataset.root={tmp_path}",
        "dataset.mos=zscore",
        "dataset.every=5",
        "backbone=vit_b_32_laion2b",
        "backbone.name=RN50",
        "fusion.alpha=2",
        "magnitude.lam=0.1",
        "views.stride=64",
        "pooling=median",
        "prompts.pairs=[[a,b]]",
    ]
    options = [f.stem for f in (conf_dir() / "dataset").glob("*.yaml")]
    first = tiny.configs().job(typed)
    compose = tiny.configs().composer(typed, packaged=True)
    last = compose(overrides_of(published_row("MA-CLIP:koniq"), options, first.method.backbone))
    known = ["dataset=koniq", f"dataset.root={tmp_path}", "backbone=rn50", "fit=official"]
    packaged = tiny.configs().job([*known])
    for part in (
        "dataset",
        "backbone",
        "prompts",
        "views",
        "magnitude",
        "fusion",
        "pooling",
        "fit",
    ):
        assert last.get(part) == packaged.get(part), part


@pytest.mark.slow
def test_untrained_weights_never_stand_beside_a_published_value(folder):
    table, features = reconcile(tiny.job(folder), tiny.job(folder, "pooling=median"), progress=False)
    shown = render(table, features, published_row("MA-CLIP:koniq"))
    assert "not set beside the published value: untrained, seed 0" in shown
    assert "0.764" not in shown


@pytest.mark.slow
def test_the_command(folder, tmp_path, capsys):
    for name, more in (("a", []), ("b", ["pooling=median", "magnitude.lam=0.1"])):
        evaluate(tiny.job(folder, f"out={tmp_path / name}", *more), progress=False)
    args = [str(tmp_path / "a"), str(tmp_path / "b"), f"cache_dir={folder / 'cache'}"]
    args += ["seed=1", tiny.named(folder)]
    assert cli.main(["reconcile", *args, f"out={tmp_path / 'why'}"]) == 0
    assert "BoxCox(lam=0.5, standardize=True) -> BoxCox(lam=0.1" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "why" / "reconcile.csv")
    assert table["factor"].tolist() == ["start", "magnitude", "pooling"]
    record = json.loads((tmp_path / "why" / "record.json").read_text())
    assert record["command"] == "reconcile" and record["start"]["backbone"]["label"] == "untrained, seed 0"
    assert cli.main(["reconcile", *args, "score=q_sim", f"out={tmp_path / 'why'}"]) == 0
    capsys.readouterr()
    assert pd.read_csv(tmp_path / "why" / "reconcile.csv").loc[1, "change"] == 0  # q_sim knows no magnitude
    assert cli.main(["reconcile", str(tmp_path)]) == 2
    assert "is no published row" in capsys.readouterr().err
    for bad, message in (
        ("score=w_sim", "score=w_sim is not known: use q, q_sim, q_mag"),
        ("seed=1,2", "seed=1,2: give one value, as KEY=VALUE"),
        ("fusion.alhpa=1", "fusion.alhpa: no such key in the config; fusion has "),
        ("fusion=fixed", "has its own config; override fields (fusion.FIELD=VALUE), not whole options"),
        ("seed=many", "seed=many must be a whole number from 0"),
    ):
        assert cli.main(["reconcile", *args, bad]) == 2
        assert message in capsys.readouterr().err
