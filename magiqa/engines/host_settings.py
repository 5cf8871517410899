"""The host program's settings that engines must change for a whole process; the last call to end puts them back."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from magiqa.errors import UserError

T = TypeVar("T")

_lock = threading.Lock()
_blocks = 0
_before: list[tuple[Any, str, Any]] = []
_process: int | None = None


def refuse_forks() -> None:
    """Make this process the one that computes; refuse to compute in a child that was forked from it.

    A fork copies no threads: a library that waits for its threads in the child would wait for ever.

    Raises:
        UserError: an engine was made in the parent process.
    """
    global _process
    _process = _process or os.getpid()
    if _process != os.getpid():
        raise UserError(
            "this process was forked from one that has used a model, whose threads do not survive a fork; start it "
            "with the spawn start method: multiprocessing.get_context('spawn'), or DataLoader(..., "
            "multiprocessing_context='spawn')"
        )


@contextmanager
def borrowed() -> Iterator[None]:
    """Compute float32 as float32 (no TF32, no bf16) inside the block; restore torch's threads and switches at its end.

    These settings belong to the whole process. Blocks of several threads may overlap: the first to begin keeps the
    settings, the last to end puts them back.
    """
    global _blocks, _before
    with _lock:
        if _blocks == 0:
            _before = _switches()
            float32_means_float32()
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0:
                _set(_before)


def float32_means_float32() -> None:
    """Switch TF32 and bf16 off for float32, and make float32 torch's default, for the whole process."""
    import torch

    off = {"float32_matmul_precision": "highest", "allow_tf32": False, "fp32_precision": "ieee"}
    off |= {"default_dtype": torch.float32}
    _set([(owner, name, off.get(name, value)) for owner, name, value in _switches()])


def apart(work: Callable[[], T]) -> T:
    """Do work in a thread of its own, which the host's autocast and default device do not reach; return its result."""
    with ThreadPoolExecutor(1, thread_name_prefix="build") as pool:
        return pool.submit(work).result()


def _switches() -> list[tuple[Any, str, Any]]:
    """Return torch's switches that may compute float32 in fewer bits, as set: readable older ones, then the newer.

    In this order they can be put back: an older one also sets the newer, and mixing refuses to be read. The number of
    threads and the default type are the first.
    """
    import torch

    cuda, cudnn, cpu = torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends.mkldnn
    out: list[tuple[Any, str, Any]] = [(torch, "default_dtype", torch.get_default_dtype())]
    out.append((torch, "num_threads", torch.get_num_threads()))
    for owner in (cuda, cudnn):
        with suppress(RuntimeError):  # refused where the host has used the newer ones
            out.append((owner, "allow_tf32", owner.allow_tf32))
    with suppress(RuntimeError):
        out.append((torch, "float32_matmul_precision", torch.get_float32_matmul_precision()))
    parts: list[Any] = [
        cuda,
        *(getattr(o, name, None) for o in (cudnn, cpu) for name in ("matmul", "conv", "rnn")),
    ]
    return out + [(p, "fp32_precision", p.fp32_precision) for p in parts if hasattr(p, "fp32_precision")]


def _set(switches: list[tuple[Any, str, Any]]) -> None:
    for owner, name, value in switches:
        if name in ("float32_matmul_precision", "default_dtype", "num_threads"):  # set by functions
            getattr(owner, f"set_{name}")(value)
        else:
            setattr(owner, name, value)
