"""A bundle or a run's record from a stranger runs nothing of its author's, whichever command reads it."""

import json
import shutil

import pytest
import tiny

from magiqa.cli import main as cli
from magiqa.config.compose import Configs
from magiqa.config.objects import packaged_classes
from magiqa.studies.evaluate import evaluate

pytestmark = pytest.mark.slow


def target(name, *args, **more):
    return {"_target_": name, "_args_": list(args), **more}


ATTACKS = {
    "shell": lambda c, mark: c.update(magnitude=target("torch.utils.collect_env.run", [f"touch {mark}"])),
    "expression": lambda c, mark: c.update(
        fusion=target("sympy.sympify", f"__import__('os').system('touch {mark}')")
    ),
    "method": lambda c, mark: c.update(
        prompts=target("pathlib.Path.write_text", {"_target_": "pathlib.Path"})
    ),
    "open": lambda c, mark: c.update(views=target("io.open", str(mark), "w")),
    "dataset": lambda c, mark: c.update(
        dataset=target("pathlib.Path.touch", target("pathlib.Path", str(mark)))
    ),
    "nested": lambda c, mark: c["dataset"].update(resize=target("io.open", str(mark), "w")),
    "in a list": lambda c, mark: c["prompts"].update(pairs=[["a", target("io.open", str(mark), "w")]]),
    "partial": lambda c, mark: c["magnitude"].update(_partial_=True),
    "arguments": lambda c, mark: c["magnitude"].update(_args_=[1]),
    "another class of ours": lambda c, mark: c.update(
        backbone=target("magiqa.features.cache.FeatureCache", str(mark), {})
    ),
    "new key": lambda c, mark: c.update(extra=target("io.open", str(mark), "w")),
    "no class": lambda c, mark: c.update(fusion={"w_sim": 0.5}),
}


def hostile(packed, tmp_path, attack):
    """A bundle with a checksum that fits, and a run's folder, of one attack; the file that it would make."""
    mark = tmp_path / "mark"
    bundle = tiny.altered(
        packed / "run" / "bundle.safetensors",
        tmp_path / "theirs",
        lambda arrays, meta: attack(meta["config"], mark),
    )
    shutil.copytree(packed / "run", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    attack(record["config"], mark)
    (tmp_path / "run" / "record.json").write_text(json.dumps(record))
    return bundle, tmp_path / "run", mark


READERS = {
    "evaluate": ["evaluate", "bundle={bundle}"],
    "sweep": ["evaluate", "-m", "bundle={bundle}", "pooling=mean"],
    "ablate": ["ablate", "ablation=lambda", "bundle={bundle}"],
    "experiment": ["experiment", "experiment=regimes", "bundle={bundle}"],
    "report": ["report", "bundle={bundle}", "out=page"],
    "verify": ["verify", "{bundle}", "dataset.root={packed}/set"],
    "check": ["check", "bundle={bundle}"],
    "encode": ["encode", "bundle={bundle}"],
    "pack": ["pack", "{run}", "backbone.name=local-dir:{packed}/clip"],
    "reconcile": ["reconcile", "{run}", "{packed}/run", "backbone.name=local-dir:{packed}/clip"],
}


@pytest.mark.parametrize(
    ("attack", "command"),
    [
        *((attack, command) for attack in ATTACKS for command in ("evaluate", "pack")),
        *(("open", c) for c in READERS),
    ],
)
def test_no_command_runs_what_a_file_names(packed, tmp_path, capsys, monkeypatch, attack, command):
    bundle, run, mark = hostile(packed, tmp_path, ATTACKS[attack])
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    capsys.readouterr()
    assert cli.main([word.format(bundle=bundle, run=run, packed=packed) for word in READERS[command]]) == 2
    error = capsys.readouterr().err
    assert error.startswith("magiqa: ") and error.count("\n") == 1
    assert ("record.json" if command in ("pack", "reconcile") else "theirs") in error
    assert not mark.exists()
    written = [p.name for p in (tmp_path / "here").rglob("*") if p.is_file()]
    assert sorted(written) == (["sweep.json", "table.md"] if command == "sweep" else [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda meta: meta["choices"].update(prompts="../../elsewhere"),
            "'../../elsewhere' is no option's name",
        ),
        (
            lambda meta: meta["config"].update(out="/x"),
            "its config holds the key 'out', which magiqa does not",
        ),
    ],
)
def test_names_of_options_are_no_paths(packed, tmp_path, capsys, change, message):
    bundle = tiny.altered(
        packed / "run" / "bundle.safetensors", tmp_path / "theirs", lambda _, meta: change(meta)
    )
    command = ["evaluate", "-m", f"bundle={bundle}", "fusion=fixed,product", f"out={tmp_path}/a/b"]
    assert cli.main(command) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "elsewhere").exists()


