"""The public API: equal to a run of the harness, whatever an image comes as, and no trace in the host program."""

import copy
import logging
import os
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from conftest import GOLDEN
from PIL import Image

from magiqa import Scorer
from magiqa.backbones.spec import Backbone
from magiqa.errors import UserError
from magiqa.images.views import Views
from magiqa.method.fusion import Fixed
from magiqa.scorer import session as method
from magiqa.studies.evaluate import evaluate


@pytest.fixture(scope="module")
def paths(folder) -> list[str]:
    return [str(p) for p in sorted((folder / "set").glob("*.png"))]


def scorer_of(folder: Path, **settings) -> Scorer:
    options = {"views": Views(window=64, stride=32), "engine": "torch", "batch_size": 4, "workers": 1}
    return Scorer(Backbone(f"local-dir:{folder / 'clip'}", untrained=0), **(options | settings))


@pytest.fixture(scope="module")
def scorer(folder) -> Scorer:
    return scorer_of(folder)


@pytest.mark.slow
def test_scores_are_those_of_evaluate_to_the_last_digit(folder, paths, tmp_path):
    job = tiny.job(folder, f"out={tmp_path / 'run'}", f"cache_dir={tmp_path / 'cache'}")
    evaluate(job, progress=False)
    run = pd.read_csv(tmp_path / "run" / "scores.csv")
    found = Scorer.of(job).cues(paths)
    for cue in ("q", "q_sim", "q_mag", "w_sim"):
        np.testing.assert_array_equal(found[cue], run[cue])
    assert [Path(name).name for name in found["image"]] == list(run["image"])


def as_tensor(path: str) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).float() / 255


@pytest.mark.slow
def test_an_image_scores_the_same_whatever_it_comes_as(scorer, paths):
    expected = scorer(paths[:3])
    assert expected.shape == (3,) and expected.dtype == np.float64 and expected.flags.writeable
    for images in (
        [Path(p) for p in paths[:3]],
        [Image.open(p) for p in paths[:3]],
        [np.array(Image.open(p)) for p in paths[:3]],
        [paths[0], Image.open(paths[1]), as_tensor(paths[2])],
        (p for p in paths[:3]),
    ):
        np.testing.assert_array_equal(scorer(images), expected)
    batch = torch.stack([as_tensor(p) for p in paths[1:4]])  # of one size
    np.testing.assert_array_equal(scorer(batch), scorer(paths[1:4]))
    for image in (paths[0], Image.open(paths[0]), np.array(Image.open(paths[0])), as_tensor(paths[0])):
        np.testing.assert_array_equal(scorer(image), expected[:1])


@pytest.mark.slow
def test_a_score_depends_on_its_image_alone(scorer, paths, monkeypatch):
    together = scorer(paths)
    np.testing.assert_array_equal([scorer(p)[0] for p in paths], together)
    np.testing.assert_array_equal(scorer(paths[::-1]), together[::-1])
    np.testing.assert_array_equal(scorer([paths[3]] * 3), np.repeat(together[3], 3))
    monkeypatch.setattr(method, "TOGETHER", 5)
    np.testing.assert_array_equal(scorer(paths), together)
    by_view = scorer.views(paths)
    assert by_view.groupby("image", sort=False)["q"].mean().to_numpy() == pytest.approx(together, abs=1e-15)


@pytest.mark.slow
def test_threads_at_once_give_what_one_gives(folder, paths):
    expected = scorer_of(folder)(paths)
    fresh = scorer_of(folder)  # its model is made while all of them ask for it
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fresh, [paths, paths[::-1], paths, paths[:7]]))
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(found[1], expected[::-1])
    np.testing.assert_array_equal(found[3], expected[:7])


