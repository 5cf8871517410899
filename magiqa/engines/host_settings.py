"""The host program's settings: what engines must change for all of a process, put back when the last call ends."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

_lock = threading.Lock()
_inside = 0
_restore: Callable[[], None] | None = None


@contextmanager
def borrowed() -> Iterator[None]:
    """Float32 means float32 (no TF32) inside the block; torch's threads and TF32 are as before when it ends.

    These settings belong to the whole process. Blocks of several threads may overlap: the first to begin keeps the
    settings, the last to end puts them back.
    """
    global _inside, _restore
    import torch

    with _lock:
        if _inside == 0:
            threads, tf32 = torch.get_num_threads(), _tf32(torch)

            def restore() -> None:
                _set(tf32)
                torch.set_num_threads(threads)

            _restore = restore
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _restore is not None:
                _restore()
                _restore = None


def _tf32(torch: "ModuleType") -> list[tuple[Any, str, Any]]:
    """What TF32 is set to: torch's older switches where they may be read, then its newer ones where it has them."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    out: list[tuple[Any, str, Any]] = []
    for owner in (matmul, cudnn):
        with suppress(RuntimeError):  # refused where the host has used the newer ones
            out.append((owner, "allow_tf32", owner.allow_tf32))
    newer = (matmul, getattr(cudnn, "conv", None), getattr(cudnn, "rnn", None))
    return out + [
        (o, "fp32_precision", o.fp32_precision)
        for o in newer
        if o is not None and hasattr(o, "fp32_precision")
    ]


def _set(saved: list[tuple[Any, str, Any]]) -> None:
    for owner, name, value in saved:
        setattr(owner, name, value)
