"""The engines ``torch`` and ``compile``."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from magiqa.engines.engine import Engine
from magiqa.engines.resolve import Resolved, streams, threads
from magiqa.engines.towers import optimize

if TYPE_CHECKING:
    import torch


def torch_maker(
    visual: "torch.nn.Module", resolved: Resolved, view_size: tuple[int, int]
) -> Callable[[int], Engine]:
    """An engine of torch for each batch size; the tower is prepared and moved once."""
    import torch

    device = torch.device(resolved.device)
    cores = threads() // streams(resolved.device)
    if device.type == "cuda":  # TF32 keeps 10 bits of the mantissa: float32 must mean float32
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    tower: Any = optimize(visual).to(device).to(memory_format=torch.channels_last)
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[resolved.precision]
    if dtype is not None:  # autocast would convert these anew in every forward
        for module in tower.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.to(dtype)
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # the tower is complete before other streams read it

    own = threading.local()

    def stream() -> Any:
        """Of this thread, so that one copies while another computes."""
        if device.type != "cuda":
            return nullcontext()
        if not hasattr(own, "stream"):
            own.stream = torch.cuda.Stream(device)
        return torch.cuda.stream(own.stream)

    def run(tower: Any, views: np.ndarray) -> np.ndarray:
        if device.type == "cpu" and torch.get_num_threads() != cores:  # of this thread
            torch.set_num_threads(cores)
        autocast = torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
        with torch.inference_mode(), autocast, stream():
            batch = torch.from_numpy(views).to(device).contiguous(memory_format=torch.channels_last)
            return tower(batch).float().cpu().numpy()

    batch: Any = tower
    if resolved.engine == "compile":
        # Frozen weights are constants, laid out once for the convolutions that read them. Whole images stay with
        # the tower as it is: each of their sizes would cost a compilation of its own.
        batch = torch.compile(tower, dynamic=False, options={"freezing": True})

    def make(size: int) -> Engine:
        callers = streams(resolved.device)
        return Engine(resolved, lambda v: run(batch, v), lambda v: run(tower, v), size, view_size, callers)

    return make
