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
from magiqa.runs.external_scores import Metric, external_scores
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


def test_runs_and_any_csv_are_tested_on_the_same_images(runs, tmp_path):
    a = pd.read_csv(runs / "a" / "scores.csv")
    other = a["mos"] + np.random.default_rng(0).normal(size=len(a))
    file = tmp_path / "theirs.csv"
    a[["image"]].assign(score=other)[::-1].to_csv(file, index=False)  # another order
    table, record = compare(runs / "a", [runs / "b", file], out=tmp_path / "out")
    assert len(table) == 3 * 3  # pairs by srcc, plcc, srcc_within
    row = table[(table["statistic"] == "srcc") & (table["b"] == "theirs")].iloc[0]
    direct, numbers = paired({"a": a["q"], "b": other}, a["mos"]).iloc[0], ["diff", "diff_low", "p"]
    assert row[numbers].tolist() == direct[numbers].tolist() and row["a"] == "a q (untrained, seed 0)"
    assert (table["p_adjusted"] >= table["p"]).all()
    assert json.loads((tmp_path / "out" / "record.json").read_text())["command"] == "compare"
    assert "p: adjusted for all pairs of a statistic" in " ".join(render(table, record).split())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"header": False}, "; no header: images, then scores"),
        ({"header": False, "sep": "\t"}, "; no header: images, then scores"),
        ({}, ""),
    ],
)
def test_other_programs_files_are_read_as_they_write_them(tmp_path, options, told):
    table = pd.DataFrame({"img_path": [f"/elsewhere/{i}.png" for i in range(5)], "musiq": np.arange(5.0)})
    table.to_csv(tmp_path / "musiq.csv", index=False, **options)
    scores, note = external_scores(Metric.of(tmp_path / "musiq.csv"), ["3.png", "0.png"])
    assert scores.tolist() == [3, 0]
    assert note == f"matched by base names{told}; 3 rows of other images not used"


def test_a_run_alone_compares_its_own_cues_and_stores_them_inside(runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "a", run)
    table, _ = compare(run)
    assert set(table["a"]) >= {"q (untrained, seed 0)", "laplacian (control)"}
    assert pd.read_csv(run / "comparison.csv")["diff"].tolist() == table["diff"].tolist()
    assert json.loads((run / "record.json").read_text())["command"] == "evaluate"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("b.png,2", r"1 of 2 images have no score \(first a.png\)"),
        ("a.png,1\nb.png,2\na.png,1", r"scored twice: a.png \(and 0 more\); keep one row an image"),
        ("a.png,x\nb.png,2", "the score of a.png is 'x', no finite number"),
    ],
)
def test_a_csv_that_does_not_fit(tmp_path, lines, message):
    file = tmp_path / "theirs.csv"
    file.write_text(f"image,score\n{lines}\n")
    with pytest.raises(UserError, match=f"^{file}: {message}"):
        external_scores(Metric.of(file), ["a.png", "b.png"])


def test_equivalence_marks_pairs_inside_the_margin(runs, tmp_path):
    table, record = compare(runs / "a", [runs / "b"], out=tmp_path / "o", equivalence=3)
    assert table["equivalent"].all()
    assert "≈ equivalent: the simultaneous interval lies within ±3" in render(table, record)
    with pytest.raises(UserError, match="equivalence=0 must be a number above 0"):
        compare(runs / "a", [runs / "b"], out=tmp_path / "o", equivalence=0)


def test_runs_on_other_labels_are_refused(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs / "b", other)
    scores = pd.read_csv(other / "scores.csv")
    scores.loc[3, "mos"] += 1
    for table, message in (
        (scores, r"mos differs from the first run's for 1 images \(first 03.png\)"),
        (scores.iloc[2:], r"2 images are in one of the two runs only \(first 00.png\)"),
    ):
        put(table, other / "scores.csv")
        with pytest.raises(UserError, match=f"other: {message}"):
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
