"""What engines do on a GPU, as far as a CPU and stubs of torch's own answers can show."""

import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from towers import SIZE, error, pictures, plain, tower

import magiqa.cores as cores
from magiqa.engines import build as building
from magiqa.engines import hardware as hardware_
from magiqa.engines import pytorch
from magiqa.engines import resolve as resolving
from magiqa.engines.build import build
from magiqa.engines.engine import checked_error, tolerance
from magiqa.engines.hardware import half, hardware
from magiqa.engines.out_of_memory import batch_too_large, out_of_memory, starved
from magiqa.engines.resolve import Resolved, decoders, resolve
from magiqa.engines.towers import optimize
from magiqa.errors import UserError

CPU, CUDA, MPS = (Resolved("torch", "fp32", d) for d in ("cpu", "cuda", "mps"))


def test_a_gpu_that_is_counted_but_cannot_be_used_is_none_and_the_driver_is_named(monkeypatch):
    """A driver older than torch: its library counts devices, torch cannot start one."""
    monkeypatch.setattr(resolving, "_gpu_files", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve("torch", "fp32", "auto") == CPU
    with pytest.raises(
        UserError, match=r"^device=cuda: 1 CUDA devices are there, .* update the NVIDIA driver"
    ):
        resolve("torch", "fp32", "cuda")


def rounded_to_tf32(visual: torch.nn.Module) -> torch.nn.Module:
    """The tower with its products' weights rounded to ten bits of mantissa, as TF32 takes them."""
    for module in visual.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            bits = module.weight.data.view(torch.int32)
            module.weight.data = ((bits + 0x1000) & ~0x1FFF).view(torch.float32)
    return visual


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_no_devices_float32_tolerance_lets_tf32_through(kind):
    """Rounded weights alone, the inputs as they are: half of what TF32 loses."""
    visual, views = tower(kind), pictures(3)
    reference = plain(visual, views)
    features = plain(rounded_to_tf32(visual), views)
    for resolved in (CPU, CUDA, MPS):
        with pytest.raises(
            UserError, match=rf"device={resolved.device}: features differ from plain float32 torch"
        ):
            checked_error(features, reference, resolved)


@pytest.mark.parametrize(
    ("resolved", "remedy"),
    [
        (Resolved("torch", "bf16", "cuda"), "use precision=fp32"),
        (Resolved("compile", "fp32", "cuda:1"), "use engine=torch"),
        (CUDA, "use device=cpu, or another version of torch or of the GPU's driver"),
        (MPS, "use device=cpu, or another version of torch or of the GPU's driver"),
        (CPU, "check the weights for huge values, or use another version of torch"),
    ],
)
def test_what_differs_too_much_is_told_what_to_do_here(resolved, remedy):
    reference = np.ones((2, 8), np.float32)
    assert checked_error(reference * (1 + 0.9 * tolerance(resolved)), reference, resolved) > 0
    with pytest.raises(UserError) as refusal:
        checked_error(reference * (1 + 1.1 * tolerance(resolved)), reference, resolved)
    assert str(refusal.value).endswith(f"over the tolerance of {tolerance(resolved):.0e}; {remedy}")


def test_float32_asks_for_no_autocast_at_all(monkeypatch):
    """torch 2.4's ``autocast("mps")`` fails for float32, disabled or not."""

    def never(*args, **options):
        raise AssertionError("autocast was asked for")

    visual, views = tower("vit"), pictures(2)
    monkeypatch.setattr(torch, "autocast", never)
    assert error(build(visual, CPU, batch_size=2, view_size=SIZE)(views), plain(visual, views)) < 5e-6


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
    (expected, many), (features, none) = found
    assert many > 10 and none == 0
    if kind == "resnet":
        assert np.array_equal(features, expected)
    reference = plain(visual, views)
    assert error(features, reference) < 1.3 * error(expected, reference)


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.96 GB)"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError("Unable to allocate 10 GiB"),
    ],
)
def test_out_of_memory_is_told_from_other_errors_and_answered(monkeypatch, failure):
    assert out_of_memory(failure) and not out_of_memory(
        RuntimeError("Kernel size can't be greater than input")
    )
    assert not out_of_memory(ValueError("out of memory"))

    class Full(torch.nn.Module):
        def forward(self, x):
            if len(x) > 3:  # the reference, of three views, is not the engine's
                raise failure
            return x.mean((2, 3))

    with pytest.raises(
        UserError, match=r"^device=cpu: out of memory with batch_size=8; .* use batch_size=4, "
    ):
        build(Full(), CPU, batch_size=8, view_size=SIZE)


def test_a_library_that_cannot_start_on_a_full_gpu_is_out_of_memory(monkeypatch):
    """What cuDNN said with 200 MB left of an H200."""
    failed = RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (200 << 20, 140 << 30))
    assert starved(failed, "cuda:0") and not starved(RuntimeError("no kernel image"), "cuda:0")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 << 30, 140 << 30))
    assert not starved(failed, "cuda:0") and not starved(failed, "cpu")


def test_a_search_ends_at_the_first_error_that_is_not_memory(monkeypatch):
    def broken(size):
        raise RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")

    with pytest.raises(RuntimeError, match="cuDNN error"):
        building._fastest(broken, CPU)


