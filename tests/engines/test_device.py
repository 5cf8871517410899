"""Views made on a device from its own copy of the pixels: those of NumPy, to the bit where torch rounds alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from towers import DEVICE, SIZE, error, photo, pictures, plain, tower

from magiqa.engines import device as device_
from magiqa.engines.build import ENGINES, build
from magiqa.engines.engine import Resolved
from magiqa.engines.pytorch import torch_maker
from magiqa.images.views import KINDS, Resize, Views, cut

CPU = Resolved("torch", "fp32", "cpu")
HERE = Resolved("torch", "fp32", DEVICE)


@pytest.fixture(scope="module")
def engine():
    """An engine whose views are made where its tower is."""
    return build(tower("resnet"), HERE, batch_size=4, view_size=SIZE, on_device=True)


@pytest.fixture(scope="module")
def viewer():
    """An engine whose features are the views themselves."""
    return build(torch.nn.Flatten(), HERE, batch_size=4, view_size=SIZE, on_device=True)


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("resize", [None, Resize("squash", 96), Resize("short_side", 80, "bilinear")])
@pytest.mark.parametrize(
    ("size", "cover"), [((64, 64), False), ((227, 64), True), ((512, 333), True), ((50, 90), False)]
)
def test_views_are_those_of_numpy(viewer, size, resize, cover, floats):
    views = Views(kinds=KINDS, window=64, stride=48, cover=cover, small="upscale")
    image = photo(*size)
    pixels = np.asarray(image).astype(np.float32) / np.float32(255) if floats else image
    expected = [view for block in cut(pixels, views, resize) for view in block]
    pieces = [piece for block in viewer.way.cut(pixels, views, resize) for piece in block]
    assert [piece.shape for piece in pieces] == [view.shape for view in expected]
    exact = resize is None and min(size) >= 64 and HERE.device == "cpu"
    for i, (piece, view) in enumerate(zip(pieces, expected, strict=True)):
        # windows of an image as it is come from the operations of NumPy in their order: the same bits
        atol = 0 if exact and i < len(views.boxes(*size)) else 1e-6
        np.testing.assert_allclose(viewer.way.encode([piece])[0], view.ravel(), rtol=0, atol=atol)


def test_features_are_those_of_the_views_whatever_else_is_in_the_batch(engine):
    views = Views(window=64, stride=32)
    photos = [photo(*size, seed) for seed, size in enumerate([(96, 64), (64, 64), (130, 100)])]
    pieces = [piece for image in photos for block in engine.way.cut(image, views) for piece in block]
    alone = np.concatenate([engine.way.encode([piece]) for piece in pieces])
    order = np.random.default_rng(0).permutation(len(pieces))
    for part in np.array_split(order, len(order) // 4 + 1):
        features = engine.way.encode([pieces[j] for j in part])
        # a GPU's libraries may sum in another order in another place of the batch
        assert error(features, alone[part]) <= (0 if HERE.device == "cpu" else 1e-6)
    arrays = np.stack([view for image in photos for block in cut(image, views) for view in block])
    assert error(alone, engine(arrays)) < engine.resolved.tolerance / 2
    assert error(alone, plain(tower("resnet"), arrays)) < engine.resolved.tolerance


def test_a_device_that_makes_other_views_gets_them_from_the_cpu_and_says_so(monkeypatch):
    plain_taps = device_.taps
    monkeypatch.setattr(
        device_, "taps", lambda side, size: (*plain_taps(side, size)[:2], np.zeros(size, np.float32))
    )
    engine = build(tower("vit"), CPU, batch_size=2, view_size=SIZE, on_device=True)
    assert engine.way is None
    (warning,) = engine.warnings
    assert warning.startswith("device=cpu: views made there differ by ") and "(slower)" in warning


@pytest.mark.skipif(DEVICE == "cpu", reason="no GPU is checked")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_a_compiled_tower_on_a_gpu_is_within_its_tolerance(kind, precision):
    visual, views = tower(kind), pictures(5)
    engine = build(visual, Resolved("compile", precision, DEVICE), batch_size=4, view_size=SIZE)
    assert error(engine(views), plain(visual, views)) <= engine.resolved.tolerance


@pytest.mark.parametrize(
    ("device", "there"), [("cpu", False), ("cuda", True), ("cuda:1", True), ("mps", True)]
)
def test_views_are_made_on_gpus(monkeypatch, device, there):
    on_cpu = replace(
        ENGINES["torch"], prepare=lambda visual, _, view_size: torch_maker(visual, CPU, view_size)
    )
    monkeypatch.setitem(ENGINES, "torch", on_cpu)
    engine = build(tower("vit"), Resolved("torch", "fp32", device), batch_size=2, view_size=SIZE)
    assert (engine.way is not None) is there
