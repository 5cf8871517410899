"""A safetensors file with a checksum in its header: a shard of features, text embeddings, or a bundle.

Files are written beside their place and renamed. Arrays are memory-mapped: reading slices through safetensors takes
2.5 times as long, so it checks the header here and no more.
"""

import hashlib
import json
import math
import os
import stat
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magiqa.errors import UserError
from magiqa.images.controls import CONTROLS
from magiqa.package import expanded

_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}


class CorruptShard(UserError):
    """A shard that was cut short or changed since it was written; ``prune=corrupt`` removes it."""


def corrupt(path: Path, why: object) -> CorruptShard:
    """Return the error for a damaged shard."""
    reason = " ".join(str(why).split())[:200] or type(why).__name__
    return CorruptShard(
        f"{path}: this cache shard is corrupt ({reason}); run `magiqa cache prune=corrupt` to remove it, "
        "then run again: everything else stays cached"
    )


@dataclass(frozen=True)
class Blocks:
    """A tensor that is written block by block, so that it never lies in memory whole."""

    dtype: np.dtype
    shape: tuple[int, ...]
    blocks: Iterable[np.ndarray]

    @classmethod
    def of(cls, array: np.ndarray) -> "Blocks":
        """Return an array as one block."""
        return cls(array.dtype, array.shape, [np.ascontiguousarray(array)])


