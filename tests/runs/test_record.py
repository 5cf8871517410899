"""Records and bundle headers of junk: refused in one line that names file and key, or read as they are."""

import copy
import json
import os

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import put, write_run

from magiqa.errors import UserError, printable
from magiqa.runs.read import read, read_record, read_run
from magiqa.runs.record import RunRecord, load_record, read_as

RECORD = {
    "magiqa": "0",
    "command": "evaluate",
    "name": "x",
    "choices": {"prompts": "maclip"},
    "changed": {},
    "config": {"dataset": {"root": ""}, "pooling": "mean"},
    "dataset": {
        "name": "s",
        "label": "mos",
        "n": 3,
        "every": 1,
        "notes": ["a"],
        "skipped": [],
        "cluster": None,
    },
    "backbone": {"name": "RN50", "label": None, "kind": "published"},
    "fits": {"q": {"status": "ok", "params": [1.0, 2]}},
    "seconds": {"score": 1},
    "warnings": [],
    "files": {"scores.csv": {"sha256": "0", "rows": 3}},
}


missing = object()


def edited(key, value=None):
    """A copy of the record where a key holds another value, or is missing."""
    record = part = copy.deepcopy(RECORD)
    *parents, leaf = key.split(".")
    for name in parents:
        part = part[name]
    if value is missing:
        del part[leaf]
    else:
        part[leaf] = value
    return record


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dataset", None, "dataset=None must be a mapping"),
        ("dataset.n", "3", "dataset.n=3 must be a whole number"),
        ("dataset.n", -1, "dataset.n=-1 must be a whole number from 0"),
        ("dataset.label", [3], r"dataset.label=\[3\] must be text"),
        ("dataset.skipped", ["a"], r"dataset.skipped\[0\]=a must be a mapping"),
        ("choices", {"prompts": {"a": 1}}, "choices.prompts={'a': 1} must be text"),
        ("backbone", "RN50", "backbone=RN50 must be a mapping"),
        ("fits", {"q": {"params": ["a"]}}, r"fits.q.params\[0\]=a must be a finite number"),
        ("files", {"a": 3}, "files.a=3 must be a mapping"),
        ("name", "\ud800", ".*surrogates not allowed"),  # half a character
        *(
            (key, missing, f"{key}(.name)? is missing; run the command")
            for key in ("dataset", "dataset.n", "files")
        ),
    ],
)
def test_a_key_that_is_missing_or_of_another_kind_is_named(tmp_path, key, value, message):
    (tmp_path / "record.json").write_text(json.dumps(edited(key, value)))
    with pytest.raises(UserError, match=rf"^{tmp_path / 'record.json'}: {message}"):
        load_record(tmp_path / "record.json")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "null", "{", '{"a": NaN}', '{"a": 1e999}', "[" * 100_000, '{"a":' * 50_000, "\xff"],
)
def test_what_is_no_record_is_one_line(tmp_path, text):
    (tmp_path / "record.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as caught:
        load_record(tmp_path / "record.json")
    assert "\n" not in str(caught.value)


def test_a_pipe_for_a_record_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "record.json")
    for reader in (read_run, read_record, lambda folder: read([folder])):
        with pytest.raises(UserError):
            reader(tmp_path)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("cell", ["abc", "True", "=1+1", "1e999", "inf", ""])
@pytest.mark.slow
def test_a_score_that_is_no_number_is_named_by_every_reader(tmp_path, cell):
    folder = write_run(tmp_path / "run", n=12)
    scores = pd.read_csv(folder / "scores.csv", dtype=object)
    scores.loc[3, "q"] = cell
    put(scores, folder / "scores.csv")
    for reader in (read_run, lambda f: read([f])):
        with pytest.raises(UserError, match=r"scores.csv: column q holds .*no (finite )?number"):
            reader(folder)


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_no_text_moves_a_cursor_or_fails_to_be_written(text):
    shown = printable(text)
    shown.encode("utf-8")
    assert not any(ord(c) < 32 and c not in "\n\t" for c in shown) and "\x7f" not in shown
    assert printable(shown) == shown


def test_a_record_read_is_typed_and_what_it_lacks_is_filled_in():
    record = read_as(RunRecord, RECORD | {"new": {"a": 1}}, "record.json")
    assert (record.dataset.n, record.dataset.notes) == (3, ("a",))
    assert record.backbone.positional_embedding == "drop" and record.fits["q"].params == (1.0, 2.0)
    assert record["new"] == {"a": 1} and record.get("ablation", "none") == "none"
    assert record.plain()["dataset"]["skipped"] == [] and record.plain()["new"] == {"a": 1}
