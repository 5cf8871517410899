"""One file of features: written atomically, read as memory-mapped arrays, known by its checksum."""

import hashlib
import json
import os
import struct
import uuid
from pathlib import Path

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
        CorruptShard: the file is cut short or no safetensors file. UserError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError("header longer than the file")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__")
        size = max(entry["data_offsets"][1] for entry in header.values())
        if path.stat().st_size != 8 + length + size:
            raise ValueError("not of the size its header states")
        tensors: dict[str, np.ndarray] = {}
        for name, entry in header.items():
            dtype, shape, (start, end) = _DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
            if end - start != np.prod(shape) * np.dtype(dtype).itemsize:
                raise ValueError(f"{name} is not of the size its shape states")
            tensors[name] = (
                np.memmap(path, dtype, mode="r", offset=8 + length + start, shape=shape)
                if end > start
                else np.zeros(shape, dtype)
            )
        return tensors, metadata
    except FileNotFoundError:
        raise UserError(f"{path}: this cache shard was removed meanwhile; run again") from None
    except OSError as error:
        raise UserError(
            f"{path}: this cache shard cannot be read ({error.strerror or error}); make it readable, or set "
            "cache_dir=DIR or MAGIQA_CACHE to another folder"
        ) from None
    except Exception as error:  # a damaged header may hold anything
        raise corrupt(path, " ".join(str(error).split()) or type(error).__name__) from None


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


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file beside its place, then rename it: it is there whole or not at all."""
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
