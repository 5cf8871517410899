"""A GPU that is not there, for tests: torch's CUDA as the host sees it, its arithmetic done by the CPU at once.

Tensors sent to ``cuda`` are wrappers that only a copy brings back: an operation that mixes them with the host's fails,
as it would there. What runs is known to be done only once something has waited for it, so that these are found, whether
or not a real GPU would have been slow enough to show them:

- a stream reads what another has not yet written;
- pinned memory of the host changes while it is being copied.
"""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

CUDA = torch.device("cuda:0")
ATEN = torch.ops.aten
WAITING = {
    ATEN._local_scalar_dense.default,
    ATEN.nonzero.default,
    ATEN.equal.default,
}  # for their result's size or value


class Stream:
    """Work in order: so many operations begun, so many known to have ended."""

    def __init__(self, gpu: "Gpu", name: str) -> None:
        self.gpu, self.name, self.begun, self.done = gpu, name, 0, 0
        self.copies: list[tuple[torch.Tensor, torch.Tensor]] = []  # from pinned memory: as it is, as it was

    def synchronize(self) -> None:
        """Wait until all that was begun has ended."""
        with self.gpu.lock:
            self.done = self.begun
            if any(not torch.equal(now, then) for now, then in self.copies):
                self.gpu.faults.append(f"{self.name}: pinned memory changed while it was copied")
            self.copies.clear()


@dataclass(eq=False)
class Block:
    """Memory of the GPU: by which operation it was allocated, and who wrote it last."""

    by: str
    written: tuple[Stream, int]


class OnGpu(torch.Tensor):
    """A tensor whose numbers lie on the CPU and can only be had by a copy."""

    inner: torch.Tensor
    block: Block

    @staticmethod
    def __new__(cls, inner: torch.Tensor, block: Block) -> "OnGpu":
        out: Any = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device("meta"),  # a guard of a real CUDA device would ask the driver
        )
        out.inner, out.block = inner, block
        return out  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} runs outside of the fake GPU's reach")


class _Mode(TorchDispatchMode):
    def __init__(self, gpu: "Gpu") -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        there = any(isinstance(x, OnGpu) for x in tree_iter((args, kwargs)))
        if not there and not _names_gpu(kwargs):
            return func(*args, **kwargs)
        with self:
            made = func.decompose(*args, **kwargs)  # what torch composes of other operations
        return self.gpu.run(func, args, kwargs) if made is NotImplemented else made


