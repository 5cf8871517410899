"""Ablations say what single runs say, a variant at a time, and what picking the best costs."""

import socket
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import tiny

from magiqa.backbones import library
from magiqa.backbones.checkpoint import LackingWeights
from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import find_weights
from magiqa.errors import UserError
from magiqa.features.source import prepare
from magiqa.method.cues import BoxCox, Plain, box_cox_means
from magiqa.method.fusion import Adaptive, Fixed, Product
from magiqa.method.pooling import pool
from magiqa.method.prompts import PromptSet
from magiqa.package import conf_dir
from magiqa.report.transfer import transfer
from magiqa.runs.record import Clock
from magiqa.scoring.score import score, score_many, score_views, sources
from magiqa.studies import ablate as command
from magiqa.studies.ablate import render
from magiqa.studies.ablation import Ablation, expand
from magiqa.studies.evaluate import evaluate

CONF = conf_dir()


@pytest.fixture(scope="module")
def features(folder):
    return prepare(tiny.job(folder), Clock(), progress=False)


def ablate(folder, name, out, *more):
    args = tiny.overrides(folder, f"ablation={name}", f"out={out}", *more)
    return command.ablate(tiny.configs().job(args), tiny.configs().composer(args), progress=False)


# counted by hand from each file, with the name of the variant that the others are compared with
EXPANDED = {
    "alpha": (21, "alpha=1"),
    "backbones": (9, "backbone=rn50"),
    "base": (21, "base_sim=0.4, base_mag=0"),
    "fusion": (9, "adaptive"),
    "grid": (21 * 9, "lam=0.5, alpha=1"),
    "lambda": (101, "lam=0.5"),
    "lambda_magnitude": (101, "lam=0.5"),
    "magnitude": (7, "magnitude=boxcox"),
    "pairs": (1 + 5, "as configured"),
    "pooling": (3, "pooling=mean"),
    "positional_embedding": (3, "positional_embedding=drop"),
    "precision": (2, "precision=fp32"),
    "prompts": (4, "prompts=maclip"),
    "stride": (5, "stride 128"),
    "views": (5, "windows and global"),
}


def test_every_packaged_ablation_is_counted():
    assert {*EXPANDED, "methods"} == {f.stem for f in (CONF / "ablation").glob("*.yaml")}


@pytest.mark.parametrize("option", EXPANDED)
@pytest.mark.slow
def test_every_ablation_expands(option, folder):
    args = tiny.overrides(folder, f"ablation={option}")
    # a backbone's name belongs to this folder's tiny one
    if option == "backbones":
        args = [a for a in args if not a.startswith("backbone")]
    variants, reference = expand(tiny.configs().job(args), tiny.configs().composer(args))
    assert (len(variants), variants[reference].name) == EXPANDED[option]
    # no two variants are the same run, but for the reference "as configured"
    runs = [repr(v.job.having(ablation=None, config={}, choices={})) for v in variants]
    assert len(set(runs)) == len(runs)


@pytest.mark.slow
def test_a_lambda_grid_equals_single_runs(folder, tmp_path):
    table, record = ablate(folder, "lambda", tmp_path)
    assert table["magnitude.lam"].tolist() == [round(-1 + 0.02 * k, 10) for k in range(101)]
    assert pd.read_csv(tmp_path / "ablation.csv")["srcc"].tolist() == table["srcc"].tolist()
    statistics = ["srcc", "srcc_within", "plcc"]
    for lam in (-0.84, 0.0, 0.94):
        out = f"out={tmp_path}/{lam}"
        single, _ = evaluate(tiny.job(folder, f"magnitude.lam={lam}", out), progress=False)
        own = single[single["score"] == "q"].set_index("statistic").loc[statistics]
        row = table[table["magnitude.lam"] == lam].iloc[0]
        for ours, theirs in (("", "value"), ("_low", "ci_low"), ("_high", "ci_high")):
            assert row[[s + ours for s in statistics]].tolist() == pytest.approx(
                own[theirs].tolist(), abs=1e-12
            )
    assert record["ablation"]["reference"] == "lam=0.5"
    assert table.loc[75, "diff"] == 0
    assert np.isnan(table.loc[75, "p"])
    assert (table["p_adjusted"].dropna() >= table["p"].dropna()).all()
    shown = render(table, record)
    assert "magnitude.lam in steps of 0.1, the best and the reference" in shown
    assert all(f"\nlam={k / 10:g} " in shown for k in range(-10, 11)) and "lam=0.52 " not in shown


