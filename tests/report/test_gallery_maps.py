"""Maps in the gallery: from the windows' own scores, at a click."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from matplotlib import colormaps

from magiqa.report.gallery_maps import WindowMaps
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
