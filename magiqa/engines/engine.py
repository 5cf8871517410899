"""What an engine is: views in, features out, in padded micro-batches, checked against plain float32 torch."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from magiqa.engines.resolve import Resolved
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


def tolerance(resolved: Resolved) -> float:
    """How far a feature may lie from plain float32 torch on the CPU, relative to its length.

    Example:
        >>> tolerance(Resolved("torch", "fp32", "cuda:1"))
        5e-05
    """
    if resolved.precision == "fp32":
        return FLOAT32[resolved.device.partition(":")[0]]
    return TOLERANCES[resolved.precision]


class Engine:
    """Encodes views in padded micro-batches, so that a view's feature does not depend on its neighbors.

    To the bit, where each stream has one core: matrix products that several cores share may round a row differently
    in another place of the batch (some 1e-7).

    Args:
        batch: (``batch_size``, 3, H, W) of ``view_size`` -> (``batch_size``, D), float32.
        single: (1, 3, H, W) of any size (whole images) -> (1, D), float32.
        streams: how many threads should call it at the same time to keep the device busy.

    Attributes:
        max_error: the largest relative difference from plain float32 torch, measured when built.
        tolerance: what it may be. warning: what its user should know, or None. way: makes views on the engine's device,
            see `magiqa.engines.device`; None: they come ready made.
    """

    def __init__(
        self,
        resolved: Resolved,
        batch: Forward,
        single: Forward,
        batch_size: int,
        view_size: tuple[int, int],
        streams: int,
    ) -> None:
        self.resolved = resolved
        self.batch_size = batch_size
        self.view_size = view_size
        self.streams = streams
        self.tolerance = tolerance(resolved)
        self.max_error = float("nan")
        self.warning: str | None = None
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


def probe_views(n: int, view_size: tuple[int, int]) -> np.ndarray:
    """Views (n, 3, H, W) to check and time with: gradients with some noise, in the range of normalized pixels."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(*(np.linspace(-2, 2, s, dtype=np.float32) for s in view_size), indexing="ij")
    base = np.stack([np.sin(x * 3 + y), np.cos(y * 5), np.tanh(x * y)])
    return (base + 0.5 * rng.standard_normal((n, 3, *view_size))).astype(np.float32)


def plain_forward(visual: "torch.nn.Module") -> Forward:
    """The reference: the tower as it is, float32, on the CPU."""
    import torch

    def forward(views: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return visual(torch.from_numpy(views)).numpy()

    return forward


def checked_error(features: np.ndarray, reference: np.ndarray, resolved: Resolved) -> float:
    """The largest relative difference of a feature (N, D) from its reference; an error past the tolerance."""
    difference = np.linalg.norm(features - reference, axis=1) / np.linalg.norm(reference, axis=1)
    error, allowed = float(difference.max()), tolerance(resolved)
    if not error <= allowed:
        raise UserError(
            f"engine={resolved.engine} precision={resolved.precision} device={resolved.device}: features differ from "
            f"plain float32 torch by {error:.1e}, over the tolerance of {allowed:.0e}; {remedy(resolved)}"
        )
    return error


def remedy(resolved: Resolved) -> str:
    """What to try where an engine cannot run a tower, or not as it should."""
    if resolved.precision != "fp32":
        return "use precision=fp32"
    if resolved.engine != "torch":
        return "use engine=torch"
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "1" and resolved.device.startswith("cuda"):
        return "unset NVIDIA_TF32_OVERRIDE, which takes ten bits for float32's mantissa"
    if resolved.device != "cpu":
        return "use device=cpu, or another version of torch or of the GPU's driver"
    return "check the weights for huge values, or use another version of torch"
