"""An engine: views in, features out, in padded micro-batches, checked against plain float32 torch.

The file also holds the process settings that engines change, and the errors of a full memory.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from magiqa.cores import streams
from magiqa.errors import UserError

if TYPE_CHECKING:
    import torch

    from magiqa.engines.device import OnDevice

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


# Of |f - f_reference| / |f_reference|. Half precision: the format's own rounding (2^-8, 2^-11) over a tower's layers,
# the same on every device. float32: on CPUs measured, at most 2e-6. GPUs sum in other orders and use Winograd's
# convolutions, which may lose a digit (an H200: 5e-7 for RN50, 1.5e-6 for ViT-B/32); MPS compiles with fast arithmetic,
# and is not measured yet. What they must never let through is TF32 (10 bits of mantissa), whose error is 1e-4 and more.
TOLERANCES = {"bf16": 5e-2, "fp16": 5e-3}
FLOAT32 = {"cpu": 5e-6, "cuda": 5e-5, "mps": 5e-5}

Forward = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Resolved:
    """An engine, a precision and a device: what ``auto`` became."""

    engine: str
    precision: str
    device: str

    @property
    def kind(self) -> str:
        """The kind of device: cpu, cuda or mps."""
        return self.device.partition(":")[0]

    @property
    def tolerance(self) -> float:
        """The distance that a feature may lie from plain float32 torch on the CPU, relative to its length.

        Example:
            >>> Resolved("torch", "fp32", "cuda:1").tolerance
            5e-05
        """
        return TOLERANCES.get(self.precision) or FLOAT32[self.kind]

    @property
    def remedy(self) -> str:
        """Advice for a user if this engine cannot run a tower, or computes other features."""
        if self.precision != "fp32":
            return "use precision=fp32"
        if self.engine != "torch":
            return "use engine=torch"
        if self.device != "cpu":
            return "use device=cpu, unset NVIDIA_TF32_OVERRIDE, or use another version of torch or of the GPU's driver"
        return "check the weights for huge values, or use another version of torch"


class Engine:
    """An image tower that encodes views in padded micro-batches.

    A view's feature does not depend on the other views of its batch. It is the same to the bit if each stream has one
    core. Matrix products that several cores share may round a row differently in another place of the batch (1e-7).

    Args:
        batch: (``batch_size``, 3, H, W) of ``view_size`` -> (``batch_size``, D), float32.
        single: (1, 3, H, W) of any size (whole images) -> (1, D), float32.

    Attributes:
        streams: how many threads should call it at the same time to keep the device busy.
        max_error: the largest relative difference from plain float32 torch, measured when the engine was built.
        warnings: notes for its user. way: makes views on the engine's device; None: views come ready made.
    """

    def __init__(
        self, resolved: Resolved, batch: Forward, single: Forward, batch_size: int, view_size: tuple[int, int]
    ) -> None:
        self.resolved = resolved
        self.batch_size = batch_size
        self.view_size = view_size
        self.streams = streams(resolved.device)
        self.max_error = float("nan")
        self.warnings: list[str] = []
        self.way: OnDevice | None = None
        self._batch = batch
        self._single = single

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """(B, 3, H, W) float32, normalized -> features (B, D) float32, before L2 normalization."""
        views = np.ascontiguousarray(views)
        if tuple(views.shape[2:]) != tuple(self.view_size):
            return np.concatenate([self._single(view[None]) for view in views])
        return np.concatenate(
            [self._padded(views[i : i + self.batch_size]) for i in range(0, len(views), self.batch_size)]
        )

    def _padded(self, views: np.ndarray) -> np.ndarray:
        n = len(views)
        if n < self.batch_size:
            views = np.concatenate([views, np.zeros((self.batch_size - n, *views.shape[1:]), np.float32)])
        return self._batch(views)[:n]


@dataclass(frozen=True)
class EngineKind:
    """An engine that a user can choose.

    Args:
        precisions: what it computes in, for each kind of device that it runs on.
        batch_sizes: the batch size for each kind of device.
        prepare: (tower, `Resolved`, view size) -> a function that makes an `Engine` of a batch size. The tower is
            prepared once for all batch sizes.
        package: what it needs beside torch; also the name of magiqa's extra that installs it.
    """

    precisions: Mapping[str, tuple[str, ...]]
    batch_sizes: Mapping[str, int]
    prepare: Callable[["torch.nn.Module", Resolved, tuple[int, int]], Callable[[int], Engine]]
    package: str | None = None

    @property
    def installed(self) -> bool:
        """True if its package is there."""
        return self.package is None or find_spec(self.package) is not None


def probe_views(n: int, view_size: tuple[int, int]) -> np.ndarray:
    """Return views (n, 3, H, W) to check engines with: gradients with noise, in the range of normalized pixels."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(*(np.linspace(-2, 2, s, dtype=np.float32) for s in view_size), indexing="ij")
    base = np.stack([np.sin(x * 3 + y), np.cos(y * 5), np.tanh(x * y)])
    return (base + 0.5 * rng.standard_normal((n, 3, *view_size))).astype(np.float32)


def plain_forward(visual: "torch.nn.Module") -> Forward:
    """Return the reference: the tower as it is, float32, on the CPU."""
    import torch

    def forward(views: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return visual(torch.from_numpy(views)).numpy()

    return forward


def checked_error(features: np.ndarray, reference: np.ndarray, resolved: Resolved) -> float:
    """Return the largest relative difference of a feature (N, D) from its reference.

    Raises:
        UserError: the difference is larger than the tolerance.
    """
    difference = np.linalg.norm(features - reference, axis=1) / np.linalg.norm(reference, axis=1)
    error = float(difference.max())
    if not error <= resolved.tolerance:
        raise UserError(
            f"engine={resolved.engine} precision={resolved.precision} device={resolved.device}: features differ from "
            f"plain float32 torch by {error:.1e}, over the tolerance of {resolved.tolerance:.0e}; {resolved.remedy}"
        )
    return error


_WORDS = ("out of memory", "can't allocate memory", "bad allocation", "bad_alloc", "alloc_failed")


_LIBRARY_BYTES = 1 << 29  # cuDNN says CUDNN_STATUS_INTERNAL_ERROR if only 200 MB are free (H200)


def out_of_memory(error: BaseException, device: str = "cpu") -> bool:
    """Return whether an error says that memory ran out, in the words of any engine on any device.

    Example:
        >>> out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"))
        True
        >>> out_of_memory(RuntimeError("Kernel size can't be greater than actual input size"))
        False
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of CUDA
        return True
    if device.startswith("cuda") and any(name in str(error) for name in ("CUDNN_STATUS", "CUBLAS_STATUS")):
        import torch

        return torch.cuda.mem_get_info(device)[0] < _LIBRARY_BYTES  # too little for the library to start
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)
