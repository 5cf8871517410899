"""Views made on a device from its own copy of the pixels: those of NumPy, to the bit where torch rounds alike."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from towers import DEVICE, SIZE, error, plain, tower

from magiqa.engines import device as device_
from magiqa.engines.build import ENGINES, build
from magiqa.engines.device import OnDevice
from magiqa.engines.engine import Resolved
from magiqa.engines.pytorch import torch_maker
from magiqa.images.views import KINDS, Resize, Views, cut

CPU = Resolved("torch", "fp32", "cpu")
HERE = Resolved("torch", "fp32", DEVICE)


@pytest.fixture(scope="module")
def engine():
    """An engine whose views are made where its tower is."""
    return build(tower("resnet"), HERE, batch_size=4, view_size=SIZE, on_device=True)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    noisy = (127 + 80 * np.sin(x / 17 + seed) * np.cos(y / 23))[..., None] + rng.integers(
        -40, 40, (height, width, 3)
    )
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def made(way: OnDevice, *args, **options) -> list[np.ndarray]:
    """All views as arrays (3, H, W), made in batches."""
    out = []
    for block in way.cut(*args, **options):
        if block[0].kind == "whole":
            (piece,) = block
            out.append(way._normalized(piece.pixels()[None], piece).permute(0, 3, 1, 2).cpu().numpy()[0])
            continue
        for i in range(0, len(block), way.batch_size):
            part = block[i : i + way.batch_size]
            out += list(way.batch(part).permute(0, 3, 1, 2).cpu().numpy()[: len(part)])
    return out


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("resize", [None, Resize("squash", 96), Resize("short_side", 80, "bilinear")])
@pytest.mark.parametrize(
    ("size", "cover"), [((64, 64), False), ((227, 64), True), ((512, 333), True), ((50, 90), False)]
)
def test_views_are_those_of_numpy(engine, size, resize, cover, floats):
    views = Views(kinds=KINDS, window=64, stride=48, cover=cover, small="upscale")
    image = photo(*size)
    pixels = np.asarray(image).astype(np.float32) / np.float32(255) if floats else image
    expected = [view for block in cut(pixels, views, resize) for view in block]
    found = made(engine.way, pixels, views, resize)
    assert [v.shape for v in found] == [v.shape for v in expected]
    for got, view in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, view, rtol=0, atol=1e-6)
    exact = resize is None and min(size) >= 64 and HERE.device == "cpu"
    for i in range(
        len(views.boxes(*image.size)) * exact
    ):  # the operations of NumPy in their order: the same bits
        np.testing.assert_array_equal(found[i], expected[i])


def test_features_are_those_of_the_views_whatever_else_is_in_the_batch(engine):
    views = Views(window=64, stride=32)
    photos = [photo(*size, seed) for seed, size in enumerate([(96, 64), (64, 64), (130, 100)])]
    pieces = [piece for image in photos for block in engine.way.cut(image, views) for piece in block]
    alone = np.concatenate([engine.way.encode([piece]) for piece in pieces])
    rng = np.random.default_rng(0)
    for _ in range(3):
        order = rng.permutation(len(pieces))
        for i in range(0, len(order), 4):
            part = order[i : i + 4]
            found = engine.way.encode([pieces[j] for j in part])
            if HERE.device == "cpu":
                np.testing.assert_array_equal(found, alone[part])
            else:  # a GPU's libraries may sum in another order in another place of the batch
                assert error(found, alone[part]) < 1e-6
    arrays = [view for image in photos for block in cut(image, views) for view in block]
    assert error(alone, engine(np.stack(arrays))) < engine.resolved.tolerance / 2
    assert error(alone, plain(tower("resnet"), np.stack(arrays))) < engine.resolved.tolerance


def test_a_device_that_makes_other_views_gets_them_from_the_cpu_and_says_so(monkeypatch):
    plain_taps = device_.taps
    monkeypatch.setattr(
        device_, "taps", lambda side, size: (*plain_taps(side, size)[:2], np.zeros(size, np.float32))
    )
    engine = build(tower("vit"), CPU, batch_size=2, view_size=SIZE, on_device=True)
    assert engine.way is None
    (warning,) = engine.warnings
    assert warning.startswith("device=cpu: views made there differ by ") and "(slower)" in warning


@pytest.mark.parametrize(
    ("device", "there"), [("cpu", False), ("cuda", True), ("cuda:1", True), ("mps", True)]
)
def test_views_are_made_on_gpus(monkeypatch, device, there):
    def prepare(visual, resolved, view_size):
        return torch_maker(visual, CPU, view_size)

    kind = replace(ENGINES["torch"], prepare=prepare)
    monkeypatch.setitem(ENGINES, "torch", kind)
    engine = build(tower("vit"), Resolved("torch", "fp32", device), batch_size=2, view_size=SIZE)
    assert (engine.way is not None) is there