def test_paths_of_a_bundle_are_not_used(packed, tmp_path, capsys):
    def change(arrays, meta):
        meta["config"]["dataset"]["root"] = str(packed / "set")

    bundle = tiny.altered(packed / "run" / "bundle.safetensors", tmp_path / "theirs", change)
    assert Configs().job([f"bundle={bundle}"]).source.dataset.root == "set"
    assert cli.main(["verify", str(bundle)]) == 2
    assert "verify: add dataset.root=PATH, where it lies on this machine" in capsys.readouterr().err


def test_a_class_of_the_users_own_is_taken_with_its_option_typed(packed, tmp_path, capsys, monkeypatch):
    (tmp_path / "my_magnitude.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Largest:\n"
        "    def __call__(self, features):\n"
        "        return features.max(axis=1).astype(float)\n"
    )
    (tmp_path / "conf" / "magnitude").mkdir(parents=True)
    (tmp_path / "conf" / "magnitude" / "largest.yaml").write_text("_target_: my_magnitude.Largest\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    evaluate(tiny.job(packed, f"out={run}", "magnitude=largest"), progress=False)
    pack = ["pack", str(run), f"cache_dir={packed / 'cache'}", tiny.named(packed)]
    for typed, code in ((), 2), (("magnitude=l2",), 2), (("magnitude=largest",), 0):
        assert cli.main([*pack, *typed]) == code
    assert "type its option: magnitude=NAME" in capsys.readouterr().err
    bundle = ["evaluate", f"bundle={run / 'bundle.safetensors'}", f"out={tmp_path / 'out'}", "figures=false"]
    assert cli.main(bundle) == 2
    assert "its magnitude is of the class 'my_magnitude.Largest'" in capsys.readouterr().err
    assert cli.main([*bundle, "magnitude=largest"]) == 0
    assert (tmp_path / "out" / "scores.csv").read_bytes() == (run / "scores.csv").read_bytes()


def test_a_reference_in_a_file_is_text(packed, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "shown")
    bundle, run, _ = hostile(packed, tmp_path, lambda c, mark: c["prompts"].update(name="${oc.env:SECRET}"))
    for job in (Configs().recorded(run, [tiny.named(packed)]), Configs().job([f"bundle={bundle}"])):
        assert job.method.prompts.name == "${oc.env:SECRET}"


def test_the_classes_of_the_packaged_options_are_all_there():
    assert {"magiqa.images.views.Resize", "magiqa.method.fusion.Adaptive"} <= packaged_classes()
    assert not [name for name in packaged_classes() if not name.startswith("magiqa.")]


@pytest.mark.parametrize("name", ["hf-hub:attacker/evil", "local-dir:/theirs/evil"])
def test_a_backbone_elsewhere_is_taken_from_a_file_only_as_typed(packed, tmp_path, capsys, name):
    bundle, run, _ = hostile(packed, tmp_path, lambda c, mark: c["backbone"].update(name=name))
    for command in (
        ["verify", str(bundle), f"dataset.root={packed / 'set'}"],
        ["probe", f"bundle={bundle}", f"out={tmp_path / 'out'}"],
        ["pack", str(run)],
        ["pack", str(run), "backbone.name=hf-hub:me/mine"],
        ["reconcile", str(run), str(packed / "run"), tiny.named(packed)],
    ):
        assert cli.main(command) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and ("backbone.name" in error or "bundle=" in error), command
    assert Configs().recorded(run, [f"backbone.name={name}"]).method.backbone.name == name