def by_view(features, method):
    """Scores of each image from a table of its views, pooled one image at a time."""
    views = score_views(features, method)
    return views.groupby("position")[["q_sim", "q_mag", "q"]].agg(
        lambda v: pool(v.to_numpy(), method.pooling)
    )


@pytest.mark.slow
def test_scores_of_every_kind_of_variant_equal_single_scores(folder, features):
    base = tiny.job(folder)
    magnitudes = [BoxCox(0.3), BoxCox(-0.7, standardize=False), BoxCox(0.0, standardize=False), Plain("l2")]
    fusions = [Adaptive(alpha=2.0), Fixed(0.3), Product()]
    methods = [
        base.having(magnitude=m, fusion=f, pooling=p).method
        for m, f, p in product(magnitudes, fusions, ("mean", "worst_tenth"))
    ]
    for wanted in ("q", "q_sim", "q_mag"):
        matrix = score_many(features, methods, (wanted,))[wanted]
        for method, row in zip(methods, matrix, strict=True):
            np.testing.assert_allclose(row, by_view(features, method)[wanted], rtol=1e-12)
            np.testing.assert_allclose(row, score(features, method)[wanted], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [["windows"], ["global"], ["global", "windows"]])
def test_a_view_mask_equals_an_encode_of_those_views(folder, features, kinds, tmp_path):
    base = tiny.job(folder)
    part = base.having(views=replace(base.method.views, kinds=tuple(kinds)))
    assert len(sources([part, base])) == 1
    own = prepare(part, Clock(), progress=False)
    masked = score_many(features, [part.method])["q"][0]
    np.testing.assert_allclose(masked, by_view(own, part.method)["q"], rtol=1e-6)


def test_what_needs_features_of_its_own(folder):
    base = tiny.job(folder)
    others = [
        base.having(views=replace(base.method.views, stride=16)),
        base.having(views=replace(base.method.views, kinds=("whole",))),
        base.having(backbone=replace(base.method.backbone, untrained=1)),
        base.having(precision="bf16"),
        base.having(pooling="median"),
        base.having(magnitude=BoxCox(0.1)),
    ]
    assert [(users) for _, users in sources([base, *others])] == [[0, 5, 6], [1], [3], [4], [2]]


@pytest.mark.parametrize(
    "lams", [list(np.round(np.arange(-50, 51) * 0.02, 10)), [0.5, -2.0, 0.0, 1e-9, 0.31, 3.0]]
)
def test_box_cox_of_many_lambdas_equals_one_at_a_time(lams):
    logs = np.log1p(np.random.default_rng(0).exponential(3, (70, 33)))
    logs[0] = 0
    direct = np.stack(
        [logs.mean(1) if lam == 0 else np.expm1(lam * logs).mean(1) / lam for lam in lams], axis=1
    )
    np.testing.assert_allclose(box_cox_means(logs, lams), direct, rtol=1e-11, atol=0)


@pytest.mark.slow
def test_a_grid_of_two_parameters(folder, tmp_path):
    table, record = ablate(folder, "grid", tmp_path, "figures=true")
    assert len(table) == 21 * 9 and table["srcc_low"].notna().all()
    assert list((tmp_path / "figures").rglob("*.png"))
    assert "the 25 best and the reference; ablation.csv holds all 189 variants" in render(table, record)


@pytest.mark.slow
def test_typed_keys_go_on_to_the_options_that_share_them(folder):
    def methods(*more):
        args = tiny.overrides(folder, *more)
        variants, _ = expand(tiny.configs().job(args), tiny.configs().composer(args))
        return {v.name: v.job.method for v in variants}

    fusions = {name: m.fusion for name, m in methods("ablation=fusion", "fusion.alpha=2").items()}
    assert fusions["adaptive"] == Adaptive(alpha=2)
    assert fusions["adaptive with equal bases"] == Adaptive(1.0, 1.0, 2.0)
    # what sets two options apart is as the option says
    assert fusions["adaptive bases without alpha"] == Adaptive(alpha=0)
    fixed = methods("ablation=fusion", "fusion=fixed", "fusion.w_sim=0.3")
    assert fixed["similarity only"].fusion == Fixed(1.0)
    views = methods("ablation=views", "magnitude.lam=0.3")["windows"]
    assert (views.views.window, views.views.stride, views.magnitude) == (64, 32, BoxCox(0.3))


