"""Engines: the features of plain float32 torch, whatever else is in the batch, or an error that says what to do."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import torch
from towers import SIZE, error, pictures, plain, tower

from magiqa.backbones.positions import take_any_size
from magiqa.cores import threads
from magiqa.engines import openvino, pytorch
from magiqa.engines.build import ENGINES, build
from magiqa.engines.engine import Resolved, checked_error, out_of_memory
from magiqa.engines.pytorch import optimize
from magiqa.errors import UserError

CPU = Resolved("torch", "fp32", "cpu")
ALL = [
    "torch",
    pytest.param("openvino", marks=pytest.mark.slow),
    pytest.param("compile", marks=pytest.mark.long),
]
KINDS = ["resnet", "vit"]


def built(visual, resolved=CPU, batch_size=2):
    if resolved.engine == "openvino":
        pytest.importorskip("openvino")
    return build(visual, resolved, batch_size=batch_size, view_size=SIZE)


@cache  # a conversion or compilation takes seconds
def engines(name: str, kind: str):
    visual = tower(kind)
    return visual, built(visual, Resolved(name, "fp32", "cpu"), batch_size=4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ALL)
def test_features_are_those_of_plain_torch_for_views_and_for_images_of_any_size(name, kind):
    visual, engine = engines(name, kind)
    for views in (pictures(11, seed=1), *(pictures(2, size) for size in ((96, 160), (64, 96), (224, 32)))):
        features = engine(views)
        assert features.shape == (len(views), 48) and features.dtype == np.float32
        assert error(features, plain(visual, views)) < 5e-6
    assert 0 < engine.max_error <= engine.resolved.tolerance == 5e-6
    assert engine.warnings == []


def along_the_rows(table: np.ndarray, rows: int) -> np.ndarray:
    """A table resized along its rows: the cubic convolution of Keys with a = -0.75, half-pixel centres."""
    place = (np.arange(rows) + 0.5) * len(table) / rows - 0.5
    out = np.zeros((rows, table.shape[1]))
    for step in range(-1, 3):
        row = np.floor(place).astype(int) + step
        x = np.abs(place - row)
        outer = -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
        weight = np.where(x <= 1, 1.25 * x**3 - 2.25 * x**2 + 1, np.where(x < 2, outer, 0))
        out += weight[:, None] * table[np.clip(row, 0, len(table) - 1)]
    return out.astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_a_positional_embedding_along_the_tokens_takes_images_of_any_size(name, kind):
    visual, own = tower(kind), tower(kind)
    owner, own_owner = (v.attnpool if kind == "resnet" else v for v in (visual, own))
    tokens = 5 if kind == "resnet" else 17
    table = pictures(1, (32, 1024))[0, 0, :tokens, : owner.positional_embedding.shape[1]]
    owner.positional_embedding = torch.nn.Parameter(torch.from_numpy(table), requires_grad=False)
    take_any_size(visual)
    engine = built(visual, Resolved(name, "fp32", "cpu"))
    for size, rows in (
        ((64, 64), tokens),
        ((96, 160), {5: 16, 17: 61}[tokens]),
        ((224, 32), {5: 8, 17: 29}[tokens]),
    ):
        own_owner.positional_embedding = torch.nn.Parameter(torch.from_numpy(along_the_rows(table, rows)))
        assert error(engine(pictures(2, size)), plain(own, pictures(2, size))) < 5e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ALL)
def test_a_view_has_the_same_bits_whatever_its_batch_and_stream(name, kind):
    _, engine = engines(name, kind)
    views = pictures(7, seed=2)
    together = engine(views)
    shared = kind == "vit" and threads() // engine.streams > 1  # cores that share a product round by place
    for other in (np.concatenate([engine(v[None]) for v in views]), engine(views[::-1])[::-1]):
        assert error(other, together) < 1e-6 if shared else np.array_equal(other, together)
    batches = [pictures(4, seed=s) for s in range(12)]
    batches += [pictures(1, (96, 128 + 32 * (s % 3))) for s in range(6)]
    with ThreadPoolExecutor(engine.streams + 1) as pool:
        at_once = list(pool.map(engine, batches))
    assert all(np.array_equal(engine(batch), got) for batch, got in zip(batches, at_once, strict=True))


@pytest.mark.parametrize("name", ["torch", pytest.param("openvino", marks=pytest.mark.slow)])
def test_a_wrong_engine_is_refused_with_its_error_and_a_remedy(monkeypatch, name):
    def slightly_wrong(visual):
        wrong = optimize(visual)
        wrong.conv1.weight.mul_(1.001)
        return wrong

    for module in (pytorch, openvino):
        monkeypatch.setattr(module, "optimize", slightly_wrong)
    with pytest.raises(
        UserError, match=rf"engine={name} precision=fp32 device=cpu: .* by \d\.\de-0\d, over .*; "
    ):
        built(tower("resnet"), Resolved(name, "fp32", "cpu"))


@pytest.mark.parametrize(("place", "wrong"), [(0, 1), (7, 1), (0, np.nan)])
def test_every_place_of_a_batch_is_checked(place, wrong):
    class Late(torch.nn.Module):
        def forward(self, x):
            out = x.flatten(2).mean(-1)
            out[place : place + (len(out) > 3)] += wrong  # the reference has three views
            return out

    with pytest.raises(UserError, match="features differ from plain float32 torch"):
        built(Late(), batch_size=8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["torch", "openvino"])
@pytest.mark.slow
def test_bf16_stays_within_its_tolerance_or_is_refused_where_the_cpu_lacks_it(name, kind):
    visual, views = tower(kind), pictures(5, seed=3)
    try:
        engine = built(visual, Resolved(name, "bf16", "cpu"), batch_size=4)
    except UserError as refusal:
        assert name == "openvino" and "precision=bf16: this CPU lacks it" in str(refusal)
        return
    # a small random tower amplifies more than a trained one
    assert 1e-4 < error(engine(views), plain(visual, views)) < 0.1 and engine.resolved.tolerance == 5e-2
    assert np.array_equal(engine(views), np.concatenate([engine(v[None]) for v in views]))


class Full(torch.nn.Module):
    """A tower for which memory holds so many views."""

    def __init__(self, most, failure):
        super().__init__()
        self.most, self.failure = most, failure

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        if len(x) > self.most:
            raise self.failure
        return x.mean((2, 3))


FAILURES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.96 GB)"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError("Unable to allocate 10 GiB"),
]


@pytest.mark.parametrize("failure", FAILURES)
def test_out_of_memory_halves_the_automatic_batch_size_and_says_so(failure):
    size = ENGINES["torch"].batch_sizes["cpu"]
    engine = built(Full(3, failure), batch_size="auto")
    assert engine.batch_size <= 3 and size % engine.batch_size == 0 and engine.max_error < 5e-6
    assert [f"batch_size={size}" in w and str(engine.batch_size) in w for w in engine.warnings] == [True]


def test_out_of_memory_with_a_typed_batch_size_names_half_of_it():
    with pytest.raises(
        UserError, match=r"^device=cpu: out of memory with batch_size=8; .* use batch_size=4, "
    ):
        built(Full(3, MemoryError("no memory")), batch_size=8)
    assert not out_of_memory(RuntimeError("Kernel size can't be greater than input"))
    assert not out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize(
    ("resolved", "remedy"),
    [
        (Resolved("torch", "bf16", "cuda"), "use precision=fp32"),
        (Resolved("compile", "fp32", "cuda:1"), "use engine=torch"),
        (
            Resolved("torch", "fp32", "cuda"),
            "use device=cpu, unset NVIDIA_TF32_OVERRIDE, or use another version of torch or of the GPU's driver",
        ),
        (CPU, "check the weights for huge values, or use another version of torch"),
    ],
)
def test_features_past_the_tolerance_get_the_remedy_of_their_engine(resolved, remedy):
    reference = np.ones((2, 8), np.float32)
    assert checked_error(reference * (1 + 0.9 * resolved.tolerance), reference, resolved) > 0
    with pytest.raises(UserError, match=f"; {remedy}$"):
        checked_error(reference * (1 + 1.1 * resolved.tolerance), reference, resolved)
