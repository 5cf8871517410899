"""An engine: views in, features out, in padded micro-batches, checked against plain float32 torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from magiqa.cores import streams
from magiqa.errors import UserError

if TYPE_CHECKING:
    import torch

    from magiqa.engines.device import OnDevice

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
        batch_sizes: the batch size for each kind of device and, after a slash, kind of network (see `network`).
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
