"""A bundle's header of junk: refused in one line that names file and key, or read as it is; and the cache's key."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magiqa.errors import UserError
from magiqa.features.bundle import Header
from magiqa.runs.record import read_as

HEADER = {
    "magiqa": "0",
    "code_sha256": "c",
    "versions": {"torch": "2"},
    "key": {"precision": "fp32"},
    "images": ["aa", "bb", "cc"],
    "table": {"image": ["str", ["a", "b", "c"]], "mos": ["float", [1, 2.5, 3]], "group": ["str", ["g", None, "g"]]},
    "labels": {"name": "s", "variant": "", "label": "mos", "higher_is_better": True, "cluster": None, "expected": 3,
               "page": "", "layout": "", "every": 1, "notes": ["n"]},
    "fingerprint": "f",
    "n_annotated": 3,
    "skipped": [{"image": "d", "reason": "r"}],
    "pairs": [["good", "bad"]],
    "choices": {"prompts": "maclip"},
    "changed": {"fusion.alpha": 2},
    "config": {"dataset": {"root": ""}, "precision": "fp32", "engine": "torch"},
    "backbone": {"name": "RN50"},
    "record": {
        "dataset": {"name": "s", "label": "mos", "n": 3},
        "backbone": {"name": "RN50", "label": None},
        "engine": {"engine": "torch"},
        "views": {"count": 3, "kinds": ["global"]},
    },
}  # fmt: skip

CHANGES = [
    ("images", ["aa"], "table must hold a row for each image"),
    ("images", "aa", "images=aa must be a list"),
    ("table.mos", ["float", [1, "2", 3]], r"table.mos\[1\]=2 must be a finite number"),
    ("table.mos", ["float", [1, None, 3]], "table.mos must be a column of numbers, with no cell empty"),
    ("table.mos", ["float", [1, float("nan"), 3]], "Out of range float"),
    ("table.mos", ["float", [1, 10**400, 3]], r"table.mos\[1\]=1000"),
    ("table.mos", ["int", [1, 2**63, 3]], "table.mos holds a number that is too large"),
    ("table.image", ["str", ["a", "\ud800", "c"]], ".* surrogates not allowed"),
    ("table.image", ["object", []], r"table.image must be a kind \(float, int, str\)"),
    ("table.group", [], "table.group must be a kind"),
    ("labels.label", "other", "table.other must be a column of numbers"),
    ("pairs", [["good"]], r"pairs\[0\]=.* must hold 2 values"),
    ("record.engine", None, "record.engine=None must be a mapping"),
    ("record.views.count", True, "record.views.count=True must be a whole number from 0"),
    ("config", [3], r"config=\[3\] must be a mapping"),
]


@pytest.mark.parametrize(("key", "value", "message"), CHANGES)
def test_a_key_of_another_kind_is_named(key, value, message):
    header = copy.deepcopy(HEADER)
    *parents, leaf = key.split(".")
    at = header
    for part in parents:
        at = at[part]
    at[leaf] = value
    with pytest.raises(UserError, match=rf"^b: {message}") as caught:
        read_as(Header, header, "b")
    assert "\n" not in str(caught.value)


def test_what_it_holds_is_typed():
    header = read_as(Header, HEADER, "b")
    assert header.frame()["mos"].tolist() == [1.0, 2.5, 3.0] and header.pairs == (("good", "bad"),)
    assert header.record.plain()["backbone"]["positional_embedding"] == "drop"


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_junk_anywhere_is_a_users_error_or_a_header_that_can_be_used(data):
    header = copy.deepcopy(HEADER)
    here = header
    while True:
        key = data.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else list(range(len(here)))))
        if not (isinstance(here[key], dict | list) and here[key] and data.draw(st.booleans())):
            break
        here = here[key]
    here[key] = data.draw(junk)
    try:
        found = read_as(Header, header, "b")
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith("b: ")
        return
    assert len(found.frame()) == len(found.images) == 3
    json.dumps(found.record.plain())
