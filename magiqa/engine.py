"""An image tower in, a fast callable out: views (B, 3, H, W) -> features (B, D).

Every engine is checked against plain float32 torch when it is built, and refuses to go on past its tolerance.
"""

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from magiqa.errors import UserError

if TYPE_CHECKING:
    import torch

ENGINES = ("torch", "compile", "openvino")
PRECISIONS = ("fp32", "bf16", "fp16")
TOLERANCES = {"fp32": 5e-6, "bf16": 3e-2, "fp16": 5e-3}  # of |f - f_reference| / |f_reference|
CANDIDATES = {"cpu": (4, 8, 10, 16, 20), "cuda": (32, 64, 128, 256), "mps": (8, 16, 32, 64)}


@dataclass(frozen=True)
class Resolved:
    """What ``auto`` became: engine, precision, device."""

    engine: str
    precision: str
    device: str


def resolve(engine: str, precision: str, device: str) -> Resolved:
    """Settle engine, precision and device.

    ``auto`` device is CUDA, then MPS, then the CPU; ``auto`` engine is OpenVINO on the CPU where it is installed,
    otherwise torch.

    Raises:
        UserError: an unknown name, or a combination that cannot be.
    """
    if engine not in ("auto", *ENGINES):
        raise UserError(f"engine={engine} is not known: use auto, {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise UserError(f"precision={precision} is not known: use {', '.join(PRECISIONS)}")
    kind = device.split(":")[0]
    if kind not in ("auto", "cpu", "cuda", "mps"):
        raise UserError(f"device={device} is not known: use auto, cpu, cuda, cuda:N or mps")
    if kind != "cpu":
        import torch

        cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
        if kind == "cuda" and not cuda:
            raise UserError(
                f"device={device}: torch sees no CUDA device; use device=cpu or install a CUDA build of torch"
            )
        if kind == "mps" and not mps:
            raise UserError("device=mps: torch sees no Apple GPU; use device=cpu")
        if kind == "auto":
            device = kind = "cuda" if cuda else "mps" if mps else "cpu"
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "auto":
        engine = "openvino" if kind == "cpu" and installed else "torch"
    if engine == "openvino":
        if not installed:
            raise UserError(
                "engine=openvino is not installed: pip install 'magiqa[openvino]', or use engine=torch"
            )
        if kind != "cpu":
            raise UserError(f"engine=openvino runs on the CPU only, not on device={device}; use engine=torch")
        if precision == "fp16":
            raise UserError("precision=fp16 is not for engine=openvino on the CPU; use bf16 or fp32")
    if precision == "fp16" and kind == "cpu":
        raise UserError("precision=fp16 needs device=cuda or mps; on the CPU use fp32 or bf16")
    return Resolved(engine, precision, device)


class Engine:
    """Encodes micro-batches of one size, padded, so that a view's feature does not depend on its neighbours.

    Args:
        resolved: engine, precision, device. forward: float32 (B, 3, H, W) -> float32 (B, D), any B.
        batch_size: of views of ``view_size``; other sizes run as they come.
    """

    def __init__(
        self,
        resolved: Resolved,
        forward: Callable[[np.ndarray], np.ndarray],
        batch_size: int,
        view_size: tuple[int, int],
    ) -> None:
        self.resolved = resolved
        self.batch_size = batch_size
        self.view_size = view_size
        self.tolerance = TOLERANCES[resolved.precision]
        self.max_error = float("nan")
        self._forward = forward

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """(B, 3, H, W) float32 -> (B, D) float32."""
        n = len(views)
        if n < self.batch_size and tuple(views.shape[2:]) == tuple(self.view_size):
            views = np.concatenate([views, np.zeros((self.batch_size - n, *views.shape[1:]), np.float32)])
        return self._forward(views)[:n]


def probe_views(n: int, view_size: tuple[int, int]) -> np.ndarray:
    """Views to check and time with: smooth gradients with some noise, normalised as CLIP's are."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(*(np.linspace(-2, 2, s, dtype=np.float32) for s in view_size), indexing="ij")
    base = np.stack([np.sin(x * 3 + y), np.cos(y * 5), np.tanh(x * y)])
    return (base + 0.5 * rng.standard_normal((n, 3, *view_size))).astype(np.float32)


def _torch_forward(tower: "torch.nn.Module", resolved: Resolved) -> Callable[[np.ndarray], np.ndarray]:
    import torch

    device = torch.device(resolved.device)
    if device.type == "cuda":
        # TF32 keeps 10 bits of the mantissa: float32 must mean float32
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    tower = tower.to(device).to(memory_format=torch.channels_last)
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[resolved.precision]

    def forward(views: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            batch = torch.from_numpy(views).to(device).contiguous(memory_format=torch.channels_last)
            return tower(batch).float().cpu().numpy()

    return forward


def build(
    visual: "torch.nn.Module", resolved: Resolved, *, batch_size: int | str, view_size: tuple[int, int]
) -> Engine:
    """Make, check and time an engine for an image tower, which stays as it was.

    Args:
        visual: float32, on the CPU, in evaluation mode. batch_size: views a micro-batch, or ``auto``: measured.

    Raises:
        UserError: the engine's features differ from plain float32 torch by more than its tolerance.
    """
    import torch

    if resolved.engine != "torch":
        raise UserError(f"engine={resolved.engine} is not built yet; use engine=torch")
    forward = _torch_forward(copy.deepcopy(visual).eval(), resolved)
    size = batch_size if isinstance(batch_size, int) else 8
    engine = Engine(resolved, forward, size, view_size)
    views = probe_views(3, view_size)
    with torch.inference_mode():
        reference = visual(torch.from_numpy(views)).numpy()
    error = np.linalg.norm(engine(views) - reference, axis=1) / np.linalg.norm(reference, axis=1)
    engine.max_error = float(error.max())
    if not engine.max_error <= engine.tolerance:
        raise UserError(
            f"engine={resolved.engine} precision={resolved.precision}: features differ from plain float32 torch by "
            f"{engine.max_error:.1e}, over the tolerance of {engine.tolerance:.0e}; use engine=torch precision=fp32"
        )
    return engine
