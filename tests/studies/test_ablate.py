"""Ablations say what single runs say, a variant at a time, and what picking the best costs."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import tiny

from magiqa.errors import UserError
from magiqa.features.source import prepare
from magiqa.method.cues import BoxCox, Plain
from magiqa.method.fast_variants import box_cox_means
from magiqa.method.fusion import Adaptive, Fixed, Product
from magiqa.method.pooling import pool
from magiqa.package import conf_dir
from magiqa.runs.record import Clock
from magiqa.scoring.score import score, score_many, score_views, sources
from magiqa.studies import ablate as command
from magiqa.studies.ablate import render, transfer
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
    "stride": (5, "stride 128 (paper)"),
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
    for lam in (-0.84, 0.0, 0.94):
        single, _ = evaluate(
            tiny.job(folder, f"magnitude.lam={lam}", f"out={tmp_path}/{lam}"), progress=False
        )
        one = single[single["score"] == "q"].set_index("statistic")
        row = table[table["magnitude.lam"] == lam].iloc[0]
        for statistic in ("srcc", "srcc_within", "plcc"):
            for mine, theirs in (("", "value"), ("_low", "ci_low"), ("_high", "ci_high")):
                assert row[statistic + mine] == pytest.approx(one.loc[statistic, theirs], abs=1e-12)
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
    jobs = [
        base.having(magnitude=m, fusion=f, pooling=p)
        for m, f, p in product(
            (
                BoxCox(0.3),
                BoxCox(-0.7, standardize=False),
                BoxCox(0.0, standardize=False),
                Plain("l2"),
            ),
            (Adaptive(alpha=2.0), Fixed(0.3), Product()),
            ("mean", "worst_tenth"),
        )
    ]
    for wanted in ("q", "q_sim", "q_mag"):
        matrix = score_many(features, [job.method for job in jobs], (wanted,))[wanted]
        for job, row in zip(jobs, matrix, strict=True):
            np.testing.assert_allclose(row, by_view(features, job.method)[wanted], rtol=1e-12)
            np.testing.assert_allclose(row, score(features, job.method)[wanted], rtol=1e-12)


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
    np.testing.assert_allclose(box_cox_means(logs, lams), direct, rtol=1e-12, atol=0)


@pytest.mark.slow
def test_a_grid_of_two_parameters(folder, tmp_path):
    table, record = ablate(folder, "grid", tmp_path, "figures=true")
    assert len(table) == 21 * 9 and table["srcc_low"].notna().all()
    reference = table[table["variant"] == record["ablation"]["reference"]].iloc[0]
    single, _ = evaluate(tiny.job(folder, f"out={tmp_path}/single"), progress=False)
    srcc = single.set_index(["score", "statistic"]).loc[("q", "srcc")]
    assert reference["srcc"] == pytest.approx(srcc["value"], abs=1e-12)
    assert list((tmp_path / "figures").rglob("*.png"))
    assert "the 25 best and the reference; ablation.csv holds all 189 variants" in render(table, record)


@pytest.mark.slow
def test_typed_keys_go_on_to_the_options_that_share_them(folder):
    def jobs(*more):
        args = tiny.overrides(folder, *more)
        variants, _ = expand(tiny.configs().job(args), tiny.configs().composer(args))
        return {v.name: v.job for v in variants}

    fusions = jobs("ablation=fusion", "fusion.alpha=2")
    assert fusions["adaptive"].method.fusion == Adaptive(alpha=2)
    assert fusions["adaptive with equal bases"].method.fusion == Adaptive(1.0, 1.0, 2.0)
    assert fusions["adaptive bases without alpha"].method.fusion == Adaptive(alpha=0)
    assert fusions["similarity only"].method.fusion == Fixed(1.0)
    # what sets two options apart is as the option says
    assert jobs("ablation=fusion", "fusion=fixed", "fusion.w_sim=0.3")[
        "similarity only"
    ].method.fusion == Fixed(1.0)
    definitions = jobs("ablation=magnitude", "magnitude.lam=0.3")
    assert definitions["magnitude=boxcox"].method.magnitude == BoxCox(0.3)
    assert definitions["magnitude=boxcox_raw"].method.magnitude == BoxCox(0.3, standardize=False)
    assert definitions["magnitude=l2"].method.magnitude == Plain("l2")
    views = jobs("ablation=views")["windows"].method.views
    assert (views.kinds, views.window, views.stride) == (("windows",), 64, 32)


def test_leave_one_data_set_out():
    def one(name, gains, label="mos"):
        table = pd.DataFrame({"variant": ["a", "b", "c"], "diff": gains, "srcc": [0.5 + g for g in gains]})
        record = {
            "dataset": {"name": name, "variant": "", "n": 9, "label": label},
            "backbone": {"label": None, "kind": "given"},
            "ablation": {"reference": "a"},
        }
        return table, record

    sets = [one("x", [0, 0.1, 0.0]), one("y", [0, 0.0, 0.2]), one("z", [0, -0.1, 0.1])]
    found = transfer([*sets, one("degraded", [0, 9.0, 0.0], "ssim")]).set_index("dataset")  # SSIM is no MOS
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
