"""Every option of every group composes and instantiates; the user's own configs are found or refused."""

import os
from pathlib import Path

import pytest

from magiqa.cli import main as cli
from magiqa.config.compose import Configs
from magiqa.config.typed import GROUPS, sweep_jobs
from magiqa.errors import UserError
from magiqa.package import expanded

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = [(g, f.stem) for g in GROUPS for f in sorted((CONF / g).glob("*.yaml"))]
MANDATORY = {
    "open_clip": ["backbone.name=RN50", "backbone.pretrained=openai"],
}


def job(*overrides: str, config_dir: str | None = None):
    return Configs(config_dir).job(list(overrides))


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda v: v)
@pytest.mark.slow
def test_every_option_composes_and_instantiates(group, option, tmp_path):
    overrides = [f"{group}={option}", f"cache_dir={tmp_path}", *MANDATORY.get(option, [])]
    if group == "dataset" and option != "sample":
        overrides.append(f"dataset.root={tmp_path}")
    made = job(*overrides)
    assert made.choices[group] == option
    assert not any("omegaconf" in type(made.get(g)).__module__ for g in GROUPS)


def test_every_group_has_options():
    assert {g for g, _ in OPTIONS} == set(GROUPS)


def test_an_unset_root_names_the_key(tmp_path):
    with pytest.raises(
        UserError, match=r"^dataset.root is not set: add dataset.root=VALUE \(the folder of the data"
    ):
        job("dataset=koniq", f"cache_dir={tmp_path}")


def test_paths_are_literal(tmp_path):
    odd = "~/a b=c,[d]/{e}'f#g"
    made = job("dataset=koniq", f"dataset.root={odd}", f"out={odd}", f"cache_dir={tmp_path}")
    assert made.source.dataset.root == odd
    assert made.output.out == odd


def test_references_in_paths_and_text_are_taken_as_typed(monkeypatch):
    monkeypatch.setenv("MAGIQA_CACHE", "/c/${oc.env:HOME}")
    made = job("out=a${x}", "backbone.label=\\${HOME}")
    assert (made.output.out, made.method.backbone.label) == ("a${x}", "\\${HOME}")
    assert made.source.dataset.root == "/c/${oc.env:HOME}/sample"


@pytest.mark.parametrize("column", ["MOS (1-5)", "质量", "a=b", "quality, overall", "true", "'x'y", "~a"])
def test_text_is_taken_as_typed(column):
    assert (
        job("dataset=folder", "dataset.root=/x", f"dataset.mos_column={column}").source.dataset.mos_column
        == column
    )


@pytest.mark.parametrize(
    ("typed", "pair"),
    [
        ("[[清晰的照片,模糊的照片]]", ("清晰的照片", "模糊的照片")),
        ("[[It's sharp.,It's blurry.]]", ("It's sharp.", "It's blurry.")),
        ("[['Sharp, bright','${x}']]", None),
        ("[['Sharp, bright',$]]", ("Sharp, bright", "$")),
    ],
)
def test_prompts_in_any_language(typed, pair):
    if pair is not None:
        assert job(f"prompts.pairs={typed}").method.prompts.pairs == (pair,)


def test_hydras_own_keys_are_refused_and_globs_are_swept():
    with pytest.raises(UserError, match=r"^hydra.run.dir=x: .*out=DIR"):
        job("hydra.run.dir=x")
    sweep = Configs().jobs(
        ["fusion=glob(*,exclude=s*)", "dataset.split=a,b", "backbone.label=x (y)", "out=o"]
    )
    assert len(sweep) == 8 and sweep[0] == ["fusion=adaptive", "dataset.split=a", "backbone.label=x (y)"]


def test_an_option_of_the_users_own_that_nobody_names_is_not_opened(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "fusion").mkdir(parents=True)
    os.mkfifo(tmp_path / "conf" / "fusion" / "pipe.yaml")
    (tmp_path / "conf" / "fusion" / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "conf" / "fusion" / "junk.yaml").write_text("[" * 3000)
    assert job("fusion=fixed").choices["fusion"] == "fixed"
    for name in ("pipe", "zero"):
        with pytest.raises(Exception, match="Could not find"):
            job(f"fusion={name}")


