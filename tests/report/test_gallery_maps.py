"""Maps in the gallery: from the windows' own scores, at a click."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from matplotlib import colormaps

from magiqa.errors import UserError
from magiqa.images.views import Views
from magiqa.report.gallery import WindowMaps
from magiqa.report.report import report
from magiqa.runs.read import read
from magiqa.studies.evaluate import evaluate


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tiny.make(tmp_path_factory.mktemp("tiny"))
    evaluate(tiny.job(folder, "views_file=true", f"out={folder / 'run'}"), progress=False)
    return folder / "run"


@pytest.mark.slow
def test_a_map_shows_each_windows_score_on_the_runs_one_scale(run):
    (found,), _ = read([run])
    maps = WindowMaps.of(found)
    assert maps is not None
    views = pd.read_csv(run / "views.csv")
    low, high = views["q_mag"].min(), views["q_mag"].max()
    assert maps.limits["q_mag"] == (low, high)
    for i in (0, 1, 9):
        image = found.scores["image"].iloc[i]
        first = views[(views["image"] == image) & (views["pair"] == 0)]["q_mag"].iloc[0]
        picture = maps.picture(i, "q_mag")
        size = tuple(found.scores[["width", "height"]].iloc[i])
        assert picture.size == size
        expected = colormaps["viridis"]((first - low) / (high - low), bytes=True)[:3]
        np.testing.assert_allclose(
            picture.getpixel((0, 0)), expected, atol=1
        )  # one window alone covers the corner


@pytest.mark.long
def test_the_page_has_a_map_for_each_picture_of_the_gallery_and_says_how_to_get_them(run, tmp_path):
    report([run], tmp_path / "with")
    page = (tmp_path / "with" / "report.html").read_text()
    assert page.count('data-map="') == page.count('data-large="') > 0
    assert "the lowest of the run" in page and 'class="map"' in page
    plain = tmp_path / "plain"
    evaluate(tiny.job(run.parent, f"out={plain}"), progress=False)
    (other,), _ = read([plain])
    assert WindowMaps.of(other) is None
    report([plain], tmp_path / "without")
    page = (tmp_path / "without" / "report.html").read_text()
    assert 'data-map="' not in page and "views_file=true" in page


def edited(run, folder, name, change, listed=True):
    """A copy of a run with a changed table; its record lists the change, or does not."""
    shutil.copytree(run, folder)
    table = change(pd.read_csv(folder / name))
    table.to_csv(folder / name, index=False)
    record = json.loads((folder / "record.json").read_text())
    if listed:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        record["files"][name] = {"sha256": digest, "rows": len(table)}
    (folder / "record.json").write_text(json.dumps(record))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "listed", "words"),
    [
        ("views.csv", lambda t: t.assign(q=1), False, "is not what its record says"),
        ("views.csv", lambda t: t.drop(columns="pair"), True, "the column pair is missing"),
        ("views.csv", lambda t: t.assign(q="x"), True, "column q holds 'x'"),
        ("views.csv", lambda t: t[t["image"] != "03.png"], True, "its images are not those of scores.csv"),
        ("views.csv", lambda t: t[t["view"] == 0], True, "has too few views for its size"),
        ("scores.csv", lambda t: t.assign(width=30_000, height=30_000), True, "is 30000x30000"),
        ("scores.csv", lambda t: t.assign(width=-1), True, "is -1x96"),
        ("scores.csv", lambda t: t.drop(columns="height"), True, "the column height is missing"),
    ],
)
def test_tables_of_a_stranger_are_checked_before_a_map_is_drawn(run, tmp_path, name, change, listed, words):
    folder = edited(run, tmp_path / "theirs", name, change, listed)
    with pytest.raises(UserError, match=words):
        (found,), _ = read([folder])
        maps = WindowMaps.of(found)
        for i in range(len(found.scores)):
            maps.picture(i, "q")


@pytest.mark.slow
def test_names_of_results_are_told_apart_without_regard_to_case(run, tmp_path):
    for name in ("Mine", "mine"):
        shutil.copytree(run, tmp_path / name)
        record = json.loads((tmp_path / name / "record.json").read_text()) | {"name": name}
        (tmp_path / name / "record.json").write_text(json.dumps(record))
    found, _ = read([tmp_path / "Mine", tmp_path / "mine"])
    assert len({r.name.lower() for r in found}) == 2


@pytest.mark.parametrize(
    "claims",
    [
        {"stride": 1, "window": 1},
        {"stride": 1, "window": 1, "take": 3},
        {"window": 200, "take": 10**10, "seed": 0},
        {"window": 10**6, "small": "upscale"},
    ],
)
def test_a_record_that_claims_too_many_windows_or_pixels_takes_no_memory(run, claims):
    (found,), _ = read([run])
    maps = WindowMaps.of(found)
    large = maps.scores.assign(width=15_000, height=16_000)
    with pytest.raises(UserError, match=r"views.csv: image .* more windows or pixels than a map can show"):
        replace(maps, scores=large, views=Views(kinds=("windows",), **claims)).picture(0, "q")