@pytest.mark.slow
def test_cues_have_a_column_a_pair_and_fuse_as_the_formula_says(scorer, folder, paths):
    table = scorer.cues(paths[:2])
    pairs = list(table.columns[5:])
    assert list(table.columns[:5]) == ["image", "q", "q_sim", "q_mag", "w_sim"]
    assert pairs == ["Good image", "Sharp image", "sharp edges", "High resolution image", "Noise-free image"]
    assert table[pairs].mean(axis=1).to_numpy() == pytest.approx(table["q_sim"].to_numpy(), abs=1e-12)
    own = scorer_of(folder, prompts=[("Sharp photo.", "Blurry photo.")], fusion=Fixed(1.0))
    found = own.cues(paths[:2])
    np.testing.assert_allclose(found["q"], found["Sharp photo."], rtol=1e-15)
    np.testing.assert_array_equal(found["q_mag"], table["q_mag"])


def test_views_say_where_they_lie(scorer, paths):
    table = scorer.views(paths[1])
    assert list(table["kind"]) == ["windows"] * 6 + ["global"] and list(table["view"]) == list(range(7))
    assert table.loc[4, ["left", "top", "right", "bottom"]].tolist() == [32, 32, 96, 96]
    pixels = np.array(Image.open(paths[1]))[32:96, 32:96]
    alone = scorer.views(pixels)
    np.testing.assert_array_equal(alone.loc[0, "q_mag"], table.loc[4, "q_mag"])


@pytest.mark.slow
def test_features_are_shared_with_runs_by_a_cache_folder(folder, paths, tmp_path, monkeypatch):
    job = tiny.job(folder, f"out={tmp_path / 'run'}", f"cache_dir={tmp_path / 'cache'}")
    evaluate(job, progress=False)
    held = sorted((tmp_path / "cache").rglob("*"))
    monkeypatch.setattr("magiqa.scorer.session.build", lambda *a, **k: pytest.fail("encoded what was cached"))
    scorer = Scorer.of(job, cache_dir=tmp_path / "cache")
    run = pd.read_csv(tmp_path / "run" / "scores.csv")
    np.testing.assert_array_equal(scorer(paths), run["q"])
    assert len(scorer.views(paths)) == 24 * 7 - 6 * 2  # six images of 96x96 have four windows, not six
    assert sorted((tmp_path / "cache").rglob("*")) == held


