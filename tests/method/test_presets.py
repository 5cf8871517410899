"""A published method is one option: it equals the run that spells it out, from composition to bundle."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from magiqa.cli import main as cli
from magiqa.config.typed import GROUPS
from magiqa.errors import UserError
from magiqa.method.presets import presets
from magiqa.report.methods import method_name, primary
from magiqa.scorer.scorer import Scorer
from magiqa.studies.evaluate import evaluate
from magiqa.studies.pack import pack

NAMES = [
    "clipiqa", "clipiqa_plus", "clipiqa_pyiqa", "liqe", "liqe_mix", "maclip", "qualiclip", "qualiclip_pyiqa", "uniqa",
    "zeniqa",
]  # fmt: skip


def compose(*overrides):
    return tiny.configs().compose(list(overrides))


def record(job):
    kept = {"positional_embedding": job.method.backbone.positional_embedding}
    return {"choices": job.choices, "changed": job.changed, "config": job.config, "backbone": kept}


def test_every_method_of_the_family_is_there():
    assert sorted(presets()) == NAMES
    assert all(preset.paper and preset.code and preset.licence for preset in presets().values())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_method_equals_the_run_that_spells_it_out(name):
    preset = presets()[name]
    by_name = compose(f"method={name}")
    spelled = compose(*(f"{group}={option}" for group, option in preset.options.items()))
    assert by_name == spelled
    job = by_name.job()
    assert job.name == spelled.job().name and job.changed == {} and job.output.name == ""
    assert method_name(record(job), primary(record(job))) == preset.title


def test_a_typed_key_goes_before_the_methods_own_and_is_said():
    typed = ["backbone=rn50", "views.stride=64", "dataset=sample"]
    by_name = compose(*typed[:2], "method=liqe", typed[2]).job()
    spelled = compose("prompts=liqe", "views=liqe", "fusion=similarity", *typed).job()
    assert (by_name.name, by_name.changed) == (spelled.name, {"views.stride": 64})
    assert by_name.method.backbone.name == "RN50" and by_name.method.backbone.checkpoint is None
    assert by_name.output.name == "LIQE (backbone=rn50, views.stride=64)"
    assert compose("method=liqe", "name=Ours", *typed).job().output.name == "Ours"
    assert compose("method=liqe", "backbone.checkpoint=a.pt").job().output.name == ""  # where it lies
    assert compose("method=maclip", "backbone=demo").job().output.name == ""  # any CLIP's features
    dropped = compose("method=liqe", "backbone.positional_embedding=drop").job()
    assert "positional_embedding=drop" in dropped.output.name
    assert method_name(record(spelled), "q_sim") != "LIQE"


def test_weights_are_looked_for_in_one_folder(monkeypatch, tmp_path, capsys):
    assert compose("method=liqe").job().method.backbone.checkpoint == "weights/liqe_koniq.pt"
    monkeypatch.setenv("MAGIQA_WEIGHTS", str(tmp_path))
    assert compose("method=clipiqa_plus").job().method.prompts.context == f"{tmp_path}/iter_80000.pth"
    assert cli.main(["evaluate", "method=uniqa"]) == 2
    message = capsys.readouterr().err
    assert (
        f"backbone.checkpoint={tmp_path}/uniqa.pth: no such file" in message and "magiqa methods" in message
    )


def test_methods_are_swept_and_unknown_ones_refused():
    assert tiny.configs().jobs(["method=clipiqa,liqe", "dataset=sample"])[1] == [
        "method=liqe",
        "dataset=sample",
    ]
    with pytest.raises(UserError, match=r"method/nothing(.|\n)*"):
        compose("method=nothing")


@pytest.mark.slow
def test_the_list_says_which_weights_are_here(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MAGIQA_WEIGHTS", str(tmp_path))
    (tmp_path / "uniqa.pth").write_bytes(b"x")
    assert cli.main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    here = {line.split()[0]: line.split()[-1] for line in lines if line.startswith(("uniqa", "liqe"))}
    assert here == {"uniqa": "yes", "liqe": "no", "liqe_mix": "no"}
    assert any("CC BY-NC 4.0" in line for line in lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("tiny"))


def overrides(folder, name, *more):
    """A method on the tiny backbone, with a context or text features that fit it."""
    generator = torch.Generator().manual_seed(0)
    files = {
        "clipiqa_plus": ("prompts.context", "ctx", 0.05 * torch.randn(16, 32, generator=generator)),
        "qualiclip": ("prompts.features", "prompts_features", torch.randn(14, 32, generator=generator)),
    }
    if name in files:
        key, tensor, values = files[name]
        torch.save({tensor: values}, folder / f"{name}.pt")
        more = (f"{key}={folder / name}.pt", *more)
    return tiny.overrides(folder, f"method={name}", *more)


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["clipiqa_plus", "qualiclip", "liqe", "liqe_mix", "uniqa", "zeniqa", "clipiqa"]
)
def test_a_bundle_of_a_method_evaluates_without_weights(folder, tmp_path, name, monkeypatch):
    job = tiny.configs().job(overrides(folder, name, f"out={tmp_path / 'run'}"))
    assert job.output.name.startswith(presets()[name].title)
    evaluate(job, progress=False)
    bundle = pack(tmp_path / "run", job, [], tmp_path / "b.safetensors")
    (folder / f"{name}.pt").unlink(missing_ok=True)
    again = tiny.configs().job([f"bundle={bundle}", f"out={tmp_path / 'again'}", "figures=false"])
    evaluate(again, progress=False)
    assert (tmp_path / "again" / "scores.csv").read_bytes() == (tmp_path / "run" / "scores.csv").read_bytes()
    source = json.loads((tmp_path / "again" / "record.json").read_text())["backbone"]["source"]
    assert ("of sha256" in source) == bool(job.method.prompts.context or job.method.prompts.features)
    q_sim = pd.read_csv(tmp_path / "run" / "scores.csv")["q_sim"]
    low, high = job.method.prompts.range
    assert q_sim.between(low, high).all() and q_sim.std() > 0


@pytest.mark.slow
def test_the_python_api_and_score_take_a_method(folder, tmp_path, capsys):
    typed = [o for o in overrides(folder, "zeniqa") if not o.startswith("cache_dir")]
    images = sorted((folder / "set").glob("*.png"))[:3]
    scorer = Scorer.compose(*typed)
    cues = scorer.cues(images)
    pairs = cues.iloc[:, 5:].to_numpy()
    np.testing.assert_allclose(
        cues["q_sim"], (pairs[:, 0] + pairs[:, 1] + pairs[:, 2:].min(axis=1)) / 3, atol=1e-12
    )
    assert scorer.record()["method"].startswith("ZEN-IQA (views.window=64")
    out = tmp_path / "s.csv"
    typed = [o for o in typed if not o.startswith(("dataset", "figures"))]
    assert cli.main(["score", *map(str, images), f"csv={out}", f"cache_dir={tmp_path}/c", *typed]) == 0
    table = pd.read_csv(out).set_index("image").loc[list(map(str, images))]
    np.testing.assert_allclose(table["q"], cues["q"], rtol=1e-12)


@pytest.mark.slow
def test_an_ablation_compares_methods_and_refuses_their_keys(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "conf" / "method"
    own.mkdir(parents=True)
    near = tiny.overrides(folder)
    bone = next(o for o in near if o.startswith("backbone.name")).partition("=")[2]
    (tmp_path / "conf" / "backbone").mkdir()
    (tmp_path / "conf" / "backbone" / "small.yaml").write_text(
        f"_target_: magiqa.backbones.spec.Backbone\nname: {bone}\nuntrained: 0\n"
    )
    (tmp_path / "conf" / "views").mkdir()
    (tmp_path / "conf" / "views" / "small.yaml").write_text(
        "_target_: magiqa.images.views.Views\nkinds: [windows]\nwindow: 64\nstride: 32\ncover: false\nsmall: error\n"
    )
    for name, prompts in (("one", "uniqa"), ("two", "zeniqa")):
        (own / f"{name}.yaml").write_text(
            "# @package _global_\ndefaults:\n  - override /backbone: small\n  - override /views: small\n"
            f"  - override /prompts: {prompts}\n  - override /fusion: similarity\n"
        )
    (tmp_path / "conf" / "ablation").mkdir()
    (tmp_path / "conf" / "ablation" / "own.yaml").write_text(
        "_target_: magiqa.studies.ablation.Ablation\nname: own\naxes: {method: [one, two]}\n"
        "reference: {method: one}\n"
    )
    typed = [o for o in near if not o.startswith(("backbone", "views"))]
    assert cli.main(["ablate", "ablation=own", *typed, "out=a"]) == 0
    for name in ("one", "two"):
        table, _ = evaluate(tiny.Configs().job([*typed, f"method={name}", f"out={name}"]), progress=False)
        srcc = table[(table["score"] == "q") & (table["statistic"] == "srcc")]["value"].iloc[0]
        row = pd.read_csv("a/ablation.csv").set_index("method").loc[name]
        assert row["srcc"] == pytest.approx(srcc, abs=1e-12)
    assert cli.main(["ablate", "ablation=own", *near, "out=b"]) == 2
    assert "backbone=open_clip: each method of the ablation sets its backbone" in capsys.readouterr().err
    assert cli.main(["ablate", "ablation=methods", *typed, "out=c"]) == 2
    assert "CLIP-IQA+, QualiCLIP" in capsys.readouterr().err  # whose weights are not here


def test_the_options_of_a_method_are_groups():
    assert all(set(preset.options) == set(GROUPS) - {"dataset"} for preset in presets().values())


def test_a_run_is_named_by_its_context_vectors_and_not_by_their_place(tmp_path):
    vectors = torch.ones(16, 32)
    for name, values in (("a.pt", vectors), ("b.pt", vectors), ("c.pt", 2 * vectors)):
        torch.save({"ctx": values}, tmp_path / name)
    names = [
        compose("method=clipiqa_plus", f"prompts.context={tmp_path / n}").job().name
        for n in ("a.pt", "b.pt", "c.pt")
    ]
    assert names[0] == names[1] != names[2]
