"""The engines ``torch`` and ``compile``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from queue import LifoQueue
from threading import Lock
from typing import Any

import numpy as np
import torch

from magiqa.cores import streams, threads
from magiqa.engines.device import OnDevice
from magiqa.engines.engine import Engine, Resolved
from magiqa.engines.host_settings import float32_means_float32
from magiqa.engines.towers import optimize

_mps = Lock()


def torch_maker(
    visual: torch.nn.Module, resolved: Resolved, view_size: tuple[int, int]
) -> Callable[[int], Engine]:
    """Prepare and move a tower once; return a function that makes an engine of a batch size."""
    device = torch.device(resolved.device)
    if device.type == "cuda":  # TF32 keeps 10 bits of the mantissa
        float32_means_float32()
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[resolved.precision]
    layout = memory_format(device.type, dtype)
    tower: Any = optimize(visual).to(device).to(memory_format=layout)
    if dtype is not None:
        convert(tower, dtype)
    turn = _turns(device)

    def forward(tower: Any, views: torch.Tensor) -> np.ndarray:
        with _autocast(device.type, dtype):
            return tower(views.contiguous(memory_format=layout)).float().cpu().numpy()

    def run(tower: Any, views: np.ndarray) -> np.ndarray:
        with turn(), torch.inference_mode():
            return forward(tower, torch.from_numpy(views).to(device))

    batch: Any = tower
    if resolved.engine == "compile":
        # Frozen weights are constants, laid out once for the convolutions that read them. Whole images stay with
        # the tower as it is: each of their sizes would cost a compilation of its own.
        batch = torch.compile(tower, dynamic=False, options={"freezing": True})

    def make(size: int) -> Engine:
        engine = Engine(resolved, lambda v: run(batch, v), lambda v: run(tower, v), size, view_size)
        many, one = partial(forward, batch), partial(forward, tower)
        engine.way = OnDevice(device, size, view_size[0], turn, many, one)
        return engine

    return make


def memory_format(device: str, dtype: torch.dtype | None) -> torch.memory_format:
    """Return channels last where convolutions are written for it: CPUs, CUDA's tensor cores in half precision.

    RN50 on an H200: 1.1 times faster in half precision, 1.2 times slower in float32. On MPS some operations give wrong
    numbers for it (github.com/pytorch/pytorch/issues/44943, 174345).
    """
    return torch.channels_last if device == "cpu" or (device == "cuda" and dtype) else torch.contiguous_format


def convert(tower: torch.nn.Module, dtype: torch.dtype) -> None:
    """Convert the weights of a tower's layers to half precision; autocast would do it in every forward."""
    for module in tower.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.to(dtype)


def _autocast(device: str, dtype: torch.dtype | None) -> Any:
    """Return a context for half precision; for float32 an empty one, which torch 2.4's autocast refuses on MPS."""
    return nullcontext() if dtype is None else torch.autocast(device, dtype=dtype)


def _turns(device: torch.device) -> Callable[[], Any]:
    """Return a context for each call: a CUDA stream, MPS's lock, or a CPU stream's cores.

    CUDA streams are made once, whatever threads come and go. Each has a pool of memory of its own, and the last one
    used is taken first, so that a single caller fills one. MPS takes one call at a time, of all engines: its command
    buffers are not safe for several threads.
    """
    callers = streams(str(device))
    cores = threads() // callers
    free: LifoQueue[Any] = LifoQueue()
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # the tower is complete before other streams read it
        for _ in range(callers):
            free.put(torch.cuda.Stream(device))

    @contextmanager
    def turn() -> Iterator[None]:
        if device.type == "cpu" and torch.get_num_threads() != cores:  # of this thread
            torch.set_num_threads(cores)
        if device.type != "cuda":
            with _mps if device.type == "mps" else nullcontext():
                yield
            return
        stream = free.get()
        try:
            # the device too: a stream's context alone would end by selecting GPU 0, and open a context there
            with torch.cuda.device(device), torch.cuda.stream(stream):
                yield
        finally:
            free.put(stream)

    return turn
