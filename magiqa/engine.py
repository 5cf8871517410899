"""An image tower in, a fast callable out: views (B, 3, H, W) -> features (B, D).

Every engine is checked against plain float32 torch when it is built, and refuses to go on past its tolerance.
"""

import copy
import importlib.util
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from magiqa.errors import UserError

if TYPE_CHECKING:
    import torch

ENGINES = ("torch", "compile", "openvino")
PRECISIONS = ("fp32", "bf16", "fp16")
TOLERANCES = {"fp32": 5e-6, "bf16": 3e-2, "fp16": 5e-3}  # of |f - f_reference| / |f_reference|
CANDIDATES = {"cpu": (10, 5, 20), "cuda": (32, 64, 128, 256), "mps": (8, 16, 32, 64)}


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


def optimise(visual: "torch.nn.Module") -> "torch.nn.Module":
    """A copy of an image tower that computes the same with less work.

    Convolutions take up their batch norms, and a ResNet's attention pool works for its one query only. Towers without
    these parts come back as they are.
    """
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    tower = copy.deepcopy(visual).eval().requires_grad_(False)
    for module in list(tower.modules()):
        children = dict(module.named_children())
        names = list(children)
        if isinstance(module, torch.nn.Sequential):
            pairs = list(pairwise(names))
        else:  # open_clip's ResNets and stems: conv1 is followed by bn1, and so on
            pairs = [(n, n.replace("conv", "bn")) for n in names if n.startswith("conv")]
        for conv, norm in pairs:
            first, second = children[conv], children.get(norm)
            if isinstance(first, torch.nn.Conv2d) and isinstance(second, torch.nn.BatchNorm2d):
                setattr(module, conv, fuse_conv_bn_eval(first, second))
                setattr(module, norm, torch.nn.Identity())
    pool = getattr(tower, "attnpool", None)
    if pool is not None and type(pool).__name__ == "AttentionPool2d":
        tower.attnpool = _first_query_pool(pool)
    return tower


