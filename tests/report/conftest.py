"""Runs, an ablation and a comparison that all tests of the room share, read and never changed."""

from pathlib import Path

import pytest
from runs import RN50, undrawn, write_ablation, write_run

from magiqa.report.material import Asked, Material
from magiqa.report.paper import paper
from magiqa.studies.compare import compare

WHOLE = {"prompts": "clipiqa", "views": "whole"}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs on one set, one on another, a lambda grid, a comparison of two runs."""
    base = tmp_path_factory.mktemp("results")
    koniq = {"name": "koniq", "variant": "test", "root": "/data/koniq"}
    write_run(base / "demo", images=base / "images")
    write_run(base / "fixed", images=base / "images", choices={"fusion": "fixed"}, seed=3, noise=2.0)
    write_run(base / "published", images=base / "images", backbone=RN50, choices=WHOLE, noise=3.0, seed=1)
    write_run(base / "other", n=80, dataset=koniq, groups=0, choices={"dataset": "koniq_test"})
    write_ablation(base / "grid")
    compare(base / "demo", [base / "fixed"], out=base / "compared")
    return base


@pytest.fixture(scope="session")
def folders(base: Path) -> list[Path]:
    return [base / name for name in ("demo", "fixed", "published", "other", "grid", "compared")]


@pytest.fixture(scope="session")
def written(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A paper of all of them, its figures left empty."""
    out = tmp_path_factory.mktemp("paper") / "out"
    with undrawn:
        paper(folders, out)
    return out


@pytest.fixture(scope="session")
def material(folders: list[Path]) -> Material:
    return Material.read(folders, Asked())


@pytest.fixture(scope="session")
def one_set(base: Path) -> Material:
    """Two runs with one backbone on one set."""
    return Material.read([base / "demo", base / "fixed"], Asked())
