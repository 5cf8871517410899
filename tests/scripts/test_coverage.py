"""A fast part of scripts/coverage.py, with wide bounds: a method that does not hold would fail here."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def coverage():
    path = Path(__file__).parents[2] / "scripts" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_script", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


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


def test_rows_are_named_once_and_say_how_many_sets_they_rest_on(coverage):
    rows = coverage.rows()
    assert len({row.name for row in rows}) == len(rows)
    slow = coverage.Row("slow", "test", "0", lambda rng: {"p": (False, np.nan)})
    assert coverage.run(slow, 50, seconds=-1.0)[0]["sets"] == 1


@pytest.mark.parametrize(
    "what, rate, word",
    [("interval", 0.95, "held"), ("interval", 0.99, "conservative"), ("interval", 0.8, "FAILS"),
     ("test", 0.05, "held"), ("test", 0.004, "conservative"), ("test", 0.12, "FAILS"), ("power", 0.5, "")],
)  # fmt: skip
def test_verdicts(coverage, what, rate, word):
    assert coverage.verdict(what, rate, 0.007, 1000) == word
    assert coverage.verdict("test", rate, 0.007, 20) == "too few printed to say"
