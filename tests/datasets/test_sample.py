"""The built-in sample: what it holds, and that it mends itself."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from magiqa.datasets import sample
from magiqa.datasets.sample import PHOTOS, Sample
from magiqa.errors import UserError
from magiqa.images.distortions import SEEN, UNSEEN


def contents(root: Path) -> dict[str, str]:
    return {
        str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(root.rglob("*"))
        if f.is_file()
    }


@pytest.mark.long
def test_the_whole_sample(sample_root: Path) -> None:
    labels = Sample(str(sample_root)).load()
    table = labels.table
    assert labels.label == "ssim" and "mos" not in table and labels.cluster == "reference"
    assert len(table) == labels.expected == 16 * 8 * 6 and table["image"].is_unique
    assert set(table["reference"]) == set(PHOTOS)
    split = dict.fromkeys(SEEN, "seen") | dict.fromkeys(UNSEEN, "unseen")
    assert dict(table.groupby("group")["split"].first()) == split
    assert ((table["ssim"] == 1) == (table["level"] == 0)).all()
    means = table.pivot_table("ssim", "group", "level")
    assert (np.diff(means, axis=1) < 0).all()  # on average every level harms more, in every type


@pytest.mark.slow
def test_made_twice_the_same_left_alone_when_whole_and_mended_when_damaged(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(sample, "PHOTOS", {k: PHOTOS[k] for k in ("camera", "hopper")})
    monkeypatch.setattr(sample, "SEEN", ("jpeg",))
    monkeypatch.setattr(sample, "UNSEEN", ("impulse_noise",))
    first, second = Sample(str(tmp_path / "a")), Sample(str(tmp_path / "b"))
    pd.testing.assert_frame_equal(*(made.load().table.drop(columns="path") for made in (first, second)))
    whole = contents(tmp_path / "a")
    assert whole == contents(tmp_path / "b")
    times = {f: f.stat().st_mtime_ns for f in (tmp_path / "a").rglob("*.png")}
    first.load()
    assert times == {f: f.stat().st_mtime_ns for f in (tmp_path / "a").rglob("*.png")}
    (tmp_path / "a" / "camera" / "jpeg_3.png").unlink()
    (tmp_path / "b" / "sample.json").write_text('{"version": 0}')
    first.load()
    second.load()
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]  # nothing half-made stays behind


def test_a_folder_of_other_files_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files; dataset=sample needs a folder of its own"):
        Sample(str(tmp_path)).load()
    assert (tmp_path / "mine.txt").read_text() == "mine"
