"""Records and bundle headers of junk: refused in one line that names file and key, or read as they are."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from runs import put, write_run

from magiqa.errors import UserError
from magiqa.features.bundle import Header
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


def edited(whole, key, value):
    """A copy of a record or header where a key holds another value, or is missing."""
    record = part = copy.deepcopy(whole)
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
    (tmp_path / "record.json").write_text(json.dumps(edited(RECORD, key, value)))
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


def test_a_record_read_is_typed_and_what_it_lacks_is_filled_in():
    record = read_as(RunRecord, RECORD | {"new": {"a": 1}}, "record.json")
    assert (record.dataset.n, record.dataset.notes) == (3, ("a",))
    assert record.backbone.positional_embedding == "drop" and record.fits["q"].params == (1.0, 2.0)
    assert record["new"] == {"a": 1} and record.get("ablation", "none") == "none"
    assert record.plain()["dataset"]["skipped"] == [] and record.plain()["new"] == {"a": 1}


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


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
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
    ],
)
def test_a_key_of_a_bundles_header_is_named(key, value, message):
    with pytest.raises(UserError, match=rf"^b: {message}") as caught:
        read_as(Header, edited(HEADER, key, value), "b")
    assert "\n" not in str(caught.value)


def test_a_bundles_header_is_typed():
    header = read_as(Header, HEADER, "b")
    assert header.frame()["mos"].tolist() == [1.0, 2.5, 3.0] and header.pairs == (("good", "bad"),)
    assert header.record.plain()["backbone"]["positional_embedding"] == "drop"


@pytest.mark.long
def test_no_broken_file_is_a_traceback_or_a_wrong_number(tmp_path):
    script = Path(__file__).parents[2] / "scripts" / "fuzz.py"
    command = [sys.executable, str(script), "--minutes", "0.5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
