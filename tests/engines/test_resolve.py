"""The meaning of ``auto``, the combinations that exist, the machine's own limits, and the host's settings."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from magiqa import cores
from magiqa.engines import build as resolving
from magiqa.engines import engine
from magiqa.engines.build import resolve
from magiqa.engines.engine import Resolved, apart, borrowed
from magiqa.errors import UserError


@pytest.fixture
def machine(monkeypatch):
    """Sets what the machine has: GPUs that are counted and usable, Apple's GPU, OpenVINO."""

    def set_up(counted=0, usable=True, mps=False, openvino=True):
        monkeypatch.setattr(resolving, "_gpu_files", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: counted)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: usable and counted > 0)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(engine, "find_spec", lambda name: object() if openvino else None)

    return set_up


@pytest.mark.parametrize(
    ("typed", "has", "resolved"),
    [
        (("auto", "fp32", "cpu"), {}, ("openvino", "fp32", "cpu")),
        (("auto", "bf16", "cpu"), {"openvino": False}, ("torch", "bf16", "cpu")),
        (("auto", "fp16", "auto"), {"counted": 2}, ("torch", "fp16", "cuda")),
        (("compile", "fp32", "cuda:1"), {"counted": 2}, ("compile", "fp32", "cuda:1")),
        (("auto", "fp32", "auto"), {"mps": True}, ("torch", "fp32", "mps")),
        (("torch", "fp32", "auto"), {"counted": 1, "usable": False}, ("torch", "fp32", "cpu")),
    ],
)
def test_auto_resolves_to_what_is_there(machine, typed, has, resolved):
    machine(**has)
    assert resolve(*typed) == Resolved(*resolved)
    # a device of another machine resolves where its features are only read
    assert resolve("torch", "fp16", "cuda:3", absent=True) == Resolved("torch", "fp16", "cuda:3")


@pytest.mark.parametrize(
    ("typed", "has", "words"),
    [
        (("fast", "fp32", "cpu"), {}, ("engine=fast", "auto, openvino, torch, compile")),
        (("auto", "int8", "cpu"), {}, ("precision=int8", "fp32, bf16, fp16")),
        (("auto", "fp32", "cuda:x"), {}, ("device=cuda:x", "cuda:N")),
        (("auto", "fp32", "cuda:1"), {"counted": 1}, ("device=cuda:1", "1 of 1 CUDA", "another device")),
        (("torch", "fp32", "cuda"), {"counted": 1, "usable": False}, ("0 of 1 CUDA", "update the NVIDIA")),
        (("auto", "fp32", "mps"), {}, ("device=mps", "use device=cpu")),
        (("auto", "fp16", "cpu"), {}, ("precision=fp16", "fp32, bf16")),
        (("openvino", "fp32", "cuda"), {"counted": 1}, ("engine=openvino", "device=cpu", "use engine=torch")),
        (
            ("openvino", "fp32", "cpu"),
            {"openvino": False},
            ("engine=openvino", "pip install 'magiqa[openvino]'"),
        ),
    ],
)
def test_a_combination_that_cannot_be_names_its_key_and_the_way_out(machine, typed, has, words):
    machine(**has)
    with pytest.raises(UserError, match=".*".join(map(re.escape, words))):
        resolve(*typed)


def test_resolving_for_the_cpu_needs_no_torch():
    """Nor does ``auto`` where the system shows no file of a GPU."""
    code = (
        "import sys, magiqa.engines.build as e; e.GPU_FILES = (); sys.platform = 'linux'; "
        "print(e.resolve('auto', 'fp32', 'cpu') == e.resolve('auto', 'fp32', 'auto'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.fixture
def limits(monkeypatch):
    """A machine of 64 cores whose environment and container set no limit."""
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", cores.SHARE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    return monkeypatch


@pytest.mark.parametrize(
    ("quota", "count"), [("150000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", 64)]
)
def test_threads_respect_a_containers_quota(limits, quota, count):
    limits.setattr(Path, "is_file", lambda self: True)
    limits.setattr(Path, "read_text", lambda self: quota)
    assert cores.threads.__wrapped__() == count


def test_threads_respect_affinity_torch_and_the_environment(limits):
    assert cores.threads.__wrapped__() == 64
    limits.setattr(os, "sched_getaffinity", lambda pid: set(range(12)))
    assert (cores.threads.__wrapped__(), cores.decoders("cpu"), cores.decoders("cuda")) == (12, 12, 4)
    limits.setattr(torch, "get_num_threads", lambda: 3)
    assert cores.threads.__wrapped__() == 3
    limits.setenv("OMP_NUM_THREADS", "1")  # of torch's threads: the GPU leaves the cores free
    assert (cores.threads.__wrapped__(), cores.decoders("cpu"), cores.decoders("mps")) == (1, 1, 4)
    limits.setenv(cores.SHARE, "2")  # of three tasks on this machine
    assert (cores.decoders("cpu"), cores.decoders("cuda")) == (1, 2)


# --- the host's settings come back ---

MATMUL = torch.backends.cuda.matmul
CUDNN = torch.backends.cudnn


def settings() -> list[object]:
    owners = (MATMUL, getattr(CUDNN, "conv", None), getattr(CUDNN, "rnn", None))
    switches = [getattr(owner, "fp32_precision", None) for owner in owners]
    return [torch.get_num_threads(), MATMUL.allow_tf32, CUDNN.allow_tf32, *switches]


@pytest.fixture(autouse=True)
def _as_it_was():
    threads = torch.get_num_threads()
    yield
    MATMUL.allow_tf32, CUDNN.allow_tf32 = False, True
    torch.set_num_threads(threads)


@pytest.mark.parametrize("precision", ["medium", "high", "highest"])
@pytest.mark.parametrize("older", [(False, True), (True, True), (True, False)])
def test_the_switches_come_back_and_products_are_float32_inside(older, precision):
    torch.set_float32_matmul_precision(precision)
    if precision == "highest":
        MATMUL.allow_tf32, CUDNN.allow_tf32 = older
    before = settings()
    with borrowed():
        assert torch.get_float32_matmul_precision() == "highest"
        assert not MATMUL.allow_tf32 and not CUDNN.allow_tf32
        torch.set_num_threads(1)
    assert settings() == before


def test_the_hosts_default_type_and_its_threads_settings_reach_no_work_of_ours():
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"), borrowed():

            def work():
                made = torch.ones(2, 2)
                return made.device.type, made.dtype, (made @ made).dtype

            assert apart(work) == ("cpu", torch.float32, torch.float32)
            with pytest.raises(ZeroDivisionError):
                apart(lambda: 1 // 0)
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
