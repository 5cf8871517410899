"""A published method is one option: it equals the run that spells it out, from composition to bundle."""

import hashlib
import json
import sys

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from magiqa.cli import main as cli
from magiqa.config.typed import GROUPS
from magiqa.method.pooling import pool
from magiqa.method.presets import presets
from magiqa.report.methods import method_name, primary
from magiqa.runs.record import own_code, versions
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
    for preset in presets().values():
        assert preset.paper and preset.code and preset.licence
        assert set(preset.options) == set(GROUPS) - {"dataset"}


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
    for own in (["method=liqe", "backbone.checkpoint=a.pt"], ["method=maclip", "backbone=demo"]):
        assert compose(*own).job().output.name == ""  # where weights lie, and any CLIP for MA-CLIP
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


@pytest.mark.slow
def test_the_list_says_which_weights_are_here(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MAGIQA_WEIGHTS", str(tmp_path))
    (tmp_path / "uniqa.pth").write_bytes(b"x")
    assert cli.main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    here = {line.split()[0]: line.split()[-1] for line in lines if line.startswith(("uniqa", "liqe"))}
    assert here == {"uniqa": "yes", "liqe": "no", "liqe_mix": "no"}


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
@pytest.mark.parametrize("name", ["clipiqa_plus", "qualiclip", "liqe_mix", "zeniqa"])
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
def test_the_python_api_and_score_take_a_method(folder, tmp_path):
    typed = [o for o in overrides(folder, "zeniqa") if not o.startswith(("cache_dir", "dataset", "figures"))]
    image, out = str(folder / "set" / "01.png"), tmp_path / "s.csv"
    scorer = Scorer.compose(*typed)
    assert scorer.record()["method"].startswith("ZEN-IQA (views.window=64")
    assert cli.main(["score", image, f"csv={out}", f"cache_dir={tmp_path}/c", *typed]) == 0
    np.testing.assert_allclose(pd.read_csv(out)["q"], scorer(image), rtol=1e-12)


METHOD = """# @package _global_
defaults: [{override /backbone: small}, {override /views: small}, {override /prompts: PROMPTS},
           {override /fusion: similarity}]
"""


@pytest.mark.slow
def test_an_ablation_compares_methods_and_refuses_their_keys(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files = {
        "method/one": METHOD.replace("PROMPTS", "uniqa"),
        "method/two": METHOD.replace("PROMPTS", "zeniqa"),
        "backbone/small": "_target_: magiqa.backbones.spec.Backbone\n"
        f"name: 'local-dir:{folder / 'clip'}'\nuntrained: 0\n",
        "views/small": "_target_: magiqa.images.views.Views\nkinds: [windows]\nwindow: 64\nstride: 32\n",
        "ablation/own": "_target_: magiqa.studies.ablation.Ablation\nname: own\n"
        "axes: {method: [one, two]}\nreference: {method: one}\n",
    }
    for name, text in files.items():
        path = tmp_path / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    typed = [o for o in tiny.overrides(folder) if not o.startswith(("backbone", "views"))]
    assert cli.main(["ablate", "ablation=own", *typed, "out=a"]) == 0
    table, _ = evaluate(tiny.configs().job([*typed, "method=two", "out=two"]), progress=False)
    srcc = table[(table["score"] == "q") & (table["statistic"] == "srcc")]["value"].iloc[0]
    assert pd.read_csv("a/ablation.csv").set_index("method")["srcc"]["two"] == pytest.approx(srcc, abs=1e-12)
    assert cli.main(["ablate", "ablation=own", *tiny.overrides(folder), "out=b"]) == 2
    assert "backbone=open_clip: each method of the ablation sets its backbone" in capsys.readouterr().err
    assert cli.main(["ablate", "ablation=methods", *typed, "out=c"]) == 2
    assert "CLIP-IQA+, QualiCLIP" in capsys.readouterr().err  # whose weights are not here


def test_a_run_is_named_by_its_context_vectors_and_not_by_their_place(tmp_path):
    vectors = torch.ones(16, 32)
    for name, values in (("a.pt", vectors), ("b.pt", vectors), ("c.pt", 2 * vectors)):
        torch.save({"ctx": values}, tmp_path / name)
    names = [
        compose("method=clipiqa_plus", f"prompts.context={tmp_path / n}").job().name
        for n in ("a.pt", "b.pt", "c.pt")
    ]
    assert names[0] == names[1] != names[2]


CODE = """
class Top:
    def __init__(self, share):
        self.share = share

    def __call__(self, values):
        return sorted(values)[-max(1, int(self.share * len(values))):][0]
"""


def test_own_pooling_is_composed_and_its_module_recorded(tmp_path, monkeypatch):
    (tmp_path / "pools_of_mine.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    job = tiny.configs().job(["pooling={_target_:pools_of_mine.Top,share:0.5}"])
    assert pool(np.array([4.0, 1.0, 3.0, 2.0]), job.method.pooling) == 3.0
    digest = hashlib.sha256(CODE.encode()).hexdigest()
    assert own_code(job.config) == {"pools_of_mine": digest}
    assert versions(job.config)["pools_of_mine"] == f"sha256 {digest}"
    assert job.name != tiny.configs().job([]).name
    sys.modules.pop("pools_of_mine")


@pytest.mark.slow
def test_keys_that_only_choose_what_is_shown_change_no_run():
    job = tiny.configs().job(["style.width=column", "statistics=all", "figures=false"])
    assert (job.output.style.width, job.output.statistics) == ("column", "all")
    assert job.name == tiny.configs().job([]).name and not job.changed
