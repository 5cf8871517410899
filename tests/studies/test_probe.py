"""`magiqa probe`: what falls with a level, against values by hand and an independent yardstick of its strength."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from PIL import Image

from magiqa.cli.main import main
from magiqa.errors import UserError
from magiqa.images.distortions import distort
from magiqa.scorer.scorer import Scorer
from magiqa.studies.probe import Photo, curves, measure, probe, summary, unchanged, within


@pytest.fixture(scope="module")
def photos(folder) -> list[Photo]:
    rng = np.random.default_rng(1)
    files = [folder / f"photo{i}.png" for i in range(4)]
    for i, file in enumerate(files):
        y, x = np.mgrid[:80, :96]
        base = 128 + 60 * np.sin(x / (5 + i))[..., None] * np.cos(y / 7)[..., None] * [1, 0.5, -1]
        pixels = np.clip(base + rng.normal(0, 5, (80, 96, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).convert("L" if i == 3 else "RGB").save(file)
    return [Photo(file.stem, str(file)) for file in files]


@pytest.fixture(scope="module")
def scorer(folder) -> Scorer:
    return Scorer.compose(*tiny.scoring(folder))


@pytest.fixture(scope="module")
def scores(scorer, photos) -> pd.DataFrame:
    return measure(scorer, photos, ["jpeg", "desaturation"], progress=False)


@pytest.mark.slow
def test_each_row_is_the_score_of_that_photo_at_that_level(scorer, photos, scores):
    assert len(scores) == 4 * 2 * 6
    for row in scores.sample(6, random_state=0).itertuples():
        photo = next(p for p in photos if p.name == row.image)
        pixels = photo.pixels(row.type, row.level)
        np.testing.assert_array_equal(scorer(pixels), row.q)
        rgb = np.asarray(Image.open(photo.path).convert("RGB"))
        # nothing is random in both
        assert np.array_equal(pixels, distort(rgb, row.type, row.level) if row.level else rgb)
        error = np.mean((pixels.astype(float) - rgb) ** 2)
        assert row.psnr == (np.inf if error == 0 else pytest.approx(10 * np.log10(255**2 / error)))


@pytest.mark.slow
def test_a_photo_that_a_type_does_not_change_is_left_out_and_said(scores):
    assert unchanged(scores).to_numpy().tolist() == [["photo3", "desaturation"]]  # it is gray
    kept = within(scores)
    assert set(kept.loc[kept["type"] == "desaturation", "image"]) == {"photo0", "photo1", "photo2"}
    table = summary(kept)
    assert table.groupby("type")["n"].first().to_dict() == {"jpeg": 4, "desaturation": 3}


def made(columns: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Scores of images (a row each) over six levels."""
    count = len(next(iter(columns.values())))
    table = pd.DataFrame(
        {"image": np.repeat([f"i{i}" for i in range(count)], 6), "level": [*range(6)] * count}
    )
    table = table.assign(type="t", psnr=50.0 - table["level"], ssim=1 - table["level"] / 10)
    return table.assign(**{name: np.ravel(values) for name, values in columns.items()})


def test_srcc_within_an_image_and_its_median_by_hand():
    falling, rising, flat = [5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 9], [7] * 6
    one_swap = [5, 4, 2, 3, 1, 0]  # two neighbors exchanged: 1 - 6 * 2 / (6 * 35)
    table = made(
        {"q_sim": [falling, flat, one_swap] * 2, "q_mag": [rising, falling, falling] * 2, "w_sim": [flat] * 6}
    )
    found = within(table).set_index(["image", "score"])["srcc"]
    swapped = -1 + 12 / 210
    expected = {("i0", "q_sim"): -1, ("i0", "q_mag"): 1, ("i1", "q_sim"): 0, ("i2", "q_sim"): swapped}
    assert found[[*expected]].tolist() == pytest.approx([*expected.values()])  # 0: sees nothing
    rows = summary(within(table)).set_index("score")
    assert rows.loc["q_sim", ["srcc", "ci_low", "ci_high"]].tolist() == pytest.approx([swapped, -1, 0])
    assert rows.loc["q_mag", ["srcc", "falls"]].tolist() == pytest.approx([-1, 2 / 3])
    assert rows.loc["q_mag - q_sim", "srcc"] == pytest.approx(-12 / 210)  # of 2, -1 and -12 / 210


def test_curves_are_in_deviations_of_the_undistorted_scores():
    table = made({"q": [[1, 2, 3, 4, 5, 6], [3, 3, 3, 3, 3, 3], [5, 0, 0, 0, 0, 0]]})
    found = curves(table).set_index("level")[["q25", "median", "q75"]]
    assert found.loc[0, "median"] == 0
    assert found.loc[1].tolist() == pytest.approx([-1.25, 0, 0.25])  # of 1, 0 and -5 over a deviation of 2


@pytest.mark.slow
def test_the_command_writes_tables_figures_and_a_record_and_the_second_call_is_cached(
    folder, photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    argv = [
        "probe",
        str(folder / "photo*.png"),
        "types=[gaussian_blur,jpeg]",
        *tiny.scoring(folder),
        "cache_dir=cache",
    ]
    assert main([*argv, "out=a"]) == 0
    out = capsys.readouterr().out
    assert all(part in out for part in ("untrained, seed 0", "gaussian_blur", "laplacian (control)"))
    assert "*" not in out
    assert {p.name for p in Path("a").iterdir()} == {
        *("probe.csv", "curves.csv", "levels.csv", "scores.csv", "record.json", "figures")
    }
    drawn = {p.name for p in Path("a/figures").glob("*.p*")}
    assert drawn == {"curves.pdf", "curves.png", "srcc.pdf", "srcc.png"}
    record = json.loads(Path("a/record.json").read_text())
    assert record["types"] == ["gaussian_blur", "jpeg"] and record["backbone"]["label"] == "untrained, seed 0"
    monkeypatch.setattr("magiqa.scorer.session.build", lambda *a, **k: pytest.fail("encoded what was cached"))
    assert main([*argv, "out=b", "figures=false"]) == 0
    for name in ("probe.csv", "curves.csv", "levels.csv", "scores.csv"):
        assert Path("b", name).read_bytes() == Path("a", name).read_bytes()
    assert main([*argv, "out=c", "figures=false", "magnitude=l2"]) == 0
    assert Path("c/probe.csv").read_bytes() != Path("a/probe.csv").read_bytes()


@pytest.mark.parametrize(
    ("count", "types", "message"),
    [(4, ["fog"], "types: 'fog' is not known: use gaussian_blur"), (2, ["jpeg"], "2 images are too few")],
)
def test_mistakes_are_named(scorer, photos, tmp_path, count, types, message):
    with pytest.raises(UserError, match=message):
        probe(scorer, photos[:count], tmp_path / "out", types=types, progress=False)
    with pytest.raises(UserError, match="two images have one name"):
        probe(scorer, [photos[0]] * 3, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
