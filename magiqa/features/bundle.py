"""A run in one file: features, labels, text embeddings and records, without images or weights.

A bundle is a shard of the feature cache (safetensors: ``features``, ``counts``, ``controls``) that also holds the
embeddings of prompt pairs (``text``, ``logit_scale``) and, in its header, labels, records, the resolved config and
the version of the code, as JSON. The same run gives the same bytes. Whoever has it reruns evaluations, ablations and
reports; whoever has the images and the weights too can verify it.
"""

import hashlib
import json
import os
import struct
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.errors import UserError
from magiqa.features.cache import FeatureCache
from magiqa.features.header import Header
from magiqa.features.key import key_hash
from magiqa.features.shard import read_shard, verify_shard
from magiqa.runs.record import read_as

FORMAT = 1

LABELS = ("name", "variant", "label", "higher_is_better", "cluster", "expected", "page", "layout", "every")

_TYPES = {"float64": "F64", "float32": "F32", "int64": "I64"}


def columns_of(table: pd.DataFrame) -> dict[str, Any]:
    """A table as JSON-able columns: name -> (kind, values); paths stay behind."""
    out: dict[str, Any] = {}
    for column in table.columns.drop("path"):
        values = table[column]
        kind = "float" if values.dtype.kind == "f" else "int" if values.dtype.kind in "iu" else "str"
        listed = [None if pd.isna(v) else v for v in values.tolist()]
        out[column] = [kind, listed if kind != "str" else [v if v is None else str(v) for v in listed]]
    return out


def write_bundle(
    path: Path,
    tensors: Mapping[str, tuple[np.dtype, tuple[int, ...], Iterable[np.ndarray]]],
    metadata: Mapping[str, str],
) -> None:
    """A safetensors file, streamed: never more than one image's features in memory; names in sorted order."""
    header: dict[str, Any] = {"__metadata__": {**metadata, "sha256": "0" * 64}}
    at = 0
    for name in sorted(tensors):
        dtype, shape, _ = tensors[name]
        size = int(np.prod(shape)) * dtype.itemsize
        header[name] = {"dtype": _TYPES[dtype.name], "shape": list(shape), "data_offsets": [at, at + size]}
        at += size

    def head(sha256: str) -> bytes:
        header["__metadata__"]["sha256"] = sha256
        data = json.dumps(header, sort_keys=True).encode()
        data += b" " * (-len(data) % 8)
        return struct.pack("<Q", len(data)) + data

    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
        with open(temporary, "wb") as file:
            file.write(head("0" * 64))
            for name in sorted(tensors):
                dtype, shape, blocks = tensors[name]
                digest.update(f"{name} {dtype.str} {shape}\n".encode())
                for block in blocks:
                    digest.update(block.data)
                    file.write(block.data)
            file.seek(0)
            file.write(head(digest.hexdigest()))
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"out={path}: cannot be written ({error.strerror or error}); give another out=FILE"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def read_header(path: str | Path) -> Header:
    """A bundle's header: everything but the tensors.

    Raises:
        UserError: the file is missing, cut short, or no bundle of a known format; a key is missing or holds something
            of another kind.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"bundle={path}: no such file; give one that magiqa pack wrote")
    try:
        meta = json.loads(read_shard(file)[1]["magiqa"])
        if not isinstance(meta, dict):
            raise ValueError
    except (UserError, KeyError, ValueError, RecursionError):
        raise UserError(
            f"bundle={path}: no bundle, or cut short; fetch it again or run magiqa pack anew"
        ) from None
    if meta.get("format") != FORMAT:
        raise UserError(f"bundle={path}: format {meta.get('format')!r:.60} is not known here; update magiqa")
    return read_as(Header, meta, f"bundle={path}")


def verify_bundle(path: str | Path) -> None:
    """Check a bundle's checksum.

    Raises:
        UserError: the file is missing, no bundle, or does not match.
    """
    read_header(path)
    try:
        verify_shard(Path(path).expanduser())
    except UserError:
        raise UserError(
            f"bundle={path}: its contents do not match its checksum; fetch it again or run magiqa pack anew"
        ) from None


class BundleCache(FeatureCache):
    """A bundle as the feature cache of its one key."""

    def __init__(self, path: Path, key: dict[str, Any]) -> None:
        self.key, self.name, self.folder = key, key_hash(key), path.parent
        self.only, self.entries = None, {}
        self._verified, self._indexed, self.width = set(), set(), None
        self._index(path)
