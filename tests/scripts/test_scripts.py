"""Scripts do what they say: coverage, reproduce on a tiny set, and gpu_check in its quick form on the CPU."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny

from magiqa.errors import UserError

SCRIPTS = Path(__file__).parents[2] / "scripts"


def load(name):
    spec = importlib.util.spec_from_file_location(f"{name}_script", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def coverage():
    return load("coverage")


def rates(coverage, row, sets: int = 60) -> pd.DataFrame:
    return pd.DataFrame(coverage.run(row, sets)).set_index("printed")


@pytest.mark.slow
def test_intervals_cover(coverage):
    normal, skewed = coverage.POPULATIONS["normal"], coverage.POPULATIONS["skewed (lognormal 1.3)"]
    for row in (
        coverage.within(100, 6),
        coverage.within(20, 10, "inside", 10),
        coverage.by_clusters(coverage.Design(8, 10)),
        coverage.by_clusters(coverage.Design(10, 30, True)),
        coverage.independent("skewed (lognormal 1.3)", skewed, 50),
        coverage.independent("normal", normal, 5),
    ):
        table = rates(coverage, row)
        assert (table["rate"] > 0.84).all() and (table["withheld"] < 0.1).all(), table


@pytest.mark.slow
def test_two_clusters_have_no_interval(coverage):
    assert (rates(coverage, coverage.by_clusters(coverage.Design(2, 10)), 5)["withheld"] == 1).all()


@pytest.mark.slow
def test_true_nulls_are_rarely_rejected_and_true_differences_found(coverage):
    assert (rates(coverage, coverage.family_null(10, coverage.Design(16, 10)))["rate"] < 0.17).all()
    assert rates(coverage, coverage.null(coverage.Design(50), "plcc", "t3"))["rate"].iloc[0] < 0.17
    assert rates(coverage, coverage.power(coverage.Design(300)))["rate"].iloc[0] > 0.45
    near = rates(coverage, coverage.near_equal(20), 30)["rate"]
    assert near["the worse method"] > 0.3 and near["above Bonferroni"] == 0


@pytest.mark.parametrize(
    "what, rate, word",
    [("interval", 0.95, "held"), ("interval", 0.99, "conservative"), ("interval", 0.8, "FAILS"),
     ("test", 0.05, "held"), ("test", 0.004, "conservative"), ("test", 0.12, "FAILS"), ("power", 0.5, "")],
)  # fmt: skip
def test_verdicts(coverage, what, rate, word):
    assert coverage.verdict(what, rate, 0.007, 1000) == word
    assert coverage.verdict("test", rate, 0.007, 20) == "too few printed to say"


@pytest.mark.slow
def test_reproduce_resumes_and_lists_what_is_missing(folder, tmp_path, capsys, monkeypatch):
    reproduce = load("reproduce")
    steps = "run-maclip,experiment-weights,experiment-align,experiment-raters,run-clipiqa"
    args = [
        "--root",
        f"folder={folder / 'set'}",
        "--sets",
        "folder,koniq",
        "--only",
        steps,
        "--out",
        str(tmp_path),
    ]
    args += ["--without", "run-clipiqa", "--no-report"]
    args += [o for o in tiny.overrides(folder) if not o.startswith(("dataset=", "dataset.root="))]
    assert reproduce.main(args) == 0
    printed = capsys.readouterr().out
    assert "koniq: no --root given; get it from http" in printed
    assert "folder experiment-align: dataset set has no mos_align" in printed
    assert "folder experiment-raters: " in printed and "(--ratings folder=N)" in printed
    assert "folder run-clipiqa: --without" in printed
    done = {p.parent.name for p in (tmp_path / "folder").glob("*/record.json")}
    assert done == {"run-maclip", "experiment-weights"}
    assert reproduce.main(args) == 0
    assert capsys.readouterr().out.count("done before") == 2
    with pytest.raises(UserError, match=r"^step nosuch is not known: there are run-maclip, "):
        reproduce.main([*args, "--without", "nosuch"])
    # an experiment's own options are as packaged, whatever is typed
    alphas = []
    monkeypatch.setattr(
        reproduce,
        "experiment",
        lambda _, compose: alphas.append(compose(["fusion=adaptive"]).get("fusion").alpha),
    )
    reproduce.run_step("experiment", [*tiny.overrides(folder), "experiment=main", "fusion.alpha=2"])
    assert alphas == [1.0]


@pytest.mark.long
def test_gpu_check_in_its_quick_form_on_the_cpu(tmp_path):
    command = [
        sys.executable,
        str(SCRIPTS / "gpu_check.py"),
        "--device",
        "cpu",
        "--quick",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "cpu.json").read_text())
    assert report["failed"] == {} and report["device"] == "cpu"
    (row,) = report["parts"]["agreement"]
    assert (row["backbone"], row["precision"], row["images"]) == ("demo", "fp32", 6)
    for cue in ("q_sim", "q_mag", "q"):
        assert row[f"{cue}_srcc"] == pytest.approx(1) and row[f"{cue}_largest"] < 1e-4
    assert (tmp_path / "cpu.md").read_text() == done.stdout
    rows = report["parts"]["speed"]
    assert {row["contender"].partition(",")[0] for row in rows} == {"one image at a time", "files", "raw"}
    for row in rows:
        assert row["views_per_second"] > 0 and f"| {row['contender']} |" in done.stdout
