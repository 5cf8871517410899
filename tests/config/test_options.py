"""Every option of every group composes and instantiates; the user's own configs are found or refused."""

import os
from pathlib import Path

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from magiqa.cli import main as cli
from magiqa.config.arguments import Arguments
from magiqa.config.compose import Configs
from magiqa.config.objects import is_users
from magiqa.config.typed import GROUPS, split_literal
from magiqa.errors import UserError, one_line

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = [(g, f.stem) for g in GROUPS for f in sorted((CONF / g).glob("*.yaml"))]
MANDATORY = {
    "open_clip": ["backbone.name=RN50", "backbone.pretrained=openai"],
}


def job(*overrides: str, config_dir: str | None = None):
    return Configs(config_dir).job(list(overrides))


@pytest.fixture(scope="module")
def configs():
    """The packaged configs, read once."""
    return Configs()


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda v: v)
@pytest.mark.slow
def test_every_option_composes_and_instantiates(configs, group, option, tmp_path):
    overrides = [f"{group}={option}", f"cache_dir={tmp_path}", *MANDATORY.get(option, [])]
    if group == "dataset" and option != "sample":
        overrides.append(f"dataset.root={tmp_path}")
    made = configs.job(overrides)
    assert made.choices[group] == option
    assert not any("omegaconf" in type(made.get(g)).__module__ for g in GROUPS)


def test_paths_are_literal(configs, monkeypatch):
    odd = "~/a b=c,[d]/{e}'f#g${oc.env:HOME}"
    made = configs.job(["dataset=koniq", f"dataset.root={odd}", f"out={odd}", f"cache_dir={odd}"])
    assert made.source.dataset.root == made.output.out == made.machine.cache_dir == odd


@pytest.mark.parametrize(
    "column", ["MOS (1-5)", "质量", "a=b", "quality, overall", "true", "'x'y", "~a", "1"]
)
def test_text_is_taken_as_typed(configs, column):
    made = configs.job(["dataset=folder", "dataset.root=/x", f"dataset.mos_column={column}"])
    assert made.source.dataset.mos_column == column


@pytest.mark.parametrize(
    ("typed", "pair"),
    [
        ("[[清晰的照片,模糊的照片]]", ("清晰的照片", "模糊的照片")),
        ("[[It's sharp.,It's blurry.]]", ("It's sharp.", "It's blurry.")),
        ("[['Sharp, bright',$]]", ("Sharp, bright", "$")),
    ],
)
def test_prompts_in_any_language(configs, typed, pair):
    assert configs.job([f"prompts.pairs={typed}"]).method.prompts.pairs == (pair,)


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


