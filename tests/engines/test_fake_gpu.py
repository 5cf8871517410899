"""The path that a GPU takes, on one that is not there: no tensor of the host among its own, no race, no hidden wait."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_gpu import CUDA, Gpu
from PIL import Image
from towers import SIZE, error, pictures, plain, tower

from magiqa.engines import device as device_
from magiqa.engines.build import build
from magiqa.engines.device import Sent, send
from magiqa.engines.engine import Resolved
from magiqa.errors import UserError
from magiqa.features.cache import MemoryStore
from magiqa.features.hashing import content_sha256
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.images.views import KINDS, Views

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="stands in for a GPU that is not there")
CPU = Resolved("torch", "fp32", "cpu")


@pytest.fixture
def gpu(monkeypatch):
    """The thread's GPU; whatever went wrong on it fails the test."""
    with Gpu().installed(monkeypatch) as found:
        yield found
        found.synchronize()
    assert found.faults == []


@pytest.fixture
def faulty(monkeypatch):
    """A GPU on which something is to go wrong."""
    with Gpu().installed(monkeypatch) as found:
        yield found


def on_gpu(visual: torch.nn.Module, precision: str = "fp32", **options):
    return build(
        visual, Resolved("torch", precision, "cuda:0"), view_size=SIZE, **{"batch_size": 4} | options
    )


@pytest.mark.parametrize("kind", ["resnet", "vit"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_tower_runs_there_whole(gpu, kind, precision):
    visual, views = tower(kind), pictures(6)
    engine = on_gpu(visual, precision)
    assert engine.way is not None and engine.warnings == [] and engine.streams == 2
    assert error(engine(views), plain(visual, views)) < engine.resolved.tolerance
    whole = pictures(1, (96, 64)) if kind == "resnet" else pictures(1)
    assert error(engine(whole), plain(visual, whole)) < engine.resolved.tolerance


def photos(folder: Path) -> list[tuple[str, str]]:
    rng = np.random.default_rng(0)
    out = []
    for i, (width, height) in enumerate(
        [(64, 64), (130, 96), (200, 70), (97, 161), (64, 300), (96, 130)] * 2
    ):
        path = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        out.append((str(path), content_sha256(path.read_bytes())))
    return out


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


@pytest.mark.slow
def test_whole_images_too_and_float32_pixels(gpu):
    visual = tower("resnet")
    engine, here = on_gpu(visual), build(visual, CPU, batch_size=4, view_size=SIZE)
    views = Views(kinds=KINDS, window=64, stride=40)
    pixels = np.random.default_rng(0).random((110, 150, 3), dtype=np.float32)

    def load(item, key):
        return pixels[:, :: 1 if item == "a" else -1], np.zeros(4)

    options = {"recipe": Recipe(views), "load": load, "progress": False}
    found, expected = MemoryStore(), MemoryStore()
    fill_cache(found, [("a", "a"), ("b", "b")], lambda: engine, **options)
    fill_cache(expected, [("a", "a"), ("b", "b")], lambda: here, **options)
    for key in ("a", "b"):
        assert error(found.features[key], expected.features[key]) < engine.resolved.tolerance


# What the fake GPU must find, or what it did not find above would mean nothing.


def test_a_tensor_left_on_the_host_is_found(faulty, monkeypatch):
    monkeypatch.setattr(device_, "_make_constants", lambda device, scale: [torch.ones(3)] * 3)
    engine = on_gpu(tower("vit"))
    assert engine.way is None and engine.warnings == [
        "device=cuda:0: views cannot be made there (aten.div_.Tensor: tensors of the host [(3,)] among those on "
        "cuda:0); they are made on the CPU instead (slower)"
    ]
    visual = tower("vit")
    monkeypatch.setattr(
        type(visual.conv1), "forward", lambda self, x: self._conv_forward(x, self.weight, torch.ones(64))
    )
    message = r"device=cuda:0 cannot run this backbone \(aten.convolution.default: tensors of th"
    with pytest.raises(UserError, match=message + r".*\); use device=cpu"):
        on_gpu(visual)


def race(gpu: Gpu, first, second) -> None:
    """Run ``first(stream, go_on)`` in a thread; when it calls go_on, run ``second(stream)`` in another to its end."""
    middle, over = threading.Event(), threading.Event()

    def go_on() -> None:
        middle.set()
        assert over.wait(20)

    errors = []

    def guarded(run, *args) -> None:
        try:
            with gpu.within(gpu.make_stream()), torch.inference_mode():
                run(*args)
        except BaseException as error:
            errors.append(error)
        finally:
            middle.set()

    def later() -> None:
        assert middle.wait(20)
        guarded(second)
        over.set()

    threads = [threading.Thread(target=guarded, args=(first, go_on)), threading.Thread(target=later)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert errors == []


def test_pixels_that_nobody_waited_for_are_found(faulty, monkeypatch):
    monkeypatch.setattr(device_, "send", lambda tensor, device: tensor.to(device, non_blocking=True))
    sent = Sent(np.zeros((64, 64, 3), np.uint8), CUDA)

    def first(go_on):
        sent()
        go_on()

    race(faulty, first, lambda: sent().float())
    (fault,) = set(faulty.faults)
    assert fault.startswith("aten._to_copy.default on stream 2 reads what stream 1 has not finished")


def test_pinned_memory_that_changes_while_it_is_copied_is_found(faulty):
    pinned = torch.empty(8, pin_memory=True)
    pinned.zero_()
    there = pinned.to(CUDA, non_blocking=True)
    pinned.add_(1)
    torch.cuda.current_stream().synchronize()
    assert faulty.faults == ["default stream: pinned memory changed while it was copied"]
    assert send(pinned, CUDA).cpu().tolist() == [1] * 8 and there.cpu().tolist() == [0] * 8


def test_memory_written_while_another_stream_reads_it_is_found(faulty):
    there = torch.zeros(3, device=CUDA)
    torch.cuda.synchronize()

    def first(go_on):
        there.sum()
        go_on()

    race(faulty, first, lambda: there.add_(1))
    assert faulty.faults == ["aten.add_.Tensor on stream 2 writes what ['stream 1'] still use"]
