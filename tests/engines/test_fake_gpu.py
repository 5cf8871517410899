"""The path that a GPU takes, on one that is not there: no tensor of the host among its own, no race, no hidden wait."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fake_gpu import CUDA, Gpu
from PIL import Image
from towers import SIZE, error, photo, pictures, plain, tower

from magiqa.engines import device as device_
from magiqa.engines.build import build
from magiqa.engines.device import Sent
from magiqa.engines.engine import Resolved
from magiqa.features.cache import MemoryStore
from magiqa.features.images import content_sha256
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.images.views import Views

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="stands in for a GPU that is not there")
CPU = Resolved("torch", "fp32", "cpu")


@pytest.fixture
def faulty(monkeypatch):
    """A GPU on which something is to go wrong."""
    with Gpu().installed(monkeypatch) as gpu:
        yield gpu


@pytest.fixture
def gpu(faulty):
    """The thread's GPU; whatever went wrong on it fails the test."""
    yield faulty
    faulty.synchronize()
    assert faulty.faults == []


def on_gpu(visual: torch.nn.Module):
    return build(visual, Resolved("torch", "fp32", "cuda:0"), view_size=SIZE, batch_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_a_tower_runs_there_whole(gpu, kind):
    visual = tower(kind)
    engine = on_gpu(visual)
    assert engine.way is not None and engine.warnings == [] and engine.streams == 2
    for views in (pictures(6), pictures(1, (96, 64) if kind == "resnet" else SIZE)):
        assert error(engine(views), plain(visual, views)) < engine.resolved.tolerance


def photos(folder: Path) -> list[tuple[str, str]]:
    sizes = [(64, 64), (130, 96), (200, 70), (97, 161), (64, 300), (96, 130)] * 2
    for i, size in enumerate(sizes):
        photo(*size, seed=i).save(folder / f"{i:02d}.png")
    return [(str(path), content_sha256(path.read_bytes())) for path in sorted(folder.glob("*.png"))]


def features(engine, wanted, views, workers=3) -> dict[str, np.ndarray]:
    cache = MemoryStore()
    fill_cache(
        cache,
        wanted,
        lambda: engine,
        Recipe(views),
        workers=workers,
        progress=False,
    )
    return cache.features


@pytest.mark.slow
def test_the_pipeline_sends_each_image_once_and_waits_for_features_only(gpu, tmp_path):
    visual, wanted = tower("resnet"), photos(tmp_path)
    engine = on_gpu(visual)
    views = Views(window=64, stride=32)
    gpu.sent.clear(), gpu.waits.clear()
    found = features(engine, wanted, views)
    expected = features(build(visual, CPU, batch_size=4, view_size=SIZE), wanted, views)
    assert all(error(found[key], expected[key]) < engine.resolved.tolerance for _, key in wanted)
    pixels = sorted(np.asarray(Image.open(path)).nbytes for path, _ in wanted)
    assert sorted(size for size, pinned in gpu.sent if pinned) == pixels
    small = [size for size, pinned in gpu.sent if not pinned]  # what bilinear resizing reads of each side
    assert max(small) <= 2 * 64 * 8 and len(small) <= 2 * 2 * 2 * len({64, 130, 96, 200, 70, 97, 161, 300})
    batches = -(-sum(map(len, found.values())) // 4)
    assert gpu.waits.count("read") == batches
    assert gpu.waits.count("synchronize") == len(gpu.sent) and len(gpu.waits) == len(gpu.sent) + batches


# What the fake GPU must find, or what it did not find above would mean nothing.


def test_a_tensor_left_on_the_host_is_found(faulty, monkeypatch):
    monkeypatch.setattr(device_, "_make_constants", lambda device, scale: [torch.ones(3)] * 3)
    engine = on_gpu(tower("vit"))
    assert engine.way is None and "views cannot be made there" in engine.warnings[0]
    assert "tensors of the host [(3,)] among those on cuda:0" in engine.warnings[0]


def test_pixels_that_nobody_waited_for_are_found(faulty, monkeypatch):
    monkeypatch.setattr(device_, "send", lambda tensor, device: tensor.to(device, non_blocking=True))
    sent = Sent(np.zeros((64, 64, 3), np.uint8), CUDA)
    for _ in range(2):  # the second stream reads what nobody has waited for
        with faulty.within(faulty.make_stream()), torch.inference_mode():
            sent().float()
    assert any("stream 2 reads what stream 1 has not finished" in fault for fault in faulty.faults)
