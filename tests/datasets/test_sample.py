"""The built-in sample: what it holds, and that it mends itself."""

import hashlib
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from magiqa.datasets import sample
from magiqa.datasets.sample import PHOTOS, Sample
from magiqa.errors import UserError
from magiqa.images.distortions import SEEN, UNSEEN
from magiqa.studies.probe import sample_photos


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two photos and two types: quick, the same code."""
    monkeypatch.setattr(sample, "PHOTOS", {k: PHOTOS[k] for k in ("camera", "hopper")})
    monkeypatch.setattr(sample, "SEEN", ("jpeg",))
    monkeypatch.setattr(sample, "UNSEEN", ("impulse_noise",))


def contents(root: Path) -> dict[str, str]:
    return {
        str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(root.rglob("*"))
        if f.is_file()
    }


@pytest.mark.slow
def test_the_whole_sample(sample_root: Path) -> None:
    labels = Sample(str(sample_root)).load()
    table = labels.table
    assert labels.label == "ssim" and "mos" not in table and labels.cluster == "reference"
    assert len(table) == labels.expected == 16 * 8 * 6
    assert table["image"].is_unique and table["path"].nunique() == 16 * (8 * 5 + 1)
    assert set(table["reference"]) == set(PHOTOS)
    assert dict(table.groupby("group")["split"].first()) == (
        dict.fromkeys(SEEN, "seen") | dict.fromkeys(UNSEEN, "unseen")
    )
    assert (table.loc[table["level"] == 0, "ssim"] == 1).all() and (
        table.loc[table["level"] > 0, "ssim"] < 1
    ).all()
    means = table.pivot_table("ssim", "group", "level")
    assert (np.diff(means, axis=1) < 0).all()  # on average every level harms more, in every type
    within = table.groupby(["group", "reference"]).apply(
        lambda t: t["ssim"].corr(t["level"], method="spearman")
    )
    assert within.max() < -0.7  # and nearly so in every photo
    for path in table["path"].unique():
        with Image.open(path) as image:
            assert image.mode == "RGB" and image.format == "PNG" and min(image.size) >= 224
            assert max(image.size) <= 352
    assert [p.name for p in sample_photos(sample_root)] == list(PHOTOS)


@pytest.mark.usefixtures("small")
@pytest.mark.slow
def test_made_twice_the_same_and_left_alone_when_whole(tmp_path: Path) -> None:
    first = Sample(str(tmp_path / "a")).load().table
    second = Sample(str(tmp_path / "b")).load().table
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    pd.testing.assert_frame_equal(first.drop(columns="path"), second.drop(columns="path"))
    times = {f: f.stat().st_mtime_ns for f in (tmp_path / "a").rglob("*.png")}
    Sample(str(tmp_path / "a")).load()
    assert times == {f: f.stat().st_mtime_ns for f in (tmp_path / "a").rglob("*.png")}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]  # nothing half-made stays behind


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("damage", ["remove", "truncate", "label", "version", "record"])
@pytest.mark.slow
def test_a_damaged_folder_is_made_anew(tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "sample"
    Sample(str(root)).load()
    whole = contents(root)
    victim = root / "camera" / "jpeg_3.png"
    if damage == "remove":
        victim.unlink()
    elif damage == "truncate":
        victim.write_bytes(victim.read_bytes()[:100])
    elif damage == "label":
        (root / "labels.csv").write_text((root / "labels.csv").read_text().replace("0.9", "0.8"))
    elif damage == "version":
        (root / "sample.json").write_text(
            (root / "sample.json").read_text().replace('"version": 1', '"version": 0')
        )
    else:
        (root / "sample.json").write_text("{")
    Sample(str(root)).load()
    assert contents(root) == whole


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_every_takes_every_kth_row_and_says_so(tmp_path: Path) -> None:
    labels = Sample(str(tmp_path / "sample"), every=5).load()
    assert len(labels.table) == 5 and any("one row in 5" in note for note in labels.notes)


def test_a_folder_of_other_files_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files; dataset=sample needs a folder of its own"):
        Sample(str(tmp_path)).load()
    assert (tmp_path / "mine.txt").read_text() == "mine"


def _fake_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None
    photo = tmp_path / "site" / PHOTOS["hopper"][1]
    photo.parent.mkdir(parents=True)
    shutil.copy(Path(str(spec.origin)).parent / PHOTOS["hopper"][1], photo)
    fake = importlib.util.spec_from_file_location("matplotlib", tmp_path / "site" / "__init__.py")
    monkeypatch.setattr(sample.importlib.util, "find_spec", lambda name: fake)
    return photo


def test_a_photo_that_differs_or_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = _fake_package(tmp_path, monkeypatch)
    assert sample._source("hopper").shape == (352, 352, 3)
    photo.write_bytes(photo.read_bytes() + b" ")
    with pytest.raises(UserError, match=r"grace_hopper.jpg: is not the photo .* reinstall matplotlib"):
        sample._source("hopper")
    photo.unlink()
    with pytest.raises(UserError, match=r"grace_hopper\.jpg: is missing; reinstall matplotlib"):
        sample._source("hopper")
    monkeypatch.setattr(sample.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the photo .* of matplotlib, which is not installed"):
        sample._source("hopper")


def test_photos_are_listed_once_and_none_is_of_the_training_script() -> None:
    assert len({sha for _, _, sha, _ in PHOTOS.values()}) == len(PHOTOS) == 16
    script = (Path(__file__).parents[2] / "scripts" / "train_demo.py").read_text()
    assert "skimage" not in script and "matplotlib" not in script
