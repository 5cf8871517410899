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
from magiqa.runs.record import Record, RunRecord, load_record, read_as

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


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dataset", None, "dataset must be a mapping of names"),
        ("dataset", [1], "dataset must be a mapping of names"),
        ("dataset.n", "3", "dataset.n=3 must be a whole number"),
        ("dataset.n", -1, "dataset.n=-1 must be a whole number from 0"),
        ("dataset.label", 3, "dataset.label=3 must be text"),
        ("dataset.skipped", ["a"], "dataset.skipped[0] must be a mapping"),
        ("dataset.notes", "a", "dataset.notes must be a list"),
        ("choices", {"prompts": {"a": 1}}, "choices.prompts={'a': 1} must be text"),
        ("config", 3, "config must be a mapping"),
        ("backbone", "RN50", "backbone must be a mapping"),
        ("fits", {"q": {"params": ["a"]}}, "fits.q.params[0]=a must be a finite number"),
        ("files", {"a": 3}, "files.a must be a mapping"),
        ("command", 3, "command=3 must be text"),
        ("name", "\ud800", "must be text"),  # half a character
    ],
)
def test_a_key_that_holds_another_kind_is_named(tmp_path, key, value, message):
    record = copy.deepcopy(RECORD)
    *parents, leaf = key.split(".")
    at = record
    for part in parents:
        at = at[part]
    at[leaf] = value
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(UserError) as caught:
        load_record(tmp_path / "record.json")
    assert message in str(caught.value) and str(caught.value).startswith(f"{tmp_path / 'record.json'}: ")


@pytest.mark.parametrize("key", ["dataset", "dataset.name", "dataset.label", "dataset.n", "files"])
def test_a_key_that_is_missing_is_named(tmp_path, key):
    record = copy.deepcopy(RECORD)
    *parents, leaf = key.split(".")
    at = record
    for part in parents:
        at = at[part]
    del at[leaf]
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=rf"record.json: {key}(\.name)? is missing; run the command"):
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


@pytest.mark.slow
@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_junk_anywhere_is_a_users_error_or_let_through_as_it_is(data):
    record = copy.deepcopy(RECORD)
    here = record
    while True:
        key = data.draw(
            st.sampled_from(sorted(here, key=str) if isinstance(here, dict) else list(range(len(here))))
        )
        if isinstance(here[key], dict | list) and here[key] and data.draw(st.booleans()):
            here = here[key]
            continue
        break
    here[key] = data.draw(junk)
    try:
        assert read_as(RunRecord, record, "record.json").given == record
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith("record.json: ")


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
    assert (record.dataset.n, record.dataset.notes, record.backbone.positional_embedding) == (
        3,
        ("a",),
        "drop",
    )
    assert record.fits["q"].params == (1.0, 2.0) and record.files["scores.csv"].rows == 3
    assert record["new"] == {"a": 1} and record.get("ablation", "none") == "none"
    assert record["dataset"]["cluster"] is None and "expected" not in record["dataset"]
    plain = record.plain()
    assert (
        plain["dataset"]["skipped"] == [] and plain["backbone"]["label"] is None and plain["new"] == {"a": 1}
    )
    ablation = {"name": "lambda", "reference": "a", "best_gain": 1, "more": 2}
    made = read_as(Record, {"ablation": ablation}, "record.json")["ablation"]
    assert repr([made["best_gain"], made["more"]]) == "[1.0, 2]"  # as a page shows them
    with pytest.raises(AttributeError):
        record.name = "other"


@pytest.mark.parametrize("key", ["backbone", "dataset", "ablation"])
def test_a_study_without_a_part_that_its_table_needs_is_told(tmp_path, key):
    record = RECORD | {"command": "ablate", "ablation": {"name": "lambda", "reference": "x"}}
    file = tmp_path / "record.json"
    file.write_text(json.dumps({k: v for k, v in record.items() if k != key}))
    with pytest.raises(UserError, match=f"record.json: {key} is missing"):
        load_record(file)