def own_option(folder, name, text):
    file = folder / "conf" / name
    file.parent.mkdir(parents=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [*a", "mine"),
        ("[" * 3000, "mine"),
        ("a: 1\na: 2", "mine"),
        ("\0", "mine"),
        ("!!python/object/apply:os.system [x]", "mine"),
        ("pairs: [[good, bad]]\n", "^prompts=mine: its file names no _target_; copy it from an option"),
    ],
)
def test_an_option_of_junk_is_one_line(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    own_option(tmp_path, "prompts/mine.yaml", text)
    with pytest.raises(UserError, match=message):
        job("prompts=mine")


def test_own_configs_in_a_config_dir_with_an_odd_name(tmp_path, monkeypatch):
    own = tmp_path / "my, 'conf' = [x]" / "fusion"
    own.mkdir(parents=True)
    (own / "bold.yaml").write_text("defaults: [adaptive]\nalpha: 3.0\n")
    monkeypatch.chdir(tmp_path)
    made = job("fusion=bold", f"cache_dir={tmp_path}", config_dir=str(own.parent))
    assert (made.method.fusion.alpha, made.method.fusion.base_mag) == (3.0, 0.6)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fusion.alpha=abc", "fusion.alpha=abc must be a finite number"),
        ("views.cover=no", "views.cover=no must be true or false"),
        ("views.stride=64.5", "views.stride=64.5 must be a whole number from 1"),
        ("dataset.resize={mode:squash,size:224}", "add _target_: magiqa.images.views.Resize to it"),
        (
            "dataset.resize={_target_:magiqa.images.views.Resize,size:9}",
            "dataset.resize: .*Resize refuses its fields .*mode",
        ),
        ("backbone.name=null", "backbone.name=None must be text"),
        ("+views._partial_=1", "views: magiqa.images.views.Views refuses its fields .*_partial_"),
        ("+fusion.foo=1", "fusion: magiqa.method.fusion.Adaptive refuses its fields .*foo"),
        ("prompts.root=/x", "prompts.root: no such key in the config; prompts has _target_, name, source"),
        ("views.kinds=windows", r"views.kinds=windows must be a list, such as \[windows\]"),
        ("magnitude._target_=collections.OrderedDict", "^magnitude: a OrderedDict computes nothing"),
        ("pooling=max", "pooling=max is not known: use mean, median, worst_tenth"),
        ("batch_size=0", "batch_size=0 must be auto or a whole number from 1"),
        ("equivalence=-1", "must be a number above 0"),
        ("prompts.pairs=[]", "prompts.pairs must be a list of .* and holds none"),
        ("hydra.run.dir=x", "^hydra.run.dir=x: .*out=DIR"),
        ("dataset=koniq", "^dataset.root is not set: add dataset.root=VALUE"),
    ],
)
@pytest.mark.slow
def test_config_objects_check_themselves(configs, override, message):
    with pytest.raises(UserError, match=message):
        configs.job([override])


def test_hydras_own_globs_are_swept():
    typed = ["fusion=glob(*,exclude=s*)", "dataset.split=a,b", "backbone.label=x (y)", "out=o"]
    sweep = Configs().jobs(typed)
    assert len(sweep) == 8 and sweep[0] == ["fusion=adaptive", "dataset.split=a", "backbone.label=x (y)"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["evaluate", "fusion.alhpa=2"], "Could not override 'fusion.alhpa'"),
        (["evaluate", "dataset=nosuch"], "Could not find 'dataset/nosuch' Available options in 'dataset'"),
        (["evaluate", "fusion.alpha"], "missing EQUAL"),
        (["evalaute"], "no such command; use ablate"),
    ],
)
def test_hydras_own_errors_take_one_line_and_code_2(argv, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAGIQA_CACHE", raising=False)
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


# --- anything typed is a config, or one line of why not

KEYS = [
    "views", "views.stride", "views.kinds", "magnitude", "magnitude.lam", "dataset", "dataset.root", "seed", "nonsense",
    "fusion.alpha", "prompts", "out", "bundle", "cache_dir", "max_pixels", "hydra.run.dir", "a.b.c", "",
]  # fmt: skip
values = st.text(max_size=15) | st.sampled_from(
    ["[", "{a:1}", "${x}", "~", "false", "1", "'", "choice(1,2)", "a,b", "\\"]
)
typed = st.lists(
    st.builds(
        "{}{}={}".format, st.sampled_from(["", "", "", "+", "~", "++", "--"]), st.sampled_from(KEYS), values
    )
    | values,
    max_size=3,
)


@pytest.mark.slow
@given(typed)
@settings(max_examples=60, deadline=None)
def test_any_overrides_are_a_config_or_a_users_error(args):
    try:
        tiny.configs().job(args)
    except Exception as error:
        assert is_users(error), repr(error)
        assert "\n" not in one_line(error)


@given(st.lists(st.text(max_size=12), max_size=5))
@settings(max_examples=300, deadline=None)
def test_any_command_line_is_understood_or_a_users_error(argv):
    try:
        _, arguments = cli.parse(argv)
        rest, literal = split_literal(arguments.typed)
    except UserError:
        return
    assert isinstance(arguments, Arguments)
    assert len(arguments.words) + len(arguments.overrides) == len(arguments.typed) + len(arguments.paths)
    assert len(rest) + len(literal) <= len(arguments.typed)
