"""A run in one file: features, labels, text embeddings and records, without images or weights.

A bundle is a shard of the feature cache (safetensors: ``features``, ``counts``, ``controls``) that also holds the
embeddings of prompts (``text``, ``logit_scale``) and, in its header, labels, records, the resolved config and the
version of the code, as JSON. The same run gives the same bytes. Whoever has it reruns evaluations, ablations and
reports; whoever has the images and the weights too can verify it.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from magiqa.errors import UserError
from magiqa.features.cache import Shards
from magiqa.features.header import Header
from magiqa.features.shard import Blocks, read_shard, read_text_shard, verify_shard, write_shard
from magiqa.package import expanded
from magiqa.runs.record import read_as

FORMATS = (1, 2)  # of which the last is written


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, its checksum verified.

    Args:
        path: the file. header: everything but the tensors. features: by sha256.
    """

    path: Path
    header: Header
    features: Shards

    def text(self) -> tuple[np.ndarray, float]:
        """Return its text features (T, D) and the logit scale."""
        return read_text_shard(self.path, len(self.header.text_names), self.features.width)


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle. A process verifies a file once.

    Raises:
        UserError: the file is missing, damaged or no bundle of a known format; a key is missing or holds something
            of another kind.
    """
    file = expanded(path)
    if not file.is_file():
        raise UserError(f"bundle={path}: no such file; give one that magiqa pack wrote")
    status = os.stat(file)
    return _opened(str(path), file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _opened(path: str, file: Path, size: int, mtime_ns: int) -> Bundle:
    again = "fetch it again or run magiqa pack anew"
    try:
        meta = json.loads(read_shard(file)[1]["magiqa"])
        if not isinstance(meta, dict):
            raise ValueError
    except (UserError, KeyError, ValueError, RecursionError):
        raise UserError(f"bundle={path}: no bundle, or cut short; {again}") from None
    if meta.get("format") not in FORMATS:
        raise UserError(f"bundle={path}: format {meta.get('format')!r:.60} is not known here; update magiqa")
    header = read_as(Header, meta, f"bundle={path}")
    try:
        verify_shard(file)
    except UserError:
        raise UserError(f"bundle={path}: its contents do not match its checksum; {again}") from None
    features = Shards(dict(header.key))
    features.index(file)
    lacking = next((image for image in header.images if image not in features), None)
    if lacking is not None:
        raise UserError(f"bundle={path}: holds no features of its image {lacking[:64]!r}; pack it anew")
    return Bundle(file, header, features)


def write_bundle(
    path: Path,
    meta: dict[str, Any],
    features: Shards,
    images: Sequence[str],
    text: np.ndarray,
    logit_scale: float,
) -> None:
    """Write a bundle; never more than one block of features is in memory.

    Raises:
        UserError: the file cannot be written.
    """
    unique = list(dict.fromkeys(images))
    entries = [features.entries[image] for image in unique]
    counts = np.array([entry.count for entry in entries], np.int64)
    rows = (np.ascontiguousarray(features.rows(image)) for image in unique)
    try:
        write_shard(
            path,
            {
                "controls": np.stack([entry.controls for entry in entries]).astype(np.float64),
                "counts": counts,
                "features": Blocks(np.dtype(np.float32), (int(counts.sum()), text.shape[-1]), rows),
                "logit_scale": np.array([logit_scale], np.float64),
                "text": text.astype(np.float32)[:, None],
            },
            {
                "images": json.dumps(unique),
                "magiqa": json.dumps({"format": FORMATS[-1], **meta}, sort_keys=True, allow_nan=False),
            },
        )
    except OSError as error:
        raise UserError(
            f"out={path}: cannot be written ({error.strerror or error}); give another out=FILE"
        ) from None