def _checksum(
    metadata: Mapping[str, str],
    tensors: Mapping[str, Blocks],
    write: Callable[[memoryview], object] | None = None,
) -> str:
    """Return the sha256 of metadata and tensors: a wrong image name is as bad as a wrong feature.

    Args:
        write: takes each block as it passes.
    """
    text = json.dumps({k: v for k, v in metadata.items() if k != "sha256"}, sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        for block in tensor.blocks:
            digest.update(block.data)
            if write:
                write(block.data)
    return digest.hexdigest()


def write_shard(path: Path, tensors: Mapping[str, np.ndarray | Blocks], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file with its checksum, tensors in the order of their names.

    Raises:
        OSError: the file cannot be written.
    """
    parts = {n: t if isinstance(t, Blocks) else Blocks.of(t) for n, t in sorted(tensors.items())}
    header: dict[str, Any] = {"__metadata__": {**metadata, "sha256": "0" * 64}}
    offset = 0
    for name, tensor in parts.items():
        end = offset + math.prod(tensor.shape) * tensor.dtype.itemsize
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end

    def head() -> bytes:
        data = json.dumps(header, sort_keys=True).encode()
        data += b" " * (-len(data) % 8)
        return struct.pack("<Q", len(data)) + data

    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(head())
        header["__metadata__"]["sha256"] = _checksum(metadata, parts, file.write)
        file.seek(0)
        file.write(head())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside a path, which takes its place at the end."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_shard(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return a file's memory-mapped tensors and its metadata. Only the header is read.

    Raises:
        CorruptShard: it is cut short, or no safetensors file. UserError: it cannot be read.
    """
    from safetensors import safe_open

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("no plain file")
        with safe_open(path, "np") as checked:  # its offsets, shapes and types agree with the file's size
            metadata = dict(checked.metadata() or {})
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return {name: _mapped(path, 8 + length, entry) for name, entry in header.items()}, metadata
    except FileNotFoundError:
        raise UserError(f"{path}: this cache shard was removed meanwhile; run again") from None
    except OSError as error:
        raise UserError(
            f"{path}: this cache shard cannot be read ({error.strerror or error}); make it readable, or set "
            "cache_dir=DIR or MAGIQA_CACHE to another folder"
        ) from None
    except Exception as error:  # a damaged header may hold anything
        raise corrupt(path, error) from None


def _mapped(path: Path, start: int, entry: Mapping[str, Any]) -> np.ndarray:
    dtype, shape = _TYPES[entry["dtype"]], tuple(entry["shape"])
    if not math.prod(shape):
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, mode="r", offset=start + entry["data_offsets"][0], shape=shape)


def verify_shard(path: Path) -> None:
    """Check a file against the checksum in its header.

    Raises:
        CorruptShard: they differ.
    """
    tensors, metadata = read_shard(path)
    blocks = {name: Blocks.of(tensor) for name, tensor in tensors.items()}
    if _checksum(metadata, blocks) != metadata.get("sha256"):
        raise corrupt(path, "its content does not match its checksum")


def _expect(tensors: Mapping[str, np.ndarray], name: str, dtype: type, *shape: int | None) -> np.ndarray:
    """Return a tensor of a type and shape; None stands for any length."""
    array = tensors.get(name)
    if array is None or array.dtype != dtype or array.ndim != len(shape):
        kind = "missing" if array is None else f"{array.dtype} of {array.ndim} dimensions"
        raise ValueError(f"its {name} are {kind}")
    if any(want not in (None, size) for want, size in zip(shape, array.shape, strict=True)):
        raise ValueError(f"its {name} are of the shape {array.shape}")
    return array


@dataclass(frozen=True)
class FeatureShard:
    """A shard of features, its types and shapes checked.

    Args:
        images: sha256 of each. features: (views, D). counts: (N,) views an image. controls: (N, 4).
        maker: engine and device, where the header has them.
    """

    images: list[str]
    features: np.ndarray
    counts: np.ndarray
    controls: np.ndarray
    maker: Any


def read_features(path: Path, width: int | None = None) -> FeatureShard:
    """Return a shard of features; D must be ``width`` where it is given.

    Raises:
        CorruptShard: a tensor is missing, of another type or shape, or does not fit the images.
    """
    tensors, metadata = read_shard(path)
    try:
        images = json.loads(metadata.get("images", "null"))
        if not isinstance(images, list) or not all(isinstance(i, str) for i in images):
            raise ValueError("it names no images")
        features = _expect(tensors, "features", np.float32, None, width)
        counts = np.array(_expect(tensors, "counts", np.int64, len(images)))
        controls = np.array(_expect(tensors, "controls", np.float64, len(images), len(CONTROLS)))
        # Python's sum cannot wrap round
        if (counts < 1).any() or sum(counts.tolist()) != len(features):
            raise ValueError("its counts do not match its features")
        if not np.isfinite(controls).all():
            raise ValueError("its controls hold NaN or infinity")
        maker = json.loads(metadata.get("maker", "null"))
        named = maker if isinstance(maker, dict) else {}
        if maker is not None and not all(isinstance(named.get(key), str) for key in ("engine", "device")):
            raise ValueError("its maker has no engine and device")
        return FeatureShard(images, features, counts, controls, maker)
    except (ValueError, RecursionError) as error:
        raise corrupt(path, error) from None


def verify_features(path: Path, width: int | None = None) -> FeatureShard:
    """Check a shard of features: types, shapes, checksum, and that every feature is finite.

    Raises:
        CorruptShard: see `read_features` and `verify_shard`.
    """
    shard = read_features(path, width)
    verify_shard(path)
    step = max(1, (1 << 22) // max(1, shard.features.shape[1]))
    if not all(np.isfinite(shard.features[i : i + step]).all() for i in range(0, len(shard.features), step)):
        raise corrupt(path, "its features hold NaN or infinity")
    return shard


def read_text_shard(
    path: Path, texts: int | None = None, width: int | None = None
) -> tuple[np.ndarray, float]:
    """Return text embeddings (T, D) and the logit scale; T and D must be as given.

    Raises:
        CorruptShard: a tensor is missing, of another type or shape, or not finite.
    """
    tensors, _ = read_shard(path)
    try:
        text = np.array(_expect(tensors, "text", np.float32, None, None, width))
        text = text.reshape(-1, text.shape[-1])
        scale = float(_expect(tensors, "logit_scale", np.float64, 1)[0])
        if texts not in (None, len(text)):
            raise ValueError(f"its text are {len(text)} embeddings")
        if not (np.isfinite(text).all() and np.isfinite(scale)):
            raise ValueError("it holds NaN or infinity")
        return text, scale
    except ValueError as error:
        raise corrupt(path, error) from None


_READ_ONLY: list[Path] = []


@contextmanager
def read_only(root: str | Path) -> Iterator[None]:
    """Forbid writing below a cache folder within the block: a record names it, and nobody typed it."""
    _READ_ONLY.append(expanded(root).absolute())
    try:
        yield
    finally:
        _READ_ONLY.pop()


@contextmanager
def cache_writes(path: Path) -> Iterator[None]:
    """Turn a failed write to a place in the cache into a `UserError`.

    Raises:
        UserError: the place cannot be written, or its cache is only read (see `read_only`).
    """
    if any(path.absolute().is_relative_to(root) for root in _READ_ONLY):
        raise UserError(
            f"{path.parent}: is only named by a record, so nothing is written there; add cache_dir=DIR, a cache of "
            "yours (the same folder, if you know it)"
        )
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path.parent}: the cache cannot be written ({error.strerror or error}); set cache_dir=DIR or "
            "MAGIQA_CACHE to a folder with room that you may write to"
        ) from None


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file of the cache whole or not at all.

    Raises:
        UserError: see `cache_writes`.
    """
    with cache_writes(path), replacing(path) as temporary:
        temporary.write_bytes(data)
