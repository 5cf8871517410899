"""Paired tests of a run with other runs and with any tool's scores."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tiny
from runs import put

from magiqa.cli import main as cli
from magiqa.errors import UserError
from magiqa.stats.paired import compare as paired
from magiqa.studies.compare import compare, render
from magiqa.studies.evaluate import evaluate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tiny.make(tmp_path_factory.mktemp("compared"))
    for name, more in (("a", []), ("b", ["prompts=clipiqa", "fusion=similarity"])):
        evaluate(tiny.job(folder, f"out={folder / name}", *more), progress=False)
    return folder


def csv(path, images, scores):
    pd.DataFrame({"image": images, "score": scores}).to_csv(path, index=False)
    return path


def test_runs_and_any_csv_are_tested_on_the_same_images(runs, tmp_path):
    a = pd.read_csv(runs / "a" / "scores.csv", dtype={"image": str})
    other = a["mos"] + np.random.default_rng(0).normal(size=len(a))
    file = csv(tmp_path / "theirs.csv", a["image"][::-1], other[::-1])  # another order
    table, record = compare(runs / "a", [runs / "b", file], out=tmp_path / "out")
    assert len(table) == 3 * 3  # pairs by srcc, plcc, srcc_within
    row = table[(table["statistic"] == "srcc") & (table["b"] == "theirs")].iloc[0]
    direct = paired({"a": a["q"], "b": other}, a["mos"]).iloc[0]
    names = ["diff", "diff_low", "p"]
    assert row[names].tolist() == direct[names].tolist()
    assert row["a"] == "a q (untrained, seed 0)"
    assert (table["p_adjusted"] >= table["p"]).all()
    assert json.loads((tmp_path / "out" / "record.json").read_text())["command"] == "compare"
    assert "p: adjusted for all pairs of a statistic" in " ".join(render(table, record).split())


@pytest.mark.parametrize("form", ["no header", "tabs", "column of the metric's name"])
def test_other_programs_files_are_read_as_they_write_them(runs, tmp_path, form):
    a = pd.read_csv(runs / "a" / "scores.csv", dtype={"image": str})
    expected, _ = compare(runs / "a", [csv(tmp_path / "musiq.csv", a["image"], a["mos"])], out=tmp_path / "1")
    table = pd.DataFrame({"img_path": "/elsewhere/" + a["image"], "musiq": a["mos"]})
    options = {"no header": {"header": False}, "tabs": {"header": False, "sep": "\t"}}
    table.to_csv(tmp_path / "musiq.csv", index=False, **options.get(form, {}))
    found, record = compare(runs / "a", [tmp_path / "musiq.csv"], out=tmp_path / "2")
    assert found["diff"].tolist() == expected["diff"].tolist()
    told = "" if form.startswith("column") else "no header: images, then scores"
    assert record["methods"][1]["note"] == "; ".join(filter(None, ("matched by base names", told)))


def test_a_run_alone_compares_its_own_cues_and_stores_them_inside(runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "a", run)
    table, _ = compare(run)
    assert set(table["a"]) >= {"q (untrained, seed 0)", "laplacian (control)"}
    assert pd.read_csv(run / "comparison.csv")["diff"].tolist() == table["diff"].tolist()
    assert json.loads((run / "record.json").read_text())["command"] == "evaluate"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.iloc[1:],
            r"theirs.csv: 1 of 24 images have no score \(first 00.png\); score them all: a paired test",
        ),
        (
            lambda t: pd.concat([t, t.iloc[:1]]),
            r"theirs.csv: scored twice: 00.png \(and 0 more\); keep one row an image",
        ),
        (
            lambda t: t.assign(score=["x", *t["score"][1:]]),
            r"theirs.csv: the score of 00.png is 'x', no finite number",
        ),
        (
            lambda t: t.rename(columns={"score": "q"}).assign(w=1),
            r"theirs.csv: choose a column of it, such as .*theirs.csv:q; it has q, w",
        ),
    ],
)
def test_a_csv_that_does_not_fit(runs, tmp_path, change, message):
    table = pd.DataFrame({"image": [f"{i:02d}.png" for i in range(24)], "score": np.arange(24.0)})
    change(table).to_csv(tmp_path / "theirs.csv", index=False)
    with pytest.raises(UserError, match=message):
        compare(runs / "a", [tmp_path / "theirs.csv"], out=tmp_path / "out")


def test_equivalence_marks_pairs_inside_the_margin(runs, tmp_path):
    table, record = compare(runs / "a", [runs / "b"], out=tmp_path / "o", equivalence=3)
    assert table["equivalent"].all()
    assert "≈ equivalent: the simultaneous interval lies within ±3" in render(table, record)
    with pytest.raises(UserError, match="equivalence=0 must be a number above 0"):
        compare(runs / "a", [runs / "b"], out=tmp_path / "o", equivalence=0)


def test_runs_on_other_labels_are_refused(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs / "b", other)
    scores = pd.read_csv(other / "scores.csv", dtype={"image": str})
    scores.loc[3, "mos"] += 1
    put(scores, other / "scores.csv")
    with pytest.raises(
        UserError, match=r"other: mos differs from the first run's for 1 images \(first 03.png\)"
    ):
        compare(runs / "a", [other], out=tmp_path / "out")
    put(scores.iloc[2:], other / "scores.csv")
    with pytest.raises(UserError, match=r"other: 2 images are in one of the two runs only \(first 00.png\)"):
        compare(runs / "a", [other], out=tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{}"], "no run's folder; give one that holds the record.json"),
        (["{run}", "{}/none.csv"], "none.csv: no such folder or file; give runs' folders or CSV"),
        (["{run}", "alpha=1"], "compare: alpha=1 is not understood; it takes score=, out="),
    ],
)
def test_what_is_no_run(runs, tmp_path, capsys, words, message):
    assert cli.main(["compare", *(w.format(tmp_path, run=runs / "a") for w in words)]) == 2
    assert message in capsys.readouterr().err
