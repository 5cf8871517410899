"""The engines ``torch`` and ``compile``, and image towers that compute the same with less work."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from queue import LifoQueue
from threading import Lock
from typing import Any

import numpy as np
import torch

from magiqa.cores import streams, threads
from magiqa.engines.device import OnDevice
from magiqa.engines.engine import Engine, Resolved, float32_means_float32

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
        for module in tower.modules():  # autocast would convert the weights in every forward
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.to(dtype)
    turn = _turns(device)

    def forward(tower: Any, views: torch.Tensor) -> np.ndarray:
        # torch 2.4's autocast refuses float32 on MPS
        with nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype):
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


POOLS = ("AttentionPool2d", "AnySizePool")  # of a ResNet


def optimize(visual: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of an image tower that computes the same with less work.

    Convolutions take up their batch norms; a ResNet's attention pool and the last block of a ViT, of which only the
    class token is read, work for their one query. Towers without these parts come back as they are.
    """
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
    if type(tower).__name__ == "ModifiedResNet" and type(tower.attnpool).__name__ in POOLS:
        tower.attnpool = FirstQueryPool(tower.attnpool)
    elif (
        type(tower).__name__ == "VisionTransformer"
        and getattr(tower, "pool_type", "") == "tok"
        and getattr(tower, "attn_pool", 0) is None
        and not tower.output_tokens
        and tower.transformer.batch_first
        and type(tower.transformer.resblocks[-1]).__name__ == "ResidualAttentionBlock"
    ):
        tower.transformer.resblocks[-1] = ClassTokenBlock(tower.transformer.resblocks[-1])
    return tower


class FirstQueryPool(torch.nn.Module):
    """CLIP's attention pool for the one query whose output is used.

    With one query, q (Wk x) = (q Wk) x and sum a (Wv x) = Wv (sum a x): keys and values are never projected for the
    tokens, and the key's bias, the same for all tokens, drops out of the softmax. For RN50 that is an eighth of the
    whole tower's arithmetic, and a whole image's tokens cost memory linearly.
    """

    key: torch.Tensor
    value: torch.Tensor
    value_bias: torch.Tensor
    position: torch.Tensor

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self.rows = getattr(pool, "rows", None)  # of a pool that resizes its positional embedding
        pool = getattr(pool, "pool", pool)
        heads, width = pool.num_heads, pool.k_proj.in_features
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.q_proj, self.c_proj = pool.q_proj, pool.c_proj
        self.register_buffer("key", pool.k_proj.weight.detach().reshape(heads, -1, width).clone())
        value = pool.v_proj.weight.detach().reshape(heads, -1, width)
        self.register_buffer("value", value.transpose(1, 2).contiguous())
        self.register_buffer("value_bias", pool.v_proj.bias.detach().clone())
        self.register_buffer("position", pool.positional_embedding.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool (B, C, H, W) to (B, D)."""
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
        tokens = tokens + self.position if self.rows is None else self.rows(tokens)
        query = self.q_proj(tokens[:, 0]) * self.scale
        query = query.reshape(query.shape[0], self.heads, -1).transpose(0, 1)
        seen_by = torch.matmul(query, self.key).transpose(0, 1)
        weights = torch.matmul(seen_by, tokens.transpose(1, 2)).softmax(-1)
        seen = torch.matmul(weights, tokens).transpose(0, 1)
        values = torch.matmul(seen, self.value).transpose(0, 1).flatten(1) + self.value_bias
        return self.c_proj(values)


class ClassTokenBlock(torch.nn.Module):
    """A ViT's last block for the class token alone: all tokens are its keys and values, one is its query."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block

    def forward(self, q_x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the class token (B, 1, D) of tokens (B, T, D)."""
        b = self.block
        tokens = b.ln_1(q_x)
        x = q_x[:, :1] + b.ls_1(b.attn(tokens[:, :1], tokens, tokens, need_weights=False)[0])
        return x + b.ls_2(b.mlp(b.ln_2(x)))
