"""Composition works anywhere and disturbs nothing; own options, roots, and what a record says was changed."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from magiqa.cli import main as cli
from magiqa.config.compose import Configs
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
def test_roots_of_sets_in_their_order(tmp_path, monkeypatch):
    configs, file = Configs(), tmp_path / "config" / "magiqa" / "roots.yaml"

    def root(*typed):
        return configs.job(["dataset=koniq", *typed]).source.dataset.root

    monkeypatch.setenv("MAGIQA_DATA", "/data")
    assert root() == "/data/koniq10k"
    file.parent.mkdir(parents=True)
    file.write_text("koniq: ~/k\n")
    assert root() == "~/k"
    assert root("roots.koniq=/a b", "roots.spaq=/s") == "/a b"
    assert root("roots.koniq=/a", "dataset.root=/b") == "/b"
    # where a set lies is no part of a run
    assert configs.job(["dataset=koniq"]).name == configs.job(["dataset=koniq", "dataset.root=/b"]).name
    with pytest.raises(UserError, match=r"^roots.konik: no such set; use agiqa1k, "):
        root("roots.konik=/a")
    file.write_text("konik: ~/k\n")
    with pytest.raises(UserError, match=r"roots.yaml: 'konik' is no line SET: DIR; SET is one of agiqa1k"):
        root()
