"""Engines: the features of plain float32 torch, whatever else is in the batch, or an error that says what to do."""

import importlib.util
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from towers import SIZE, error, pictures, plain, tower

from magiqa.engines import build as building
from magiqa.engines import openvino, pytorch
from magiqa.engines import resolve as resolving
from magiqa.engines.build import CANDIDATES, _fastest, build
from magiqa.engines.engine import probe_views
from magiqa.engines.resolve import Resolved, resolve, streams, threads
from magiqa.engines.towers import optimize
from magiqa.errors import UserError

OPENVINO = pytest.param(
    "openvino",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("openvino") is None, reason="the extra [openvino] is not installed"
    ),
)
ENGINES = ["torch", OPENVINO, pytest.param("compile", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def engines():
    """Each engine once: a compilation takes seconds."""
    made = {}

    def get(name: str, kind: str):
        if (name, kind) not in made:
            visual = tower(kind)
            made[name, kind] = (
                visual,
                build(visual, Resolved(name, "fp32", "cpu"), batch_size=4, view_size=SIZE),
            )
        return made[name, kind]

    return get


@pytest.mark.parametrize("kind", ["resnet", "vit"])
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.slow
def test_features_are_those_of_plain_torch(engines, name, kind):
    visual, engine = engines(name, kind)
    views = pictures(11, seed=1)
    features = engine(views)
    assert features.shape == (11, 48) and features.dtype == np.float32
    assert error(features, plain(visual, views)) < 5e-6
    assert 0 < engine.max_error <= engine.tolerance == 5e-6
    assert engine.warning is None


@pytest.mark.parametrize("kind", ["resnet", "vit"])
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.slow
def test_a_view_alone_is_the_view_among_others_to_the_bit(engines, name, kind):
    _, engine = engines(name, kind)
    views = pictures(7, seed=2)
    together = engine(views)
    others = np.concatenate([engine(v[None]) for v in views]), engine(views[::-1])[::-1]
    if (
        kind == "vit" and threads() // engine.streams > 1
    ):  # cores that share a matrix product round by its place
        assert all(error(other, together) < 1e-6 for other in others)
    else:
        assert all(np.array_equal(together, other) for other in others)


@pytest.mark.parametrize("kind", ["resnet", "vit"])
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.slow
def test_all_streams_at_once_give_the_same_bits(engines, name, kind):
    _, engine = engines(name, kind)
    assert engine.streams == streams("cpu")
    batches = [pictures(4, seed=s) for s in range(12)]
    images = [pictures(1, (96, 128 + 32 * (s % 3)), seed=s) for s in range(6)]
    one_by_one = [engine(b) for b in batches + images]
    with ThreadPoolExecutor(engine.streams + 1) as pool:
        at_once = list(pool.map(engine, batches + images))
    assert all(np.array_equal(a, b) for a, b in zip(one_by_one, at_once, strict=True))


@pytest.mark.parametrize("kind", ["resnet", "vit"])
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.slow
def test_whole_images_of_any_size(engines, name, kind):
    visual, engine = engines(name, kind)
    for h, w in [(96, 160), (160, 96), (64, 96), (224, 32)]:
        images = pictures(2, (h, w), seed=h)
        features = engine(images)
        assert error(features, plain(visual, images)) < 5e-6
        assert np.array_equal(features[1:], engine(images[1:]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_the_native_positional_embedding_counts(kind):
    visual = tower(kind)
    owner = visual.attnpool if kind == "resnet" else visual
    tokens, width = (5, owner.positional_embedding.shape[1]) if kind == "resnet" else (17, 64)
    without = plain(visual, probe_views(2, SIZE))
    owner.positional_embedding = torch.nn.Parameter(torch.randn(tokens, width))
    views = probe_views(2, SIZE)
    with torch.no_grad():
        features = optimize(visual)(torch.from_numpy(views)).numpy()
    assert error(features, plain(visual, views)) < 5e-6
    assert error(features, without) > 1e-3


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_optimizing_removes_work_and_leaves_the_callers_tower_alone(kind):
    visual = tower(kind)
    before = {k: v.clone() for k, v in visual.state_dict().items()}
    modules = [type(m).__name__ for m in visual.modules()]
    fast = optimize(visual)
    assert [type(m).__name__ for m in visual.modules()] == modules
    assert all(torch.equal(v, before[k]) for k, v in visual.state_dict().items())
    assert all(p.requires_grad for p in visual.parameters())
    names = [type(m).__name__ for m in fast.modules()]
    assert "BatchNorm2d" not in names
    assert ("FirstQueryPool" if kind == "resnet" else "ClassTokenBlock") in names


def test_variants_of_a_tower_that_cannot_be_cut_short_are_left_as_they_are():
    visual = tower("vit")
    visual.pool_type = "avg"
    views = probe_views(2, SIZE)
    with torch.no_grad():
        fast = optimize(visual)(torch.from_numpy(views)).numpy()
    assert error(fast, plain(visual, views)) < 5e-6

    class Odd(torch.nn.Module):
        """Names like a ResNet's, but the norm comes from elsewhere: fused or not, it must compute the same."""

        def __init__(self):
            super().__init__()
            self.conv1, self.bn2 = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)

        def forward(self, x):
            return self.bn2(self.conv1(x)).mean((2, 3))

    odd = Odd().eval()
    engine = build(odd, Resolved("torch", "fp32", "cpu"), batch_size=2, view_size=SIZE)
    assert error(engine(views), plain(odd, views)) < 5e-6


def test_a_tower_that_returns_its_tokens_too_gives_its_feature_and_stays_as_it_is():
    visual = tower("vit")
    views = pictures(3)
    reference = plain(visual, views)
    visual.output_tokens = True
    engine = build(visual, Resolved("torch", "fp32", "cpu"), batch_size=2, view_size=SIZE)
    assert error(engine(views), reference) < 5e-6
    assert visual.output_tokens is True


@pytest.mark.parametrize("name", ["torch", OPENVINO])
@pytest.mark.slow
def test_a_wrong_engine_is_refused_with_its_error_and_a_remedy(monkeypatch, name):
    def slightly_wrong(visual):
        wrong = optimize(visual)
        wrong.conv1.weight.mul_(1.001)
        return wrong

    for module in (pytorch, openvino):
        monkeypatch.setattr(module, "optimize", slightly_wrong)
    with pytest.raises(
        UserError, match=rf"engine={name} precision=fp32 device=cpu: features differ .* by \d\.\de-0\d, over "
    ):
        build(tower("resnet"), Resolved(name, "fp32", "cpu"), batch_size=2, view_size=SIZE)


def test_nan_features_are_refused():
    visual = tower("vit")
    visual.proj.data[0, 0] = float("nan")
    with pytest.raises(UserError, match="by nan, over the tolerance"):
        build(visual, Resolved("torch", "fp32", "cpu"), batch_size=2, view_size=SIZE)


@pytest.mark.parametrize("kind", ["resnet", "vit"])
@pytest.mark.parametrize("name", ["torch", OPENVINO])
@pytest.mark.slow
def test_bf16_stays_within_its_tolerance_or_is_refused_where_the_cpu_lacks_it(name, kind):
    visual = tower(kind)
    try:
        engine = build(visual, Resolved(name, "bf16", "cpu"), batch_size=4, view_size=SIZE)
    except UserError as refusal:
        assert name != "torch"
        assert re.search(
            r"^engine=openvino precision=bf16: this CPU lacks it, .* in f32; use precision=fp32, or engine=torch, "
            r"which emulates it slowly$",
            str(refusal),
        )
        return
    views = pictures(5, seed=3)
    difference = error(engine(views), plain(visual, views))
    assert engine.tolerance == 5e-2
    assert 1e-4 < difference < 2 * engine.tolerance  # a small random tower amplifies more than a trained one
    alone = np.concatenate([engine(v[None]) for v in views])
    assert np.array_equal(engine(views), alone)


def test_a_batch_size_that_needs_too_much_memory_ends_the_search(monkeypatch):
    class Fitting:
        streams = 1

        def __init__(self, size):
            if size > 10:
                raise torch.OutOfMemoryError("CUDA out of memory")
            self.batch_size = size

    monkeypatch.setattr(building, "_seconds", lambda engine, budget: 1.0)
    monkeypatch.setitem(CANDIDATES, "cpu", (5, 10, 20, 40))
    assert _fastest(Fitting, Resolved("torch", "fp32", "cpu")).batch_size == 10
    monkeypatch.setitem(CANDIDATES, "cpu", (20, 5))
    assert _fastest(Fitting, Resolved("torch", "fp32", "cpu")).batch_size == 5
    monkeypatch.setitem(CANDIDATES, "cpu", (20, 40))
    with pytest.raises(
        UserError,
        match=r"^device=cpu: out of memory with batch_size=20; .* use batch_size=10, a smaller views.window$",
    ):
        _fastest(Fitting, Resolved("torch", "fp32", "cpu"))


def test_streams_have_a_core_each_or_share_most_of_them_evenly(monkeypatch):
    found = {}
    for cores in (1, 2, 7, 8, 9, 11, 12, 15, 16, 17, 64):
        monkeypatch.setattr(resolving, "threads", lambda cores=cores: cores)
        found[cores] = streams("cpu")
    assert found == {1: 1, 2: 2, 7: 7, 8: 8, 9: 8, 11: 5, 12: 6, 15: 5, 16: 8, 17: 8, 64: 8}


def test_building_an_engine_leaves_the_callers_threads(monkeypatch):
    before = torch.get_num_threads()
    build(tower("resnet"), Resolved("torch", "fp32", "cpu"), batch_size=2, view_size=SIZE)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("name", ["torch", OPENVINO])
@pytest.mark.slow
def test_auto_batch_size_takes_the_fastest_candidate(monkeypatch, name):
    seconds = {10: 2.0, 5: 0.5, 20: 4.0}  # views a second: 5, 10, 5
    monkeypatch.setattr(building, "_seconds", lambda engine, budget: seconds[engine.batch_size])
    visual = tower("vit")
    engine = build(visual, Resolved(name, "fp32", "cpu"), batch_size="auto", view_size=SIZE)
    assert engine.batch_size == 5
    views = probe_views(6, SIZE)
    assert error(engine(views), plain(visual, views)) < 5e-6


def test_auto_batch_size_is_measured(monkeypatch):
    timed = []
    seconds = building._seconds

    def measured(engine, budget):
        timed.append((engine.batch_size, seconds(engine, 0.0)))
        return timed[-1][1]

    monkeypatch.setattr(building, "_seconds", measured)
    engine = build(tower("vit"), Resolved("torch", "fp32", "cpu"), batch_size="auto", view_size=SIZE)
    assert tuple(size for size, _ in timed) == CANDIDATES["cpu"]
    assert engine.batch_size == max(timed, key=lambda t: t[0] / t[1])[0]


@pytest.mark.parametrize("size", [0, -1, 2.5, "many"])
def test_a_batch_size_that_is_none(size):
    with pytest.raises(UserError, match=r"batch_size=.*: use auto or a whole number of views, 1 or more"):
        build(tower("vit"), Resolved("torch", "fp32", "cpu"), batch_size=size, view_size=SIZE)


def test_threads_respect_every_limit(monkeypatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert threads.__wrapped__() == 1
        torch.set_num_threads(64)
        if hasattr(os, "sched_getaffinity"):
            monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
            assert threads.__wrapped__() <= 3
            monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
        for quota, cores in {"150000 100000\n": 2, "50000 100000\n": 1, "max 100000\n": 64}.items():
            monkeypatch.setattr(Path, "is_file", lambda self: True)
            monkeypatch.setattr(Path, "read_text", lambda self, quota=quota: quota)
            assert threads.__wrapped__() == cores
    finally:
        torch.set_num_threads(before)


def test_auto_resolves_to_what_is_there(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert resolve("auto", "fp32", "cpu") == Resolved("openvino", "fp32", "cpu")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert resolve("auto", "bf16", "cpu") == Resolved("torch", "bf16", "cpu")
    monkeypatch.setattr(resolving, "_gpu_files", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve("auto", "fp16", "auto") == Resolved("torch", "fp16", "cuda")
    assert resolve("compile", "fp32", "cuda:1") == Resolved("compile", "fp32", "cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve("auto", "fp32", "auto") == Resolved("torch", "fp32", "mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve("auto", "fp32", "auto").device == "cpu"


@pytest.mark.parametrize(
    "arguments, installed, message",
    [
        (("fast", "fp32", "cpu"), True, "engine=fast is not known: use auto, torch, compile, openvino"),
        (("auto", "int8", "cpu"), True, "precision=int8 is not known: use fp32, bf16, fp16"),
        (("auto", "fp32", "tpu"), True, "device=tpu is not known: use auto, cpu, cuda, cuda:N or mps"),
        (("auto", "fp32", "cuda:x"), True, "device=cuda:x is not known: use auto, cpu, cuda, cuda:N or mps"),
        (("auto", "fp32", "cuda:1"), True, "device=cuda:1: torch sees 1 CUDA devices; use another device"),
        (("auto", "fp32", "mps"), True, "device=mps: torch sees no Apple GPU; use device=cpu"),
        (
            ("auto", "fp16", "cpu"),
            True,
            "precision=fp16 needs device=cuda or mps; on the CPU use fp32 or bf16",
        ),
        (("openvino", "fp16", "cpu"), True, "precision=fp16 needs device=cuda or mps"),
        (("openvino", "fp32", "cuda"), True, "engine=openvino runs on the CPU only, not on device=cuda"),
        (
            ("openvino", "fp32", "cpu"),
            False,
            "engine=openvino is not installed: pip install 'magiqa[openvino]'",
        ),
    ],
)
def test_what_cannot_be_is_an_error_that_names_the_key(monkeypatch, arguments, installed, message):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="^" + re.escape(message)):
        resolve(*arguments)


def test_a_tower_that_openvino_cannot_take_is_an_error_with_a_remedy():
    pytest.importorskip("openvino")

    class Unfit(torch.nn.Module):
        def forward(self, x):
            if torch.jit.is_tracing():
                raise RuntimeError("no graph of me")
            return x.mean((2, 3))

    with pytest.raises(UserError, match=r"engine=openvino cannot run this backbone \(.*\); use engine=torch"):
        build(Unfit(), Resolved("openvino", "fp32", "cpu"), batch_size=2, view_size=SIZE)


def test_a_machine_that_cannot_compile_is_an_error_with_a_remedy(monkeypatch):
    def compile_(tower, **options):
        def fail(views):
            raise RuntimeError("no C++ compiler found\nand more lines")

        return fail

    monkeypatch.setattr(torch, "compile", compile_)
    message = r"engine=compile cannot run this backbone \(no C\+\+ compiler found\); use engine=torch"
    with pytest.raises(UserError, match=message):
        build(tower("vit"), Resolved("compile", "fp32", "cpu"), batch_size=2, view_size=SIZE)


def test_resolving_for_the_cpu_needs_no_torch():
    """Nor for ``auto`` where the system shows no file of a GPU."""
    code = (
        "import sys, magiqa.engines.resolve as e; e.GPU_FILES = (); sys.platform = 'linux'; "
        "print(e.resolve('auto', 'fp32', 'cpu') == e.resolve('auto', 'fp32', 'auto'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
