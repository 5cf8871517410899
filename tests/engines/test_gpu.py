"""The engine torch on a GPU, as far as a CPU and stubs of torch's own answers can show."""

import threading
import time
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from towers import error, pictures, plain, tower

from magiqa.engines import pytorch
from magiqa.engines.pytorch import optimize


class Conversions(TorchDispatchMode):
    """Counts how often a tensor of the tower is converted to another type."""

    def __init__(self, tower: torch.nn.Module) -> None:
        super().__init__()
        self.held = {t.data_ptr() for t in [*tower.parameters(), *tower.buffers()]}
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default and args[0].data_ptr() in self.held:
            self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_half_precision_weights_are_converted_once_and_to_the_same_features(kind):
    """To the bit for a ResNet; a ViT's attention may take torch's fused path then, which rounds elsewhere."""
    visual, views = tower(kind), pictures(4)
    anew, once = optimize(visual), optimize(visual)
    pytorch.convert(once, torch.bfloat16)
    found = []
    for fast in (anew, once):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16), Conversions(fast) as seen:
            found.append((fast(torch.from_numpy(views)).float().numpy(), seen.count))
    (expected, many), (features, few) = found
    assert many > 10 and few <= many / 3  # attention's own tensors are left to autocast
    if kind == "resnet":
        assert np.array_equal(features, expected)
    reference = plain(visual, views)
    assert error(features, reference) < 1.3 * error(expected, reference)


def test_streams_are_made_once_however_many_threads_there_are(monkeypatch):
    made, used, entered = [], [], []

    @contextmanager
    def within(stream):
        used.append(stream)
        yield

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: made.append(object()) or made[-1])
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext(entered.append(device)))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    turn = pytorch._turns(torch.device("cuda:1"))
    with turn(), turn():
        assert set(used) == set(made) and len(made) == 2
    for _ in range(5):
        with turn():
            pass
    assert len(made) == 2 and set(used) == set(made) and len(used) == 7
    assert len(set(used[2:])) == 1  # a single caller fills one pool of memory
    assert entered == [torch.device("cuda:1")] * 7  # whose context would else end on GPU 0


def test_mps_takes_one_call_at_a_time_of_all_engines():
    turns = [pytorch._turns(torch.device("mps")) for _ in range(2)]
    inside, most = 0, 0

    def call(turn):
        nonlocal inside, most
        for _ in range(20):
            with turn():
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=call, args=(turns[k % 2],)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