@pytest.mark.parametrize(
    "text", ["a: [*a", "[" * 3000, "a: 1\na: 2", "\0", "!!python/object/apply:os.system [x]"]
)
def test_an_option_of_junk_is_one_line(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "prompts").mkdir(parents=True)
    (tmp_path / "conf" / "prompts" / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match="mine"):
        job("prompts=mine")


def test_a_misspelt_path_key_is_refused(tmp_path):
    with pytest.raises(
        UserError,
        match=r"^prompts.root: no such key in the config; prompts has _target_, name, source, pairs",
    ):
        job("prompts.root=/tmp", f"cache_dir={tmp_path}")


def test_own_configs_in_the_working_directory(tmp_path, monkeypatch):
    own = tmp_path / "conf" / "prompts"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(
        "_target_: magiqa.method.prompts.PromptSet\nname: mine\npairs:\n  - [crisp photo, smeared photo]\n"
    )
    monkeypatch.chdir(tmp_path)
    assert job("prompts=mine", f"cache_dir={tmp_path}").method.prompts.pairs == (
        ("crisp photo", "smeared photo"),
    )


@pytest.mark.slow
def test_no_text_passes_for_true_and_a_column_may_be_called_1(tmp_path):
    args = ["dataset=folder", f"dataset.root={tmp_path}", f"cache_dir={tmp_path}"]
    with pytest.raises(UserError, match=r"^dataset.higher_is_better=no must be true or false"):
        job(*args, "dataset.higher_is_better=no")
    assert job(*args, "dataset.higher_is_better=false").source.dataset.higher_is_better is False
    made = job(*args, "dataset.mos_column=1", "dataset.split=2")
    assert (made.source.dataset.mos_column, made.source.dataset.split) == ("1", "2")
    assert made.config["dataset"]["mos_column"] == "1"


def test_an_own_config_without_a_target_is_an_error(tmp_path, monkeypatch):
    own = tmp_path / "conf" / "prompts"
    own.mkdir(parents=True)
    (own / "bare.yaml").write_text("pairs: [[good, bad]]\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^prompts=bare: its file names no _target_; copy it from an option"):
        job("prompts=bare", f"cache_dir={tmp_path}")


def test_a_field_that_is_a_number_is_told_as_one_that_is_not_there(tmp_path):
    (tmp_path / "magnitude").mkdir()
    (tmp_path / "magnitude" / "mine.yaml").write_text("_target_: magiqa.method.cues.BoxCox\n1: 0.5\n")
    with pytest.raises(UserError, match=r"^magnitude.1: BoxCox has no such field; it has lam, standardize$"):
        Configs(str(tmp_path)).job(["magnitude=mine"])


def test_own_configs_in_a_config_dir_with_an_odd_name(tmp_path, monkeypatch):
    own = tmp_path / "my, 'conf' = [x]" / "fusion"
    own.mkdir(parents=True)
    (own / "bold.yaml").write_text("defaults: [adaptive]\nalpha: 3.0\n")
    monkeypatch.chdir(tmp_path)
    made = job("fusion=bold", f"cache_dir={tmp_path}", config_dir=str(own.parent))
    assert (made.method.fusion.alpha, made.method.fusion.base_mag) == (3.0, 0.6)