def test_compile_searches_without_compiling_and_compiles_once(monkeypatch):
    compiled = []

    def compile_(tower, **options):
        def batch(views):
            compiled.append(len(views))
            return tower(views)

        return batch

    seconds = {10: 2.0, 5: 0.5, 20: 4.0}  # views a second: 5, 10, 5
    timed = []

    def timing(engine, budget):
        timed.append(engine.batch_size)
        return seconds[engine.batch_size]

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(building, "_seconds", timing)
    engine = build(tower("vit"), Resolved("compile", "fp32", "cpu"), batch_size="auto", view_size=SIZE)
    assert sorted(timed) == [5, 10, 20] and engine.batch_size == 5
    assert set(compiled) == {5}


def test_streams_are_made_once_however_many_threads_and_candidates_there_are(monkeypatch):
    made, used, entered = [], [], []

    @contextmanager
    def within(stream):
        used.append(stream)
        yield

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: made.append(object()) or made[-1])
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext(entered.append(device)))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    turn = pytorch._turns(torch.device("cuda:1"), 2, 1)
    with turn(), turn():
        assert set(used) == set(made) and len(made) == 2
    for _ in range(5):
        with turn():
            pass
    assert len(made) == 2 and set(used) == set(made) and len(used) == 7
    assert len(set(used[2:])) == 1  # a single caller fills one pool of memory
    assert entered == [torch.device("cuda:1")] * 7  # whose context would else end on GPU 0


def test_mps_takes_one_call_at_a_time_of_all_engines():
    turns = [pytorch._turns(torch.device("mps"), 1, 1) for _ in range(2)]
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


@pytest.mark.parametrize(("capability", "name", "told"), [((7, 5), "fp16", True), ((8, 0), "bf16", False)])
def test_a_gpu_before_ampere_is_told_to_use_fp16(monkeypatch, capability, name, told):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    assert half("cuda:0") == name and (half("cpu"), half("mps")) == ("bf16", "fp16")
    assert f"precision={name}, " in str(batch_too_large(CUDA, 8))
    engine = SimpleNamespace(resolved=Resolved("torch", "bf16", "cuda"))
    assert ("before Ampere" in (building.slow_bf16(engine, None) or "")) == told


def test_a_size_that_finds_no_algorithm_after_one_that_ran_ends_the_search(monkeypatch):
    def make(size):
        if size > 5:
            raise RuntimeError("GET was unable to find an engine to execute this computation")
        return SimpleNamespace(batch_size=size)

    monkeypatch.setattr(building, "CANDIDATES", {"cpu": (5, 10, 20)})
    monkeypatch.setattr(building, "_seconds", lambda engine, budget: 1.0)
    assert building._fastest(make, CPU).batch_size == 5


@pytest.mark.parametrize("wrong", [0, 7])
def test_every_place_of_a_batch_is_checked(monkeypatch, wrong):
    class Late(torch.nn.Module):
        def forward(self, x):
            out = x.flatten(2).mean(-1)
            if len(out) > 3:
                out[wrong] += 1
            return out

    with pytest.raises(UserError, match="features differ from plain float32 torch"):
        build(Late(), CPU, batch_size=8, view_size=SIZE)


def test_omp_num_threads_limits_decoding_beside_the_cpu_only(monkeypatch):
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda pid: set(range(12)), raising=False)
    monkeypatch.setattr(cores.Path, "is_file", lambda self: False)
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert (decoders("cpu"), decoders("cuda"), decoders("mps")) == (1, 4, 4)
    with monkeypatch.context() as task:  # of three on this machine
        task.setenv(cores.SHARE, "2")
        assert (decoders("cpu"), decoders("cuda")) == (1, 2)
    monkeypatch.setattr(cores.Path, "is_file", lambda self: True)
    monkeypatch.setattr(cores.Path, "read_text", lambda self: "300000 100000\n")
    assert (decoders("cpu"), decoders("cuda:1")) == (1, 3)


def test_the_record_names_gpu_driver_cuda_and_cudnn(monkeypatch, tmp_path):
    version = tmp_path / "version"
    version.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12.2.0\n"
    )
    properties = SimpleNamespace(name="NVIDIA L4", total_memory=24 * 2**30, major=8, minor=9)
    monkeypatch.setattr(hardware_, "DRIVER", version)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 90100)
    assert hardware("cuda:0") == {
        "gpu": "NVIDIA L4",
        "memory_gb": 24.0,
        "compute_capability": "8.9",
        "driver": "550.54.15",
        "cuda": "12.4",
        "cudnn": 90100,
    }
    version.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build  (dvs-builder)\n"
    )
    assert hardware("cuda")["driver"] == "570.86.10"
    monkeypatch.setattr(hardware_, "DRIVER", tmp_path / "none")
    assert hardware("cuda")["driver"] is None
    assert hardware("cpu") == {} and set(hardware("mps")) == {"gpu"}


def test_resolving_for_a_gpu_asks_torch_elsewhere_than_on_linux(monkeypatch):
    monkeypatch.setattr(resolving, "GPU_FILES", ())
    monkeypatch.setattr(sys, "platform", "darwin")
    assert resolving._gpu_files()
    monkeypatch.setattr(sys, "platform", "linux")
    assert not resolving._gpu_files()
