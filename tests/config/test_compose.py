"""Composition works anywhere and disturbs nothing; own options, roots, and what a record says was changed."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from magiqa.cli import main as cli
from magiqa.config.compose import Configs
from magiqa.config.roots import FOLDERS
from magiqa.errors import UserError
from magiqa.package import conf_dir

OWN = "_target_: magiqa.method.prompts.PromptSet\nname: mine\npairs: [[good, bad]]\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def own(folder, name, text):
    file = folder / "conf" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.slow
def test_inside_somebodys_own_hydra_application(tmp_path):
    (tmp_path / "app").mkdir()
    own(tmp_path / "app", "config.yaml", "seed: 3\n")
    own(tmp_path / "app", "dataset/theirs.yaml", "path: /nowhere\n")
    (tmp_path / "app" / "app.py").write_text(
        "import hydra\n"
        "from hydra.core.global_hydra import GlobalHydra\n"
        "from hydra.core.hydra_config import HydraConfig\n"
        "from magiqa.config.compose import Configs\n"
        "@hydra.main(config_path='conf', config_name='config', version_base='1.3')\n"
        "def main(cfg):\n"
        "    before = GlobalHydra.instance().hydra\n"
        "    job = Configs().job(['fusion.alpha=2'])\n"
        "    assert GlobalHydra.instance().hydra is before is not None\n"
        "    print(cfg.seed, job.method.fusion.alpha, HydraConfig.get().job.name)\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "app.py", "hydra.run.dir=out"], cwd=tmp_path / "app", capture_output=True, text=True
    )
    assert done.stdout.split() == ["3", "2.0", "app"], done.stderr


@pytest.mark.slow
def test_threads_compose_side_by_side():
    configs = Configs()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda a: configs.job([f"fusion.alpha={a}"]).method.fusion.alpha, range(12)))
    assert found == [float(a) for a in range(12)]


def test_a_copy_of_the_packaged_configs_is_no_conflict_and_a_different_file_is(tmp_path):
    for file in conf_dir().rglob("*.yaml"):
        own(tmp_path, str(file.relative_to(conf_dir())), file.read_text())
    assert Configs().job([]).method.fusion.alpha == 1.0
    own(tmp_path, "fusion/adaptive.yaml", "_target_: magiqa.method.fusion.Adaptive\nalpha: 5.0\n")
    with pytest.raises(
        UserError, match=r"adaptive.yaml: .*adaptive.yaml has that name too .*rename your file"
    ):
        Configs().job([])


def test_another_hydra_projects_folder_has_no_effect(tmp_path):
    own(tmp_path, "config.yaml", "seed: 99\nfusion: {_target_: io.open, _args_: [mark, w]}\n")
    own(tmp_path, "hydra/default.yaml", "run: {dir: theirs}\n")
    own(tmp_path, "hydra/job_logging/default.yaml", "_target_: io.open\n")
    own(tmp_path, "model/big.yaml", "layers: 3\n")
    own(tmp_path, "prompts/evil.yaml", "_target_: io.open\n_args_: [mark, w]\n")
    assert Configs().job([]).statistics.seed == 0
    assert cli.main(["evaluate", "dataset=nosuch"]) == 2
    assert not (tmp_path / "mark").exists() and not (tmp_path / "theirs").exists()


@pytest.mark.slow
def test_changed_says_what_no_options_name_tells(tmp_path):
    own(tmp_path, "prompts/mine.yaml", OWN)
    configs = Configs()
    for overrides, changed in (
        ([], {}),
        (["fusion=fixed", "magnitude=l2", "prompts=mine"], {}),
        (["fusion.alpha=2", "pooling=median"], {"fusion.alpha": 2, "pooling": "median"}),
        (["fusion=fixed", "fusion.w_sim=0.2"], {"fusion.w_sim": 0.2}),
        (["prompts=mine", "prompts.pairs=[[a,b]]"], {"prompts.pairs": [["a", "b"]]}),
        (["dataset.root=elsewhere", "workers=3", "out=x", "device=cpu", "roots.koniq=y"], {}),
        (["dataset.every=10", "seed=4"], {"dataset.every": 10, "seed": 4}),
    ):
        assert configs.job(overrides).changed == changed, overrides


@pytest.mark.slow
def test_jobs_of_one_set_of_configs_are_those_of_a_new_one_each(tmp_path):
    own(tmp_path, "prompts/mine.yaml", OWN)
    configs = Configs()
    for overrides in (
        ["prompts=mine", "fusion.alpha=3", "ablation=fusion", "+ablation.variants=[]"],
        ["fusion=fixed", "fusion.w_sim=0.1", "views.stride=64"],
        ["prompts=mine", "ablation=fusion"],
        ["fusion=fixed"],
        [],
    ):
        assert configs.compose(overrides) == Configs().compose(overrides), overrides
    own(tmp_path, "prompts/mine.yaml", OWN.replace("mine", "edited"))
    assert configs.compose(["prompts=mine"]).config["prompts"]["name"] == "mine"  # read once
    assert Configs().compose(["prompts=mine"]).config["prompts"]["name"] == "edited"


@pytest.mark.slow
def test_the_printed_config_is_an_option_of_ones_own(tmp_path, capsys):
    assert cli.main(["evaluate", "--cfg", "fusion.alpha=2"]) == 0
    fusion = yaml.safe_load(capsys.readouterr().out)["fusion"]
    own(tmp_path, "fusion/mine.yaml", yaml.safe_dump(fusion))
    job = Configs().job(["fusion=mine"])
    assert (job.method.fusion.alpha, job.changed) == (2.0, {})


@pytest.mark.slow
def test_roots_of_sets_in_their_order(tmp_path, monkeypatch):
    configs = Configs()
    with pytest.raises(
        UserError, match=r"^dataset.root is not set: add dataset.root=VALUE \(the folder of the data "
    ):
        configs.job(["dataset=koniq"])
    monkeypatch.setenv("MAGIQA_DATA", "/data")
    assert configs.job(["dataset=koniq_512"]).source.dataset.root == "/data/koniq10k"
    (tmp_path / "config" / "magiqa").mkdir(parents=True)
    (tmp_path / "config" / "magiqa" / "roots.yaml").write_text("koniq: ~/k\n")
    assert configs.job(["dataset=koniq_test"]).source.dataset.root == "~/k"
    job = configs.job(["dataset=koniq", "roots.koniq=/a b", "roots.spaq=/s"])
    assert job.source.dataset.root == "/a b" and job.changed == {}
    assert job.config["roots"] == {"koniq": "/a b", "spaq": "/s"}
    assert configs.job(["dataset=koniq", "roots.koniq=/a", "dataset.root=/b"]).source.dataset.root == "/b"
    assert (
        configs.job(["dataset=koniq", "dataset.root=/b"]).name == job.name
    )  # where a set lies is no part of a run
    with pytest.raises(UserError, match=r"^roots.konik: no such set; use agiqa1k, "):
        configs.job(["dataset=koniq", "roots.konik=/a"])
    (tmp_path / "config" / "magiqa" / "roots.yaml").write_text("konik: ~/k\n")
    with pytest.raises(UserError, match=r"roots.yaml: 'konik' is no line SET: DIR; SET is one of agiqa1k"):
        configs.job(["dataset=koniq"])


def test_every_reader_of_a_set_that_is_distributed_has_a_folder():
    readers = {
        str(yaml.safe_load(f.read_text()).get("_target_")).split(".")[-2]
        for f in (conf_dir() / "dataset").glob("*.yaml")
        if "_target_" in f.read_text()
    }
    assert readers - {"folder", "sample"} == set(FOLDERS)


@pytest.mark.slow
def test_sets_that_lie_apart_in_one_sweep(tmp_path, capsys):
    for folder in "ac":
        (tmp_path / folder).mkdir()
    args = ["-m", "dataset=agiqa3k,csiq", f"roots.agiqa3k={tmp_path / 'a'}", f"roots.csiq={tmp_path / 'c'}"]
    assert cli.main(["evaluate", *args, f"cache_dir={tmp_path}", f"out={tmp_path / 'o'}"]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'a'}: annotation file data.csv is missing" in error
    assert f"{tmp_path / 'c'}: annotation file csiq.DMOS.xlsx or CSIQ/csiq.DMOS.xlsx is missing" in error
    assert json.loads((tmp_path / "o" / "sweep.json").read_text())["runs"] == []
