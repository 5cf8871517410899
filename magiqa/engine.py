"""An image tower in, a fast callable out: views (B, 3, H, W) -> features (B, D).

Every engine is checked against plain float32 torch when it is built, and refuses to go on past its tolerance.

On a CPU the cores work on micro-batches of their own, side by side, not together on one: cores that share a layer wait
for each other at its end, and where anything else runs (decoding, another program) they mostly wait.
"""

import copy
import importlib.util
import math
import os
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from magiqa.errors import UserError

if TYPE_CHECKING:
    import torch

ENGINES = ("torch", "compile", "openvino")
PRECISIONS = ("fp32", "bf16", "fp16")
TOLERANCES = {"fp32": 5e-6, "bf16": 5e-2, "fp16": 5e-3}  # of |f - f_reference| / |f_reference|
CANDIDATES = {"cpu": (10, 5, 20), "cuda": (32, 64, 128, 256), "mps": (8, 16, 32, 64)}
MOST_STREAMS = 8  # on a CPU: a stream holds activations of its own, and all share the last cache

Forward = Callable[[np.ndarray], np.ndarray]


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

    Example:
        >>> resolve("torch", "fp32", "cpu")
        Resolved(engine='torch', precision='fp32', device='cpu')
    """
    if engine not in ("auto", *ENGINES):
        raise UserError(f"engine={engine} is not known: use auto, {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise UserError(f"precision={precision} is not known: use {', '.join(PRECISIONS)}")
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
        raise UserError(f"device={device} is not known: use auto, cpu, cuda, cuda:N or mps")
    if kind != "cpu":
        import torch

        cuda, mps = torch.cuda.device_count(), torch.backends.mps.is_available()
        if kind == "cuda" and int(index or 0) >= cuda:
            raise UserError(
                f"device={device}: torch sees {cuda} CUDA devices; use another device, or a CUDA build of torch"
            )
        if kind == "mps" and not mps:
            raise UserError("device=mps: torch sees no Apple GPU; use device=cpu")
        if kind == "auto":
            device = kind = "cuda" if cuda else "mps" if mps else "cpu"
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "auto":
        engine = "openvino" if kind == "cpu" and installed and precision != "fp16" else "torch"
    if engine == "openvino":
        if not installed:
            raise UserError(
                "engine=openvino is not installed: pip install 'magiqa[openvino]', or use engine=torch"
            )
        if kind != "cpu":
            raise UserError(f"engine=openvino runs on the CPU only, not on device={device}; use engine=torch")
    if precision == "fp16" and kind == "cpu":
        raise UserError("precision=fp16 needs device=cuda or mps; on the CPU use fp32 or bf16")
    return Resolved(engine, precision, device)


class Engine:
    """Encodes views in padded micro-batches, so that a view's feature does not depend on its neighbours.

    To the bit, where each stream has one core: matrix products that several cores share may round a row differently
    in another place of the batch (some 1e-7).

    Args:
        batch: (``batch_size``, 3, H, W) of ``view_size`` -> (``batch_size``, D), float32.
        single: (1, 3, H, W) of any size (whole images) -> (1, D), float32.
        streams: how many threads should call it at the same time to keep the device busy.

    Attributes:
        max_error: the largest relative difference from plain float32 torch, measured when built.
        tolerance: what it may be. warning: what its user should know, or None.
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
        self.tolerance = TOLERANCES[resolved.precision]
        self.max_error = float("nan")
        self.warning: str | None = None
        self._batch = batch
        self._single = single

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """(B, 3, H, W) float32, normalised -> features (B, D) float32, before L2 normalisation."""
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


def build(
    visual: "torch.nn.Module",
    resolved: Resolved,
    *,
    batch_size: int | Literal["auto"],
    view_size: tuple[int, int],
) -> Engine:
    """Make, time and check an engine for an image tower, which stays as it was.

    Args:
        visual: float32, on the CPU, in evaluation mode. batch_size: views a micro-batch, or ``auto``: measured.

    Raises:
        UserError: the engine cannot run this tower, or its features differ from plain float32 torch by more than
            its tolerance.
    """
    import torch

    if batch_size != "auto" and (not isinstance(batch_size, int) or batch_size < 1):
        raise UserError(f"batch_size={batch_size}: use auto or a whole number of views, 1 or more")
    if getattr(visual, "output_tokens", False):  # CoCa's towers return all tokens too
        visual = copy.copy(visual)
        visual.output_tokens = False  # type: ignore[assignment]
    views = probe_views(3, view_size)
    reference = _plain(visual)(views)
    cores = torch.get_num_threads()
    try:
        if resolved.device == "cpu":  # of each caller: new threads take it over
            torch.set_num_threads(threads() // streams(resolved.device))
        if resolved.engine == "openvino":
            make = _openvino(visual, resolved, view_size)
        else:
            make = _torch(visual, resolved, view_size)
        engine = _fastest(make, resolved) if batch_size == "auto" else make(batch_size)
        features = engine(views)
    except UserError:
        raise
    except Exception as error:
        if resolved.engine == "torch":
            raise
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"engine={resolved.engine} cannot run this backbone ({reason}); use engine=torch"
        ) from error
    finally:
        torch.set_num_threads(cores)
    engine.max_error = _checked(features, reference, resolved)
    if resolved.precision == "bf16" and resolved.device == "cpu":
        engine.warning = _slow_bf16(engine, visual)
    return engine


