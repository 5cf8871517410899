"""The public API: equal to a run of the harness, whatever an image comes as, and no trace in the host program."""

import copy
import importlib.util
import logging
import os
import pickle
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from conftest import GOLDEN
from PIL import Image
from towers import DEVICE

from magiqa import Scorer
from magiqa.backbones.spec import Backbone
from magiqa.errors import UserError
from magiqa.images.views import Views
from magiqa.method.fusion import Fixed
from magiqa.scorer import session as method
from magiqa.scorer.as_pyiqa import PyiqaMetric
from magiqa.studies.evaluate import evaluate


@pytest.fixture(scope="module")
def paths(folder) -> list[str]:
    return [str(p) for p in sorted((folder / "set").glob("*.png"))]


def scorer_of(folder: Path, **settings) -> Scorer:
    options = {
        "views": Views(window=64, stride=32),
        "engine": "torch",
        "device": "cpu",
        "batch_size": 4,
        "workers": 1,
    }
    return Scorer(Backbone(f"local-dir:{folder / 'clip'}", untrained=0), **(options | settings))


@pytest.fixture(scope="module")
def scorer(folder) -> Scorer:
    return scorer_of(folder)


@pytest.mark.slow
def test_scores_are_those_of_evaluate_whose_cached_features_they_share(folder, paths, tmp_path, monkeypatch):
    job = tiny.job(folder, f"out={tmp_path / 'run'}", f"cache_dir={tmp_path / 'cache'}")
    evaluate(job, progress=False)
    run, files = pd.read_csv(tmp_path / "run" / "scores.csv"), sorted((tmp_path / "cache").rglob("*"))
    cues = Scorer.of(job).cues(paths)
    for cue in ("q", "q_sim", "q_mag", "w_sim"):
        np.testing.assert_array_equal(cues[cue], run[cue])
    assert [Path(name).name for name in cues["image"]] == list(run["image"])
    monkeypatch.setattr("magiqa.scorer.session.build", lambda *a, **k: pytest.fail("encoded what was cached"))
    np.testing.assert_array_equal(Scorer.of(job, cache_dir=tmp_path / "cache")(paths), run["q"])
    assert sorted((tmp_path / "cache").rglob("*")) == files


def as_tensor(path: str) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).float() / 255


@pytest.mark.slow
def test_an_image_scores_the_same_whatever_it_comes_as(scorer, paths):
    pictures = [Image.open(p) for p in paths[1:4]]
    arrays = [np.array(picture) for picture in pictures]
    batch = torch.stack([as_tensor(p) for p in paths[1:4]])  # of one size
    expected = scorer(paths[1:4])
    assert expected.shape == (3,) and expected.dtype == np.float64 and expected.flags.writeable
    mixed = [paths[1], pictures[1], batch[2]]
    for images in (list(map(Path, paths[1:4])), pictures, arrays, batch, mixed, iter(paths[1:4])):
        np.testing.assert_array_equal(scorer(images), expected)
    for image in (paths[1], pictures[0], arrays[0], batch[0]):
        np.testing.assert_array_equal(scorer(image), expected[:1])


@pytest.mark.slow
def test_a_score_depends_on_its_image_alone(scorer, paths, monkeypatch):
    paths = paths[:9]
    together = scorer(paths)
    np.testing.assert_array_equal([scorer(p)[0] for p in paths], together)
    np.testing.assert_array_equal(scorer(paths[::-1]), together[::-1])
    np.testing.assert_array_equal(scorer([paths[3]] * 3), np.repeat(together[3], 3))
    monkeypatch.setattr(method, "TOGETHER", 5)
    np.testing.assert_array_equal(scorer(paths), together)
    by_view = scorer.views(paths)
    assert by_view.groupby("image", sort=False)["q"].mean().to_numpy() == pytest.approx(together, abs=1e-15)


@pytest.mark.skipif(DEVICE == "cpu", reason="no GPU is checked")
def test_scores_on_a_gpu_are_the_cpus(folder, scorer, paths):
    on_gpu = scorer_of(folder, device=DEVICE)
    np.testing.assert_allclose(on_gpu(paths), scorer(paths), rtol=0, atol=1e-4)
    tensors = [as_tensor(path).to(DEVICE) for path in paths]
    np.testing.assert_allclose(on_gpu(tensors), on_gpu(paths), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_threads_at_once_give_what_one_gives(folder, paths):
    paths = paths[:9]
    expected = scorer_of(folder)(paths)
    fresh = scorer_of(folder)  # its model is made while all of them ask for it
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fresh, [paths, paths[::-1], paths, paths[:7]]))
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(found[1], expected[::-1])
    np.testing.assert_array_equal(found[3], expected[:7])


@pytest.mark.slow
def test_cues_have_a_column_a_pair_and_fuse_as_the_formula_says(folder, paths):
    pairs = [("Sharp photo.", "Blurry photo."), ("Good photo.", "Bad photo.")]
    table = scorer_of(folder, prompts=pairs, fusion=Fixed(0.75)).cues(paths[:2])
    assert list(table.columns) == ["image", "q", "q_sim", "q_mag", "w_sim", "Sharp photo.", "Good photo."]
    np.testing.assert_allclose(table["q_sim"], (table["Sharp photo."] + table["Good photo."]) / 2, rtol=1e-12)
    np.testing.assert_allclose(table["q"], 0.75 * table["q_sim"] + 0.25 * table["q_mag"], rtol=1e-12)