def test_leave_one_data_set_out():
    def one(name, gains, label="mos"):
        table = pd.DataFrame({"variant": ["a", "b", "c"], "diff": gains, "srcc": [0.5 + g for g in gains]})
        dataset = {"name": name, "variant": "", "n": 9, "label": label}
        backbone = {"label": None, "kind": "given"}
        return table, {"dataset": dataset, "backbone": backbone, "ablation": {"reference": "a"}}

    sets = [one("x", [0, 0.1, 0.0]), one("y", [0, 0.0, 0.2]), one("z", [0, -0.1, 0.1])]
    sets.append(one("degraded", [0, 9.0, 0.0], "ssim"))  # SSIM is no MOS
    found = transfer(sets).set_index("dataset")
    assert found["chosen_on_others"].to_dict() == {"x": "c", "y": "c", "z": "c"}
    assert found.loc["x", "shortfall"] == pytest.approx(0.1)
    assert found.loc["y", "shortfall"] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"axes": {}}, "a: neither axes nor variants are given; nothing varies$"),
        ({"axes": {"magnitude.lam": []}}, r"a: axes.magnitude.lam must be a list of values or \{start"),
        (
            {"axes": {"magnitude.lam": {"start": 0, "stop": 1}}},
            "lam needs start, stop and step, three numbers, not",
        ),
        ({"axes": {"magnitude.lam": {"start": 0, "stop": 1, "step": 0}}}, "step must be above 0"),
        ({"axes": {"seed": [1]}}, "a: seed cannot vary here"),
        ({"variants": ["median"]}, r"variants\[0\]=median must be a mapping of keys to values$"),
        ({"axes": {"pooling": ["mean"]}, "reference": "mean"}, "reference=mean must be a mapping of"),
        ({"axes": {"pooling": ["mean"]}, "score": "w"}, "score=w is not known: use q, q_sim, q_mag$"),
    ],
)
def test_ablations_check_themselves(made, message):
    with pytest.raises(UserError, match=f"^ablation.*{message}"):
        Ablation("a", **made)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"magnitude.lambda": [1]}, ", variant lambda=1: .*BoxCox has no such field, only lam"),
        ({"pooling": ["max"]}, ", variant pooling=max: pooling=max is not known: use mean, median"),
        ({"magnitude": ["l2"]}, ", variant magnitude=l2: magnitude=l2: options need the configs$"),
        ({"magnitude.lam": [0.1, 0.1]}, ": two variants are named lam=0.1; give one a name: of its own$"),
    ],
)
def test_variants_that_cannot_be(folder, axes, message):
    job = tiny.job(folder).having(ablation=Ablation("a", axes))
    with pytest.raises(UserError, match=f"^ablation a{message}"):
        expand(job)


FAR = {"backbone.name": "hf-hub:nobody/has-this", "backbone.untrained": None}


@pytest.fixture
def asked(monkeypatch):
    """Names that were looked up in a network that is not there."""
    names = []

    def unknown(*args, **options):
        names.append(args)
        raise socket.gaierror("no address")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    library._has_address.cache_clear()
    yield names
    library._has_address.cache_clear()


@pytest.mark.slow
def test_backbones_that_are_there_are_compared_and_the_others_named(folder, tmp_path, asked):
    near = {"backbone.name": f"local-dir:{folder / 'clip'}"}
    one, other = near | {"backbone.untrained": 0}, near | {"backbone.untrained": 1}
    job = tiny.job(folder, f"out={tmp_path}")
    variants = [{"name": "far", **FAR}, {"name": "one", **one}, {"name": "other", **other}]
    networks = Ablation("nets", variants=variants, reference=other)
    table, record = command.ablate(job.having(ablation=networks), progress=False)
    assert table["variant"].tolist() == ["one", "other"] and table["diff"].tolist()[1] == 0
    about = record["ablation"]
    assert about["reference"] == "other" and about["variants"] == 2
    assert list(about["lacking"]) == ["far"] and FAR["backbone.name"] in about["lacking"]["far"]
    assert "note: variants without weights: far; left out (" in render(table, record)
    assert not any("reference" in w for w in record["warnings"])
    alone = Ablation("nets", variants=variants[:2], reference=one)
    with pytest.raises(UserError, match=r"nets: variants without weights: far; nothing is left"):
        command.ablate(job.having(ablation=alone), progress=False)


def test_without_a_network_nothing_is_tried_again_and_again(asked, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for tag in ("openai", "laion2b_s34b_b79k"):
        with pytest.raises(LackingWeights, match="neither in the hub cache nor to be downloaded"):
            find_weights(Backbone("ViT-B-32", tag), PromptSet("p", pairs=(("a", "b"),)))
    assert len(asked) == 1  # the client alone would ask ten times a backbone, half a minute a file
