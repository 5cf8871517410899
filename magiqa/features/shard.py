"""One file of features: written atomically, read as memory-mapped arrays, known by its checksum."""

import hashlib
import json
import math
import os
import stat
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magiqa.errors import UserError


class CorruptShard(UserError):
    """A shard cut short or changed since it was written: what ``prune`` removes as ``corrupt``."""


def corrupt(path: Path, why: object) -> CorruptShard:
    """The error for a shard that is not what it was when written."""
    return CorruptShard(
        f"{path}: this cache shard is corrupt ({why}); run `magiqa cache prune=corrupt` to remove it, "
        "then run again: everything else stays cached"
    )


HEADER_BYTES = 256 << 20  # a bundle's names all images and labels there

_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64}


def _checksum(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    """sha256 of the tensors and the metadata: a wrong image name is as bad as a wrong feature."""
    kept = {k: v for k, v in metadata.items() if k != "sha256"}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def read_shard(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A safetensors file as memory-mapped arrays, and its metadata. Nothing is read but the header.

    Raises:
        CorruptShard: the file is cut short or no safetensors file, or its header states what the file does not hold.
            UserError: it cannot be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("no plain file")
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(status.st_size, HEADER_BYTES):
                raise ValueError("header longer than the file, or than any")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__")
        if not all(isinstance(v, str) for v in metadata.values()):
            raise ValueError("its metadata is not all text")
        tensors: dict[str, np.ndarray] = {}
        end = 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            dtype, shape, offsets = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
            if not all(type(n) is int and n >= 0 for n in (*shape, *offsets)) or len(shape) > 8:
                raise ValueError(f"{name} has a shape or place that is none")
            first, last = offsets
            if first != end or last - first != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{name} is not where or not of the size that its header states")
            tensors[name], end = _mapped(path, dtype, tuple(shape), 8 + length + first), last
        if status.st_size != 8 + length + end:
            raise ValueError("not of the size its header states")
        return tensors, metadata
    except FileNotFoundError:
        raise UserError(f"{path}: this cache shard was removed meanwhile; run again") from None
    except OSError as error:
        raise UserError(
            f"{path}: this cache shard cannot be read ({error.strerror or error}); make it readable, or set "
            "cache_dir=DIR or MAGIQA_CACHE to another folder"
        ) from None
    except Exception as error:  # a damaged header may hold anything
        raise corrupt(path, " ".join(str(error).split())[:200] or type(error).__name__) from None


def _mapped(path: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int) -> np.ndarray:
    if not math.prod(shape):
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, mode="r", offset=offset, shape=shape)


def _expect(
    tensors: dict[str, np.ndarray], name: str, dtype: type, shape: tuple[int | None, ...]
) -> np.ndarray:
    """A tensor of a type and shape; None in it stands for any length."""
    if name not in tensors:
        raise ValueError(f"it holds no {name}")
    array = tensors[name]
    if array.dtype != dtype or array.ndim != len(shape):
        raise ValueError(f"its {name} are {array.dtype} of {array.ndim} dimensions")
    if any(want not in (None, is_) for want, is_ in zip(shape, array.shape, strict=True)):
        raise ValueError(f"its {name} are of the shape {array.shape}")
    return array


@dataclass(frozen=True)
class FeatureShard:
    """A shard of features, its types and shapes checked: features (views, D), counts (N,), controls (N, 4).

    Args:
        images: sha256 of each. maker: as its header says, unread.
    """

    images: list[str]
    features: np.ndarray
    counts: np.ndarray
    controls: np.ndarray
    maker: Any


def read_features(path: Path, controls: int) -> FeatureShard:
    """A shard of features; its header, counts and controls are read.

    Args:
        controls: how many there are of an image.

    Raises:
        CorruptShard: a tensor is missing, of another type or shape, or not as many as its images.
    """
    tensors, metadata = read_shard(path)
    try:
        images = json.loads(metadata.get("images", "null"))
        if not isinstance(images, list) or not all(isinstance(i, str) for i in images):
            raise ValueError("it names no images")
        features = _expect(tensors, "features", np.float32, (None, None))
        counts = np.array(_expect(tensors, "counts", np.int64, (len(images),)))
        values = np.array(_expect(tensors, "controls", np.float64, (len(images), controls)))
        if (counts < 1).any() or sum(counts.tolist()) != len(
            features
        ):  # a sum of Python's, which cannot wrap
            raise ValueError("its counts do not match its features")
        if not np.isfinite(values).all():
            raise ValueError("its controls hold NaN or infinity")
        return FeatureShard(images, features, counts, values, json.loads(metadata.get("maker", "null")))
    except (ValueError, RecursionError) as error:
        raise corrupt(path, error) from None


def read_text_shard(
    path: Path, pairs: int | None = None, width: int | None = None
) -> tuple[np.ndarray, float]:
    """Embeddings (pairs, 2, D) and the logit scale; None: any number of them, any width D.

    Raises:
        CorruptShard: a tensor is missing, of another type or shape, or not finite; the file's checksum differs.
    """
    verify_shard(path)
    return text_of(path, pairs, width)


def text_of(path: Path, pairs: int | None = None, width: int | None = None) -> tuple[np.ndarray, float]:
    """As `read_text_shard`, of a file whose checksum was verified."""
    tensors, _ = read_shard(path)
    try:
        text = np.array(_expect(tensors, "text", np.float32, (pairs, 2, width)))
        scale = float(_expect(tensors, "logit_scale", np.float64, (1,))[0])
        if not (np.isfinite(text).all() and np.isfinite(scale)):
            raise ValueError("it holds NaN or infinity")
        return text, scale
    except ValueError as error:
        raise corrupt(path, error) from None


def verify_features(path: Path, controls: int) -> FeatureShard:
    """Check a shard of features: types, shapes, its checksum, and that every feature is finite.

    Raises:
        CorruptShard: see `read_features` and `verify_shard`.
    """
    shard = read_features(path, controls)
    verify_shard(path)
    step = max(1, (1 << 22) // max(1, shard.features.shape[1]))
    if not all(
        np.isfinite(shard.features[at : at + step]).all() for at in range(0, len(shard.features), step)
    ):
        raise corrupt(path, "its features hold NaN or infinity")
    return shard


def verify_shard(path: Path) -> None:
    """Check a shard against the checksum in its header.

    Raises:
        CorruptShard: they differ.
    """
    tensors, metadata = read_shard(path)
    if _checksum(tensors, metadata) != metadata.get("sha256"):
        raise corrupt(path, "its content does not match its checksum")


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"{folder}: the cache cannot be written ({error.strerror or error}); set cache_dir=DIR or MAGIQA_CACHE "
        "to a folder with room that you may write to"
    )


_READ_ONLY: list[Path] = []


@contextmanager
def read_only(root: str | Path) -> Iterator[None]:
    """Nothing is written below a cache folder in the block: one that a record names, and nobody typed."""
    _READ_ONLY.append(Path(root).expanduser().absolute())
    try:
        yield
    finally:
        _READ_ONLY.pop()


def check_writable(path: Path) -> None:
    """Whether a place in the cache may be written.

    Raises:
        UserError: it is in a cache that is only read, see `read_only`.
    """
    if any(path.absolute().is_relative_to(root) for root in _READ_ONLY):
        raise UserError(
            f"{path.parent}: is only named by a record, so nothing is written there; add cache_dir=DIR, a cache of "
            "yours (the same folder, if you know it)"
        )


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file beside its place, then rename it: it is there whole or not at all."""
    check_writable(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path.parent, error) from None


def serialized(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """Tensors and metadata as a safetensors file with its checksum."""
    from safetensors.numpy import save

    return save(tensors, metadata | {"sha256": _checksum(tensors, metadata)})