def test_views_say_where_they_lie(scorer, paths):
    table = scorer.views(paths[1])
    assert list(table["kind"]) == ["windows"] * 6 + ["global"] and list(table["view"]) == list(range(7))
    assert table.loc[4, ["left", "top", "right", "bottom"]].tolist() == [32, 32, 96, 96]
    pixels = np.array(Image.open(paths[1]))[32:96, 32:96]
    alone = scorer.views(pixels)
    np.testing.assert_array_equal(alone.loc[0, "q_mag"], table.loc[4, "q_mag"])


@pytest.mark.parametrize("engine", ["torch", pytest.param("openvino", marks=pytest.mark.long)])
@pytest.mark.slow
def test_the_host_program_finds_everything_as_it_was(folder, paths, tmp_path, monkeypatch, engine):
    if engine == "openvino":
        pytest.importorskip("openvino")
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.backends.cuda.matmul.allow_tf32 = True
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    seed = torch.get_rng_state()
    try:
        scorer = scorer_of(folder, engine=engine)
        scorer(paths[:3])
        scorer.heatmap(paths[0])
        with ThreadPoolExecutor(1) as pool:  # a new thread takes over what the process has
            assert pool.submit(torch.get_num_threads).result() == torch.get_num_threads() == 3
        assert torch.backends.cuda.matmul.allow_tf32 and logging.root.manager.disable == 0
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.set_num_threads(before)
    assert not GlobalHydra.instance().is_initialized()
    assert torch.equal(torch.get_rng_state(), seed)
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


def test_a_setting_that_does_not_exist_is_named():
    with pytest.raises(UserError, match="alhpa: Scorer has no such setting; it has backbone"):
        Scorer("demo", alhpa=2)


@pytest.mark.slow
def test_a_map_is_of_the_images_size_and_runs_between_its_windows(folder, scorer, paths):
    (maps,) = scorer.heatmap(paths[1], window=64, stride=16)
    assert set(maps) == set(scorer.cues(paths[1]).columns) - {"image"}
    for map_ in maps.values():
        assert map_.shape == (96, 128) and map_.dtype == np.float32 and np.isfinite(map_).all()
    corner = scorer.views(np.array(Image.open(paths[1]))[:64, :64])
    assert maps["q"][0, 0] == pytest.approx(corner.loc[0, "q"], rel=1e-6)
    upscaling = scorer_of(folder, views=Views(window=64, stride=32, small="upscale"))
    (small,) = upscaling.heatmap(PHOTO[:40])
    assert small["q"].shape == (40, 96) and np.isfinite(small["q"]).all()


# --- adapters: within torchmetrics itself, and called as pyiqa's evaluation loops call a metric ---


@pytest.fixture(scope="module")
def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(n, 3, 70, 64 + n, generator=generator) for n in (3, 1, 2)]


def test_torchmetrics_mean_is_over_images_not_batches(scorer, batches):
    metric = pytest.importorskip("magiqa.scorer.as_torchmetrics").MeanQuality(scorer)
    scores = [scorer(batch) for batch in batches]
    for batch, q in zip(batches, scores, strict=True):
        assert float(metric(batch)) == pytest.approx(q.mean(), rel=1e-6)  # forward: the batch's own
    assert float(metric.compute()) == pytest.approx(np.concatenate(scores).mean(), rel=1e-6)
    metric.reset()
    with pytest.raises(UserError, match="call update"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics' own, of the same
        metric.compute()


@pytest.mark.slow
def test_a_pyiqa_loop_finds_what_it_asks_for(scorer, paths, batches):
    metric = PyiqaMetric(scorer).to("cpu").eval()
    assert (metric.metric_mode, metric.lower_better) == ("NR", False)
    scores = metric(batches[0])
    assert scores.shape == (3, 1) and scores.dtype == torch.float32
    np.testing.assert_allclose(scores.squeeze(1).cpu().detach().numpy(), scorer(batches[0]), rtol=1e-6)
    for image in (paths[0], Image.open(paths[0])):
        assert metric(image, None).item() == pytest.approx(scorer(image)[0], rel=1e-6)
    with pytest.raises(UserError, match="no reference"):
        metric(batches[0], batches[0])


FAMILIES = {
    "ViT-B-16-SigLIP": 224,
    "ViT-B-32-SigLIP2-256": 256,
    "MobileCLIP-S1": 256,
    "EVA02-B-16": 224,
    "coca_ViT-B-32": 224,
}


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_scores_with_random_weights(name):
    side = FAMILIES[name]
    backbone = Backbone(name, untrained=0, positional_embedding="native")
    views = Views(kinds=("global",), window=side)
    scorer = Scorer(backbone, prompts="uniqa", views=views, fusion="similarity")
    image = np.random.default_rng(0).integers(0, 256, (side, side + 16, 3), np.uint8)
    if "SigLIP" in name and importlib.util.find_spec("transformers") is None:
        with pytest.raises(UserError, match=rf"^backbone\.name={name}: .*transformers.*install"):
            scorer([image])
        return
    cues = scorer.cues([image])
    assert 0.2 < cues["q_sim"][0] < 1.0 and np.isfinite(cues["q"][0])
