"""Anything typed is a config, or one line of why not; a key is of what it says, whatever its order."""

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from magiqa.cli.main import parse
from magiqa.config.arguments import Arguments
from magiqa.config.objects import is_users
from magiqa.config.typed import split_literal
from magiqa.errors import UserError, one_line

KEYS = (
    *(
        "views",
        "views.stride",
        "views.kinds",
        "magnitude",
        "magnitude.lam",
        "dataset",
        "dataset.root",
        "seed",
    ),
    *("nonsense", "fusion.alpha", "prompts", "out", "bundle", "cache_dir", "max_pixels"),
    *("hydra.run.dir", "a.b.c", ""),
)
keys = st.sampled_from(KEYS)
values = st.text(max_size=15) | st.sampled_from(
    ["[", "{a:1}", "${x}", "~", "false", "1", "'", "choice(1,2)", "a,b", "\\"]
)
typed = st.lists(
    st.builds("{}{}={}".format, st.sampled_from(["", "", "", "+", "~", "++", "--"]), keys, values) | values,
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
        _, arguments = parse(argv)
        rest, literal = split_literal(arguments.typed)
    except UserError:
        return
    assert isinstance(arguments, Arguments)
    assert len(arguments.words) + len(arguments.overrides) == len(arguments.typed) + len(arguments.paths)
    assert len(rest) + len(literal) <= len(arguments.typed)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