def test_a_name_that_the_package_has_too_is_an_error(tmp_path, monkeypatch):
    own = tmp_path / "conf" / "prompts"
    own.mkdir(parents=True)
    (own / "maclip.yaml").write_text("_target_: magiqa.method.prompts.PromptSet\nname: mine\npairs: []\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"maclip.yaml: .*maclip.yaml has that name too .*rename your file"):
        job(f"cache_dir={tmp_path}")


def test_a_missing_config_dir(tmp_path):
    with pytest.raises(UserError, match=r"no such folder"):
        job(config_dir=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fusion.alpha=abc", "fusion.alpha=abc must be a finite number"),
        ("views.cover=no", "views.cover=no must be true or false"),
        ("views.stride=64.5", "views.stride=64.5 must be a whole number from 1"),
        ("dataset.every=two", "dataset.every=two must be a whole number from 1"),
        (
            "dataset.resize={mode:squash,size:224}",
            "size': 224}: add _target_: magiqa.images.views.Resize to it",
        ),
        (
            "dataset.resize={_target_:magiqa.images.views.Resize,mode:squash,size:a}",
            "dataset.resize.size=a must be a whole number from 1",
        ),
        ("backbone.untrained=no", "backbone.untrained=no must be a whole number from 0 or null"),
        ("backbone.name=null", "backbone.name=None must be text"),
        ("device=1", "device=1 is not known: use auto, cpu, cuda, cuda:N or mps"),
        ("+views._partial_=1", "views._partial_: Views has no such field"),
        ("+fusion.foo=1", "fusion.foo: Adaptive has no such field; it has base_sim, base_mag, alpha"),
        (
            "dataset.resize={_target_:magiqa.images.views.Resize,size:9}",
            "dataset.resize.mode is not set; Resize needs it",
        ),
        ("views.kinds=windows", "views.kinds=windows must be a list, such as [windows]"),
        ("seed=-1", "seed=-1 must be a whole number from 0"),
        ("seed=abc", "seed=abc must be a whole number from 0"),
        ("magnitude.lam=nan", "magnitude.lam=nan must be a finite number"),
        ("views.stride=0", "views.stride=0 must be a whole number from 1"),
        ("views.small=crop", "views.small=crop is not known: use error, upscale"),
        ("pooling=max", "pooling=max is not known: use mean, median, worst_tenth"),
        ("batch_size=0", "batch_size=0 must be auto or a whole number from 1"),
        ("equivalence=-1", "must be a number above 0"),
        ("prompts.pairs=[]", "prompts.pairs must be a list of [positive, negative] pairs and holds none"),
        ("backbone.positional_embedding=keep", "backbone.positional_embedding=keep is not known"),
        ("backbone.name=RN50-quickgelu", "write RN50 and backbone.quickgelu=true"),
    ],
)
@pytest.mark.slow
def test_config_objects_check_themselves(override, message, tmp_path, capsys):
    assert cli.main(["evaluate", override, f"cache_dir={tmp_path}", f"out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["evaluate", "fusion.alhpa=2"], "Could not override 'fusion.alhpa'"),
        (["evaluate", "dataset=nosuch"], "Could not find 'dataset/nosuch' Available options in 'dataset'"),
        (["evaluate", "fusion.alpha"], "missing EQUAL"),
        (["evalaute"], "no such command; use ablate"),
        (["evaluate", "dataset=koniq"], "dataset.root is not set"),
    ],
)
def test_hydras_own_errors_take_one_line_and_code_2(argv, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAGIQA_CACHE", raising=False)
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_sweeps_expand_and_keep_paths(tmp_path):
    jobs = sweep_jobs(["dataset=koniq,spaq", "fusion.alpha=1,2", "dataset.root=/a,b", "out=x"])
    assert len(jobs) == 4
    assert jobs[0] == ["dataset=koniq", "fusion.alpha=1", "dataset.root=/a,b"]


def test_tilde_names_are_names_and_no_home_is_said(monkeypatch, tmp_path):
    assert expanded("~$IMG_1.jpg") == Path("~$IMG_1.jpg") and expanded("~no-such-user/x") == Path(
        "~no-such-user/x"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/x") == tmp_path / "x"
    monkeypatch.delenv("MAGIQA_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as without HOME and an entry in passwd
    with pytest.raises(UserError, match=r"^~/x: you have no home folder"):
        expanded("~/x")
    with pytest.raises(UserError, match=r"set MAGIQA_CACHE=DIR"):
        job()
    assert job(f"cache_dir={tmp_path}").machine.cache_dir == str(tmp_path)
