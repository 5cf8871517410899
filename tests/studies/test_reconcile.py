"""A walk from one protocol to another attributes a known difference to the factors that make it."""

import json
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
from magiqa.package import conf_dir
from magiqa.report.published import PROTOCOLS, option, published
from magiqa.studies.evaluate import evaluate
from magiqa.studies.reconcile import FACTORS, overrides_of, path, published_row, reconcile, render

RN50 = Backbone("RN50", "openai")
OPTIONS = [f.stem for f in (conf_dir() / "dataset").glob("*.yaml")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tiny.make(tmp_path_factory.mktemp("explained"))
    table = pd.read_csv(made / "set" / "labels.csv")
    # a second label whose noise is known, and a split
    table["noisy"] = table["mos"] + 2.0 * np.random.default_rng(3).normal(size=len(table))
    table["part"] = np.where(np.arange(len(table)) % 3 == 0, "train", "test")
    table.to_csv(made / "set" / "labels.csv", index=False)
    return made


@pytest.mark.slow
def test_three_known_factors_are_each_found(folder, tmp_path):
    split = ["dataset.split_column=part", "dataset.split=test"]
    noisy = [*split, "dataset.mos_column=noisy"]
    first, last = tiny.job(folder), tiny.job(folder, *noisy, "prompts=clipiqa", "fusion=similarity")
    table, features = reconcile(first, last, progress=False)
    assert table["factor"].tolist() == ["start", "split and images", "label column", "prompts", "fusion"]
    assert table["n"].tolist() == [24, 16, 16, 16, 16]
    # every step is a run of its own
    for step, job in ((0, first), (2, tiny.job(folder, *noisy)), (4, last)):
        single, _ = evaluate(job.having(out=str(tmp_path / str(step))), progress=False)
        value = single.set_index(["score", "statistic"]).loc[("q", "srcc"), "value"]
        assert table["srcc"][step] == pytest.approx(value, abs=1e-12)
    assert table["change"].sum() == pytest.approx(table["srcc"][4] - table["srcc"][0], abs=1e-12)
    rows = table[1:]
    # a change that is nothing for every image has no interval
    inside = rows["change"].between(rows["change_low"], rows["change_high"])
    assert (inside | ((rows["change"] == 0) & rows["change_low"].isna())).all()
    assert rows["change"][2] < 0 and "noisy" in rows["to"][2] and "split=test" in rows["to"][1]
    shown = render(table, features, published_row("MA-CLIP:koniq"))
    assert "not set beside the published value: untrained, seed 0" in shown and "0.764" not in shown


def test_whole_images_and_the_positional_embedding_change_together(folder):
    first = tiny.job(folder, "backbone.positional_embedding=native")
    last = tiny.job(folder, "views=whole")
    assert [f for f, _ in path(first, last)] == ["start", "views and positional embedding"]
    assert [f for f, _ in path(last, first)] == ["start", "views", "positional embedding"]


def test_each_factor_changes_its_own_part_only(folder):
    keys = [
        "dataset.mos_column=noisy",
        "dataset.every=2",
        "backbone.untrained=1",
        "views.stride=16",
        "precision=bf16",
    ]
    keys += ["prompts=clipiqa", "magnitude=l2", "fusion=fixed", "pooling=median", "fit=official"]
    last = tiny.job(folder, *keys, "backbone.positional_embedding=interpolate")
    last = last.having(dataset=replace(last.source.dataset, resize=Resize("squash", 80)))
    assert [f for f, _ in path(tiny.job(folder), last)] == ["start", *FACTORS]


def test_two_data_sets_are_refused(folder, tmp_path):
    job = tiny.job(folder)
    with pytest.raises(UserError, match=r"^reconcile: Folder and Koniq are different data sets"):
        path(job, job.having(dataset=Koniq(str(tmp_path))))


def test_published_rows():
    row = published_row("MA-CLIP:koniq")
    assert (row["n"], row["value"], row["grade"]) == (10073, 0.7645, "C")
    assert {"fit=official", "backbone.pretrained=openai"} <= set(overrides_of(row, OPTIONS, RN50))
    clipiqa = overrides_of(published_row("CLIP-IQA:koniq_test"), OPTIONS, RN50)
    assert {"dataset=koniq_test", "prompts=clipiqa", "views=whole", "fusion=similarity"} <= set(clipiqa)
    for name in ("MA-CLIP:nothing", "NIQE:koniq"):
        with pytest.raises(UserError, match=f"{name} is no published row .* one of .*MA-CLIP:koniq"):
            published_row(name)
    with pytest.raises(UserError, match=r"this row is of RN50, not ViT-B-32; use that backbone$"):
        overrides_of(row, OPTIONS, Backbone("ViT-B-32", "openai"))


@pytest.mark.parametrize("method", sorted(PROTOCOLS))
@pytest.mark.slow
def test_each_known_protocol_composes(tmp_path, method):
    rows = published()
    names = rows[(rows["method"] == method) & (rows["statistic"] == "srcc")]["dataset"].unique()
    runnable = [name for name in names if option(method, name) in OPTIONS]
    assert runnable
    compose = tiny.configs().composer([f"dataset.root={tmp_path}"], packaged=True)
    backbone = Backbone(PROTOCOLS[method].backbone, "openai")
    for name in runnable:
        job = compose(overrides_of(published_row(f"{method}:{name}"), OPTIONS, backbone))
        assert job.statistics.fit == ("official" if method.startswith("MA-CLIP") else "logistic4")


@pytest.mark.slow
def test_a_published_row_is_walked_to_as_it_was_whatever_is_typed(tmp_path):
    typed = ["dataset=koniq_512", f"dataset.root={tmp_path}", "dataset.mos=zscore", "dataset.every=5"]
    typed += ["backbone=vit_b_32_laion2b", "backbone.name=RN50", "fusion.alpha=2", "magnitude.lam=0.1"]
    typed += ["views.stride=64", "pooling=median", "prompts.pairs=[[a,b]]"]
    compose = tiny.configs().composer(typed, packaged=True)
    own = tiny.configs().job(typed).method.backbone
    last = compose(overrides_of(published_row("MA-CLIP:koniq"), OPTIONS, own))
    known = ["dataset=koniq", f"dataset.root={tmp_path}", "backbone=rn50", "fit=official"]
    packaged = tiny.configs().job(known)
    for part in ("dataset", "backbone", "prompts", "views", "magnitude", "fusion", "pooling", "fit"):
        assert last.get(part) == packaged.get(part), part


@pytest.mark.slow
def test_the_command(folder, tmp_path, capsys):
    for name, more in (("a", []), ("b", ["pooling=median", "magnitude.lam=0.1"])):
        evaluate(tiny.job(folder, f"out={tmp_path / name}", *more), progress=False)
    args = ["reconcile", str(tmp_path / "a"), str(tmp_path / "b"), f"cache_dir={folder / 'cache'}"]
    args += ["seed=1", tiny.named(folder), f"out={tmp_path / 'why'}"]
    assert cli.main(args) == 0
    assert "BoxCox(lam=0.5, standardize=True) -> BoxCox(lam=0.1" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "why" / "reconcile.csv")
    assert table["factor"].tolist() == ["start", "magnitude", "pooling"]
    record = json.loads((tmp_path / "why" / "record.json").read_text())
    assert record["command"] == "reconcile" and record["start"]["backbone"]["label"] == "untrained, seed 0"
    for bad, message in (
        ("score=w_sim", "score=w_sim is not known: use q, q_sim, q_mag"),
        ("fusion.alhpa=1", "fusion.alhpa: no such key in the config; fusion has "),
        ("fusion=fixed", "has its own config; override fields (fusion.FIELD=VALUE), not whole options"),
        ("seed=many", "seed=many must be a whole number from 0"),
    ):
        assert cli.main([*args, bad]) == 2
        assert message in capsys.readouterr().err