def _first_query_pool(pool: Any) -> "torch.nn.Module":
    """CLIP's attention pool for the one query whose output is used.

    With one query, q (Wk x) = (q Wk) x and sum a (Wv x) = Wv (sum a x): keys and values are never projected for the
    tokens, and the key's bias, the same for all tokens, drops out of the softmax. For RN50 that is an eighth of the
    whole tower's arithmetic, and a whole image's tokens cost memory linearly.
    """
    import torch

    class FirstQueryPool(torch.nn.Module):
        key: torch.Tensor
        value: torch.Tensor
        value_bias: torch.Tensor
        position: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            heads, width = pool.num_heads, pool.k_proj.in_features
            self.heads, self.scale = heads, (width // heads) ** -0.5
            self.q_proj, self.c_proj = pool.q_proj, pool.c_proj
            self.register_buffer("key", pool.k_proj.weight.detach().reshape(heads, -1, width).clone())
            value = pool.v_proj.weight.detach().reshape(heads, -1, width)
            self.register_buffer("value", value.transpose(1, 2).contiguous())
            self.register_buffer("value_bias", pool.v_proj.bias.detach().clone())
            self.register_buffer("position", pool.positional_embedding.detach().clone())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = x.flatten(2).transpose(1, 2)
            tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.position
            query = self.q_proj(tokens[:, 0]) * self.scale
            query = query.reshape(query.shape[0], self.heads, -1).transpose(0, 1)
            weights = torch.matmul(
                torch.matmul(query, self.key).transpose(0, 1), tokens.transpose(1, 2)
            ).softmax(-1)
            seen = torch.matmul(weights, tokens).transpose(0, 1)
            values = torch.matmul(seen, self.value).transpose(0, 1).flatten(1) + self.value_bias
            return self.c_proj(values)

    return FirstQueryPool()


def threads() -> int:
    """Cores this process may use: OMP_NUM_THREADS, else its affinity (a container's or SLURM's share)."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _torch_forward(visual: "torch.nn.Module", resolved: Resolved) -> Callable[[np.ndarray], np.ndarray]:
    import torch

    device = torch.device(resolved.device)
    if device.type == "cpu":
        torch.set_num_threads(threads())
    if device.type == "cuda":
        # TF32 keeps 10 bits of the mantissa: float32 must mean float32
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    tower: Any = optimise(visual).to(device).to(memory_format=torch.channels_last)
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[resolved.precision]
    if resolved.engine == "compile":
        import torch._inductor.config as inductor

        inductor.freezing = True  # weights become constants, laid out for the convolutions that read them
        tower = torch.compile(tower, dynamic=False)

    def forward(views: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            batch = torch.from_numpy(views).to(device).contiguous(memory_format=torch.channels_last)
            return tower(batch).float().cpu().numpy()

    return forward


def _openvino_forward(
    visual: "torch.nn.Module", resolved: Resolved, batch_size: int, view_size: tuple[int, int]
) -> Callable[[np.ndarray], np.ndarray]:
    import openvino
    import torch

    tower = optimise(visual)
    precision = {"fp32": "f32", "bf16": "bf16"}[resolved.precision]
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads(),
    }
    compiled: dict[tuple[int, ...], Any] = {}

    def forward(views: np.ndarray) -> np.ndarray:
        shape = views.shape
        if shape not in compiled:
            if len(compiled) > 2:  # whole images come in any size: their models are not kept
                compiled.pop(next(k for k in compiled if k != (batch_size, 3, *view_size)))
            with torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", FutureWarning
                )  # OpenVINO traces with torch.jit, which torch retires
                model = openvino.convert_model(tower, example_input=torch.zeros(shape), input=[list(shape)])
            compiled[shape] = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
        return np.array(compiled[shape].infer([np.ascontiguousarray(views)])[0], np.float32)

    return forward


def _measured_batch_size(make: Callable[[int], Engine], resolved: Resolved) -> Engine:
    """The candidate with the most views a second, each timed for about a second after one warm-up.

    A larger batch is not faster on a CPU: the activations leave the cache. No further candidate is begun after
    fifteen seconds, which a large tower's compilation takes.
    """
    best: tuple[float, Engine | None] = (0.0, None)
    first = time.perf_counter()
    for size in CANDIDATES[resolved.device.split(":")[0]]:
        if best[1] is not None and time.perf_counter() - first > 15:
            break
        engine = make(size)
        views = probe_views(size, engine.view_size)
        engine(views)
        rates: list[float] = []
        begin = time.perf_counter()
        while time.perf_counter() - begin < 0.7 or len(rates) < 2:
            start = time.perf_counter()
            engine(views)
            rates.append(size / (time.perf_counter() - start))
        if max(rates) > best[0]:
            best = (max(rates), engine)
    assert best[1] is not None
    return best[1]


def build(
    visual: "torch.nn.Module", resolved: Resolved, *, batch_size: int | str, view_size: tuple[int, int]
) -> Engine:
    """Make, time and check an engine for an image tower, which stays as it was.

    Args:
        visual: float32, on the CPU, in evaluation mode. batch_size: views a micro-batch, or ``auto``: measured.

    Raises:
        UserError: the engine's features differ from plain float32 torch by more than its tolerance.
    """
    import torch

    shared = _torch_forward(visual, resolved) if resolved.engine != "openvino" else None

    def make(size: int) -> Engine:
        forward = shared or _openvino_forward(visual, resolved, size, view_size)
        return Engine(resolved, forward, size, view_size)

    engine = make(batch_size) if isinstance(batch_size, int) else _measured_batch_size(make, resolved)
    views = probe_views(3, view_size)
    with torch.inference_mode():
        reference = visual(torch.from_numpy(views)).numpy()
    features = np.concatenate(
        [engine(views[i : i + engine.batch_size]) for i in range(0, 3, engine.batch_size)]
    )
    error = np.linalg.norm(features - reference, axis=1) / np.linalg.norm(reference, axis=1)
    engine.max_error = float(error.max())
    if not engine.max_error <= engine.tolerance:
        raise UserError(
            f"engine={resolved.engine} precision={resolved.precision}: features differ from plain float32 torch by "
            f"{engine.max_error:.1e}, over the tolerance of {engine.tolerance:.0e}; use engine=torch precision=fp32"
        )
    return engine