@pytest.mark.parametrize("engine", ["torch", pytest.param("openvino", marks=pytest.mark.long)])
@pytest.mark.slow
def test_the_host_program_finds_everything_as_it_was(folder, paths, tmp_path, monkeypatch, engine):
    if engine == "openvino":
        pytest.importorskip("openvino")
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    before = torch.get_num_threads()
    torch.set_num_threads(max(2, before))
    torch.backends.cuda.matmul.allow_tf32 = True
    seeds = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 (the host's own)
    try:
        scorer = scorer_of(folder, engine=engine)
        scorer(paths[:3])
        scorer.heatmap(paths[0])
        assert torch.get_num_threads() == max(2, before)
        with ThreadPoolExecutor(1) as pool:  # a new thread takes over what the process has
            assert pool.submit(torch.get_num_threads).result() == max(2, before)
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.set_num_threads(before)
    assert logging.root.manager.disable == 0
    assert not GlobalHydra.instance().is_initialized()
    assert torch.equal(torch.get_rng_state(), seeds[0])
    assert np.array_equal(np.random.get_state()[1], seeds[1])  # noqa: NPY002
    assert list(tmp_path.rglob("*")) == []


def test_copies_share_the_model_and_pickles_give_the_same_scores(scorer, paths):
    assert copy.deepcopy(scorer) is scorer
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(scorer))(paths[:2]), scorer(paths[:2]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_scorer_used_before_a_fork_names_spawn_in_the_child(scorer, paths):
    scorer(paths[:1])
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a hang ends the child
        try:
            scorer(paths[:1])
        except UserError as error:
            os._exit(0 if "spawn" in str(error) else 2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


PHOTO = np.random.default_rng(0).integers(0, 256, (80, 96, 3), dtype=np.uint8)
FLOATS = torch.from_numpy(PHOTO).permute(2, 0, 1)[None].float() / 255
CLOSED = Image.fromarray(PHOTO)
CLOSED.close()
OVERSHOOT = FLOATS.masked_fill(FLOATS.max() == FLOATS, 1.0001)
GIVEN = {
    "closed image": (CLOSED, "image 0: .*closed.*; open it again"),
    "overshoot": (OVERSHOOT, r"to 1\.0001, not within \[0, 1\]; .*clamp\(0, 1\)"),
    "none": ([], "there are none; give a path"),
    "number": (3, "a int is none; give a path"),
    "inside": ([PHOTO, 3], "image 1: a int is no image"),
    "gray array": (PHOTO[..., 0], r"image 0: .*\(80, 96\).*np.stack"),
    "alpha array": (np.dstack([PHOTO, PHOTO[..., :1]]), r"three channels"),
    "channels first": (PHOTO.transpose(2, 0, 1), r"image.transpose\(1, 2, 0\)"),
    "float array": (PHOTO / 255, "make it uint8 of 0 to 255, or a torch tensor"),
    "16 bits": (PHOTO.astype(np.uint16), "make it uint8"),
    "many arrays": (np.stack([PHOTO, PHOTO]), r"pass list\(images\)"),
    "no pixel": (PHOTO[:0], "it holds no pixel"),
    "uint8 tensor": ((FLOATS * 255).byte(), "images / 255"),
    "0 to 255": (FLOATS * 255, "run from 0 to 255, .* divide by 255"),
    "normalized": (FLOATS * 4 - 2, r"clamp\(0, 1\)"),
    "nan": (FLOATS.masked_fill(FLOATS > 0.99, float("nan")), "NaN or infinity"),
    "infinity": (FLOATS.masked_fill(FLOATS > 0.99, float("inf")), "NaN or infinity"),
    "gray tensor": (FLOATS[:, :1], r"expand\(-1, 3, -1, -1\)"),
    "four channels": (torch.cat([FLOATS, FLOATS[:, :1]], 1), "three channels"),
    "a channel": (FLOATS[0, 0], r"shape \(80, 96\), not \(3, H, W\)"),
    "gradient": (FLOATS.clone().requires_grad_(), r"images.detach\(\)"),
    "small": (PHOTO[:40], "image 0: 96x40 has a side under the window size 64; use views.small=upscale"),
    "missing": ("/nonexistent/a.png", "/nonexistent/a.png: cannot be read .*; restore it$"),
    "second": ([PHOTO, "/nonexistent/a.png"], "/nonexistent/a.png"),
    "folder": (str(GOLDEN), "is a folder; give its files, or use magiqa score"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_cannot_be_scored_is_named_with_what_to_do(scorer, name):
    given, message = GIVEN[name]
    with pytest.raises(UserError, match=message):
        scorer(given)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Scorer("demo", alhpa=2), "alhpa: Scorer has no such setting; it has backbone"),
        (lambda: Scorer("nosuch"), "backbone"),
        (lambda: Scorer("demo", pooling="max"), "pooling=max"),
        (lambda: Scorer.compose("fusion.alhpa=2"), "alhpa"),
    ],
)
@pytest.mark.slow
def test_settings_and_options_that_do_not_exist_are_named(made, message):
    with pytest.raises(UserError, match=message):
        made()


@pytest.mark.slow
def test_a_map_is_of_the_images_size_and_runs_between_its_windows(scorer, paths):
    (found,) = scorer.heatmap(paths[1], window=64, stride=16)
    assert set(found) == set(scorer.cues(paths[1]).columns) - {"image"}
    for map_ in found.values():
        assert map_.shape == (96, 128) and map_.dtype == np.float32 and np.isfinite(map_).all()
    corner = scorer.views(np.array(Image.open(paths[1]))[:64, :64])
    assert found["q"][0, 0] == pytest.approx(corner.loc[0, "q"], rel=1e-6)
    (small,) = Scorer.compose("backbone=demo", "views.small=upscale", "engine=torch").heatmap(PHOTO)
    assert small["q"].shape == (80, 96) and np.isfinite(small["q"]).all()