def streams(device: str) -> int:
    """How many callers keep a device busy.

    On a CPU a core each up to `MOST_STREAMS`; beyond, as many (half of that at least) as use the most cores with
    equally many each (12 cores: 6 streams of 2). On a GPU two, so that one copies while one computes.
    """
    if device != "cpu":
        return 2 if device.startswith("cuda") else 1
    cores = threads()
    fewest, most = min(cores, MOST_STREAMS // 2), min(cores, MOST_STREAMS)
    return max(range(fewest, most + 1), key=lambda s: (s * (cores // s), s))


@cache
def threads() -> int:
    """Threads for torch: ``allowed_cores()``, and no more than torch.set_num_threads or the machine's real cores.

    Settled when first asked: engines set torch's number of threads themselves.
    """
    import torch

    return min(torch.get_num_threads(), allowed_cores())


def allowed_cores() -> int:
    """Cores this process may use: its affinity, OMP_NUM_THREADS, a container's quota. Needs no torch."""
    allowed = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    if (limit := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        allowed.append(int(limit))
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, _, period = quota.read_text().strip().partition(" ")
        if limit.isdigit() and period.isdigit():
            allowed.append(math.ceil(int(limit) / int(period)))
    return max(1, min(allowed))


def probe_views(n: int, view_size: tuple[int, int]) -> np.ndarray:
    """Views (n, 3, H, W) to check and time with: gradients with some noise, in the range of normalised pixels."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(*(np.linspace(-2, 2, s, dtype=np.float32) for s in view_size), indexing="ij")
    base = np.stack([np.sin(x * 3 + y), np.cos(y * 5), np.tanh(x * y)])
    return (base + 0.5 * rng.standard_normal((n, 3, *view_size))).astype(np.float32)


def optimise(visual: "torch.nn.Module") -> "torch.nn.Module":
    """A copy of an image tower that computes the same with less work.

    Convolutions take up their batch norms; a ResNet's attention pool and the last block of a ViT, of which only the
    class token is read, work for their one query. Towers without these parts come back as they are.
    """
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    tower: Any = copy.deepcopy(visual).eval().requires_grad_(False)
    for module in list(tower.modules()):
        children = dict(module.named_children())
        if isinstance(module, torch.nn.Sequential):
            pairs = list(pairwise(children))
        else:  # open_clip's ResNets and their blocks: conv1 is followed by bn1, and so on
            pairs = [(n, n.replace("conv", "bn")) for n in children if n.startswith("conv")]
        for conv, norm in pairs:
            first, second = children[conv], children.get(norm)
            if isinstance(first, torch.nn.Conv2d) and isinstance(second, torch.nn.BatchNorm2d):
                setattr(module, conv, fuse_conv_bn_eval(first, second))
                setattr(module, norm, torch.nn.Identity())
    if type(tower).__name__ == "ModifiedResNet" and type(tower.attnpool).__name__ == "AttentionPool2d":
        tower.attnpool = _first_query_pool(tower.attnpool)
    elif (
        type(tower).__name__ == "VisionTransformer"
        and getattr(tower, "pool_type", "") == "tok"
        and getattr(tower, "attn_pool", 0) is None
        and not tower.output_tokens
        and tower.transformer.batch_first
        and type(tower.transformer.resblocks[-1]).__name__ == "ResidualAttentionBlock"
    ):
        tower.transformer.resblocks[-1] = _class_token_block(tower.transformer.resblocks[-1])
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
            seen_by = torch.matmul(query, self.key).transpose(0, 1)
            weights = torch.matmul(seen_by, tokens.transpose(1, 2)).softmax(-1)
            seen = torch.matmul(weights, tokens).transpose(0, 1)
            values = torch.matmul(seen, self.value).transpose(0, 1).flatten(1) + self.value_bias
            return self.c_proj(values)

    return FirstQueryPool()


def _class_token_block(block: Any) -> "torch.nn.Module":
    """A ViT's last block for the class token alone: all tokens are its keys and values, one is its query."""
    import torch

    class ClassTokenBlock(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = block

        def forward(self, q_x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
            b = self.block
            tokens = b.ln_1(q_x)
            x = q_x[:, :1] + b.ls_1(b.attn(tokens[:, :1], tokens, tokens, need_weights=False)[0])
            return x + b.ls_2(b.mlp(b.ln_2(x)))

    return ClassTokenBlock()


def _plain(visual: "torch.nn.Module") -> Forward:
    """The reference: the tower as it is, float32, on the CPU."""
    import torch

    def forward(views: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return visual(torch.from_numpy(views)).numpy()

    return forward


def _torch(
    visual: "torch.nn.Module", resolved: Resolved, view_size: tuple[int, int]
) -> Callable[[int], Engine]:
    import torch

    device = torch.device(resolved.device)
    cores = threads() // streams(resolved.device)
    if device.type == "cuda":  # TF32 keeps 10 bits of the mantissa: float32 must mean float32
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    tower: Any = optimise(visual).to(device).to(memory_format=torch.channels_last)
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


def _openvino(
    visual: "torch.nn.Module", resolved: Resolved, view_size: tuple[int, int]
) -> Callable[[int], Engine]:
    import openvino
    import torch

    options = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[resolved.precision],
        "NUM_STREAMS": streams("cpu"),
        "INFERENCE_NUM_THREADS": threads(),
        "ENABLE_CPU_PINNING": False,  # a pinned thread waits for its core while another one is free
    }
    core = openvino.Core()
    with torch.inference_mode(), warnings.catch_warnings():
        # it traces with torch.jit, which torch retires, and which warns of shapes
        warnings.simplefilter("ignore")
        model = openvino.convert_model(optimise(visual), example_input=torch.zeros(2, 3, *view_size))

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

    singles: list[Forward] = []
    lock = threading.Lock()

    def single(view: np.ndarray) -> np.ndarray:
        with lock:
            if not singles:  # one program for all sizes, checked with the first image it gets
                forward, _ = compiled([1, 3, -1, -1])
                _checked(forward(view), _plain(visual)(view), resolved)
                singles.append(forward)
        return singles[0](view)

    def make(size: int) -> Engine:
        forward, precision = compiled([size, 3, *view_size])
        if precision != options["INFERENCE_PRECISION_HINT"]:
            raise UserError(
                f"engine=openvino precision={resolved.precision}: this CPU lacks it, OpenVINO would compute "
                f"in {precision}; use precision=fp32, or engine=torch, which emulates it slowly"
            )
        return Engine(resolved, forward, single, size, view_size, streams("cpu"))

    return make


def _fastest(make: Callable[[int], Engine], resolved: Resolved) -> Engine:
    """The engine with the most views a second over the candidate sizes, each timed for about a second.

    A larger batch need not be faster on a CPU: the activations leave the cache. No further candidate is begun after
    fifteen seconds, which a large tower's compilation takes.
    """
    begin = time.perf_counter()
    best, highest = None, 0.0
    failure: RuntimeError | None = None
    for size in CANDIDATES[resolved.device.split(":")[0]]:
        if best is not None and (failure or time.perf_counter() - begin > 15):
            break
        try:
            engine = make(size)
            rate = size / _seconds(engine, 0.7)
        except RuntimeError as error:  # out of memory: what is larger would be too
            failure = error
            continue
        if rate > highest:
            best, highest = engine, rate
    if best is None and failure is not None:
        raise failure
    assert best is not None
    return best


def _seconds(engine: Engine, budget: float) -> float:
    """The shortest time in which all streams encode a full batch each, of at least two after a warm-up."""
    views = probe_views(engine.batch_size, engine.view_size)
    engine(views)
    taken: list[float] = []
    with ThreadPoolExecutor(engine.streams) as pool:
        while len(taken) < 3 or sum(taken) < budget:
            start = time.perf_counter()
            list(pool.map(engine, [views] * engine.streams))
            taken.append(time.perf_counter() - start)
    return min(taken[1:])


def _checked(features: np.ndarray, reference: np.ndarray, resolved: Resolved) -> float:
    """The largest relative difference of a feature (N, D) from its reference; an error past the tolerance."""
    difference = np.linalg.norm(features - reference, axis=1) / np.linalg.norm(reference, axis=1)
    error, tolerance = float(difference.max()), TOLERANCES[resolved.precision]
    if not error <= tolerance:
        remedy = "precision=fp32" if resolved.precision != "fp32" else "engine=torch"
        raise UserError(
            f"engine={resolved.engine} precision={resolved.precision}: features differ from plain float32 torch by "
            f"{error:.1e}, over the tolerance of {tolerance:.0e}; use {remedy}"
        )
    return error


def _slow_bf16(engine: Engine, visual: "torch.nn.Module") -> str | None:
    """What to say where bf16 costs time instead of saving it: on CPUs without arithmetic for it."""
    resolved = replace(engine.resolved, engine="torch", precision="fp32")
    plain = _torch(visual, resolved, engine.view_size)(engine.batch_size)
    ratio = _seconds(engine, 0.0) / _seconds(plain, 0.0)
    return f"precision=bf16 took {ratio:.1f} times as long as fp32 on this CPU" if ratio > 1 else None
