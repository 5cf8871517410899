"""The engine ``openvino``."""

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch

from magiqa.cores import streams, threads
from magiqa.engines.engine import Engine, Forward, Resolved, checked_error, plain_forward
from magiqa.engines.pytorch import optimize
from magiqa.errors import UserError

TELEMETRY = "openvino_telemetry"

_silencing = threading.Lock()


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """Keep OpenVINO from reporting its import and conversions over the network and from writing into HOME.

    OpenVINO works without its telemetry package: the block's imports do not find that package. If the host program has
    imported OpenVINO before, conversions inside the block use OpenVINO's own stub instead.
    """
    with _silencing:
        package = sys.modules.get(TELEMETRY)
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # so that importing it fails
        try:
            from openvino.tools.ovc import convert_impl, telemetry_stub, telemetry_utils
        finally:
            del sys.modules[TELEMETRY]
            if package is not None:
                sys.modules[TELEMETRY] = package
        before = [(module, module.tm) for module in (convert_impl, telemetry_utils)]
        try:
            for module, _ in before:
                module.tm = telemetry_stub
            yield
        finally:
            for module, telemetry in before:
                module.tm = telemetry


def openvino_maker(
    visual: torch.nn.Module, resolved: Resolved, view_size: tuple[int, int]
) -> Callable[[int], Engine]:
    """Convert a tower once; return a function that makes an engine of a batch size."""
    options = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[resolved.precision],
        "NUM_STREAMS": streams("cpu"),
        "INFERENCE_NUM_THREADS": threads(),
        "ENABLE_CPU_PINNING": False,  # a pinned thread waits for its core while another one is free
    }
    with torch.inference_mode(), warnings.catch_warnings(), _no_telemetry():
        import openvino

        warnings.simplefilter("ignore")  # tracing warns of shapes, and of torch.jit, which torch retires
        model = openvino.convert_model(optimize(visual), example_input=torch.zeros(2, 3, *view_size))

    core, lock = openvino.Core(), threading.Lock()

    def compiled(shape: list[int]) -> tuple[Forward, str]:
        copied = model.clone()
        copied.reshape(shape)
        program = core.compile_model(copied, "CPU", options)
        free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams("cpu")):
            free.put(program.create_infer_request())

        def forward(views: np.ndarray) -> np.ndarray:
            request = free.get()
            try:
                return np.array(request.infer([views])[0], np.float32)
            finally:
                free.put(request)

        return forward, program.get_property("INFERENCE_PRECISION_HINT").to_string()

    whole: list[Forward] = []  # one program for all sizes, checked with the first image that it gets

    def single(view: np.ndarray) -> np.ndarray:
        with lock:
            if not whole:
                whole.append(compiled([1, 3, -1, -1])[0])
                checked_error(whole[0](view), plain_forward(visual)(view), resolved)
        return whole[0](view)

    def make(size: int) -> Engine:
        forward, precision = compiled([size, 3, *view_size])
        if precision != options["INFERENCE_PRECISION_HINT"]:
            raise UserError(
                f"engine=openvino precision={resolved.precision}: this CPU lacks it, OpenVINO would compute "
                f"in {precision}; use precision=fp32, or engine=torch, which emulates it slowly"
            )
        return Engine(resolved, forward, single, size, view_size)

    return make