class Gpu:
    """The device: its streams, and what went wrong on it.

    Attributes:
        faults: races and changed buffers. waits: each wait of the host, as ``copy``, ``read`` or ``synchronize``.
        sent: host tensors copied there, as (bytes, pinned).
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.faults: list[str] = []
        self.waits: list[str] = []
        self.sent: list[tuple[int, bool]] = []
        self.streams = [Stream(self, "default stream")]
        self._blocks: weakref.WeakValueDictionary[int, Block] = weakref.WeakValueDictionary()
        self._pinned: set[int] = set()
        self.here = threading.local()

    @property
    def current(self) -> Stream:
        """The calling thread's stream."""
        return getattr(self.here, "stream", self.streams[0])

    def make_stream(self, device: Any = None) -> Stream:
        """In place of ``torch.cuda.Stream``."""
        self.streams.append(Stream(self, f"stream {len(self.streams)}"))
        return self.streams[-1]

    @contextmanager
    def within(self, stream: Stream) -> Iterator[None]:
        """In place of ``torch.cuda.stream``."""
        before, self.here.stream = self.current, stream
        try:
            with _Mode(self):
                yield
        finally:
            self.here.stream = before

    def synchronize(self, device: Any = None) -> None:
        """In place of ``torch.cuda.synchronize``."""
        for stream in self.streams:
            stream.synchronize()

    @contextmanager
    def installed(self, monkeypatch: Any) -> Iterator["Gpu"]:
        """torch's CUDA is this, and the calling thread may use it."""
        empty = torch.empty

        def make_empty(*args: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
            out: torch.Tensor = empty(*args, **options)
            if pin_memory:
                assert out.device.type == "cpu"
                self._pinned.add(out.data_ptr())
            return out

        class Current:
            def __init__(self, stream: Stream) -> None:
                self.stream = stream

            def synchronize(this) -> None:
                self.waits.append("synchronize")
                this.stream.synchronize()

        with monkeypatch.context() as patch:
            patch.setattr(torch, "empty", make_empty)
            parts = {
                "_lazy_init": lambda: None,
                "is_available": lambda: True,
                "device_count": lambda: 1,
                "Stream": self.make_stream,
                "stream": self.within,
                "device": lambda device: nullcontext(),
                "get_device_capability": lambda device=None: (8, 0),
                "current_stream": lambda device=None: Current(self.current),
                "synchronize": self.synchronize,
                "empty_cache": lambda: None,
            }
            for name, part in parts.items():
                patch.setattr(torch.cuda, name, part)
            with _Mode(self):
                yield self

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """An operation on the current stream."""
        with self.lock:
            stream = self.current
            stream.begun += 1
            if func in (ATEN._to_copy.default, ATEN.copy_.default):
                return self._copy(func, args, kwargs, stream)
            tensors = [x for x in tree_iter((args, kwargs)) if isinstance(x, torch.Tensor)]
            if strange := [tuple(x.shape) for x in tensors if not isinstance(x, OnGpu) and x.dim()]:
                raise RuntimeError(f"{func}: tensors of the host {strange} among those on cuda:0")
            for x in tensors:
                self._reads(x, stream, func)
            out = func(*tree_map(_inner, args), **_here(kwargs))
            self._writes(func, args, stream)
            if func in WAITING:
                self.waits.append(str(func))
                stream.synchronize()
            # a view made in inference mode is none of its own where what it views is none
            plain = bool(tensors) and isinstance(args[0], torch.Tensor) and not args[0].is_inference()
            with torch.inference_mode(False) if plain and func.is_view else nullcontext():
                viewed = args[0].block if func.is_view else None
                return tree_map(lambda x: self._wrap(x, stream, func, viewed), out)

    def _copy(self, func: Any, args: Any, kwargs: Any, stream: Stream) -> Any:
        within = func is ATEN.copy_.default
        source, target = (args[1], args[0]) if within else (args[0], None)
        stays = isinstance(source, OnGpu) and kwargs.get("device") is None
        there = isinstance(target, OnGpu) if within else stays or _names_gpu(kwargs)
        waiting = not (kwargs.get("non_blocking") or (within and len(args) > 2 and args[2]))
        for x in (source, target):
            if isinstance(x, OnGpu):
                self._reads(x, stream, func)
        out = func(*tree_map(_inner, args), **_here(kwargs))
        self._writes(func, args, stream)
        if not isinstance(source, OnGpu):
            pinned = source.untyped_storage().data_ptr() in self._pinned
            self.sent.append((source.nbytes, pinned))
            if pinned and not waiting:
                stream.copies.append((source, source.clone()))
            elif waiting:
                self.waits.append("copy")
                stream.synchronize()
        if not there:
            if not waiting:
                self.faults.append("a copy to the host that nobody waits for")
            self.waits.append("read")
            stream.synchronize()
            return out
        return self._wrap(out, stream, func)

    def _reads(self, x: Any, stream: Stream, func: Any) -> None:
        if not isinstance(x, OnGpu):
            return
        by, at = x.block.written
        if by is not stream and by.done < at:
            self.faults.append(
                f"{func} on {stream.name} reads what {by.name} has not finished ({x.block.by})"
            )

    def _writes(self, func: Any, args: Any, stream: Stream) -> None:
        for argument, x in zip(func._schema.arguments, args, strict=False):
            if argument.is_write and isinstance(x, OnGpu):
                x.block.written = (stream, stream.begun)

    def _wrap(self, x: Any, stream: Stream, func: Any, viewed: Block | None = None) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        place = x.untyped_storage().data_ptr()
        block = self._blocks.get(place, viewed)
        if block is None:
            block = Block(str(func), (stream, stream.begun))
            if place:
                self._blocks[place] = block
        return OnGpu(x, block)


def _names_gpu(kwargs: dict[str, Any]) -> bool:
    to = kwargs.get("device")
    return to is not None and torch.device(to).type in ("cuda", "meta")  # what C++ takes a wrapper's own for


def _inner(x: Any) -> Any:
    if not isinstance(x, OnGpu):
        return x
    if x.inner.dtype != x.dtype:  # x.data was set to another type, of which only C++ knows
        x.inner = x.inner.to(x.dtype)
    return x.inner


def _here(kwargs: dict[str, Any]) -> dict[str, Any]:
    out = {k: tree_map(_inner, v) for k, v in kwargs.items()}
    return out | ({"device": torch.device("cpu")} if kwargs.get("device") is not None else {})
