"""Per-view features on disk: written once, atomically, shard by shard; found by what shaped them.

Layout under ``cache_dir``::

    features/<key>/key.json              all that shaped these features
    features/<key>/<name>.safetensors    a shard: features (views, D), counts and controls (images, ...), and in its
                                         header the images' sha256 and a checksum of all this
    text/<key>.safetensors               embeddings (P, 2, D) of a prompt set, and the logit scale

An image is known by the sha256 of its file, so data sets, subsets and folders share features, and a changed file is
another image. Shards are never rewritten: several writers may fill one folder at once.
"""

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magiqa.errors import UserError
from magiqa.features.key import key_hash
from magiqa.features.shard import corrupt, read_shard, serialized, verify_shard, write_atomically
from magiqa.images.controls import CONTROLS


@dataclass(frozen=True)
class Entry:
    """Where one image's features lie: a shard, and its rows [start, start + count)."""

    shard: Path
    start: int
    count: int
    controls: np.ndarray


class FeatureCache:
    """The features of one key.

    Args:
        root: the cache folder. key: JSON-able dict of all that shapes a feature, the image's content apart.
    """

    def __init__(self, root: str | Path, key: dict[str, Any]) -> None:
        self.key = key
        self.name = key_hash(key)
        self.folder = Path(root).expanduser() / "features" / self.name
        self.entries: dict[str, Entry] = {}
        self._verified: set[Path] = set()
        for shard in sorted(self.folder.glob("*.safetensors")):
            self._index(shard)

    def _index(self, shard: Path) -> None:
        tensors, metadata = read_shard(shard)
        try:
            images = json.loads(metadata["images"])
            counts, controls = np.array(tensors["counts"]), np.array(tensors["controls"])
            if len(images) != len(counts) or counts.sum() != len(tensors["features"]):
                raise ValueError("its counts do not match its features")
        except (KeyError, ValueError, TypeError) as error:
            raise corrupt(shard, error) from None
        starts = np.cumsum(counts) - counts
        for image, start, count, control in zip(images, starts, counts, controls, strict=True):
            self.entries.setdefault(image, Entry(shard, int(start), int(count), control))

    def __contains__(self, image: str) -> bool:
        return image in self.entries

    def prepare(self) -> None:
        """Create the folder and write its key: an unwritable cache is found before hours of encoding.

        Raises:
            UserError: the folder cannot be written.
        """
        write_atomically(self.folder / "key.json", json.dumps(self.key, indent=1, sort_keys=True).encode())

    def write(self, images: Sequence[str], features: Sequence[np.ndarray], controls: np.ndarray) -> None:
        """Add a shard: the images' sha256, their features (V_i, D) and their controls (N, 4).

        Raises:
            UserError: the folder cannot be written; a feature is NaN or infinite.
        """
        if not all(np.isfinite(f).all() for f in features):
            raise UserError(
                "cache: a feature is NaN or infinite and is not stored; check the backbone's weights"
            )
        if not (self.folder / "key.json").exists():
            self.prepare()
        tensors: dict[str, np.ndarray] = {
            "features": np.ascontiguousarray(np.concatenate(features), np.float32),
            "counts": np.array([len(f) for f in features], np.int64),
            "controls": np.ascontiguousarray(controls, np.float64).reshape(len(images), len(CONTROLS)),
        }
        shard = self.folder / f"{int(time.time())}-{uuid.uuid4().hex[:12]}.safetensors"
        write_atomically(shard, serialized(tensors, {"images": json.dumps(list(images))}))
        self._index(shard)

    def blocks(self, images: Sequence[str], views: int = 4096) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Features of images in blocks of about that many views, straight from the mapped shards.

        Each shard's checksum is verified before its first use.

        Args:
            images: sha256 of each, all cached; any order, repeats allowed.

        Yields:
            owner (M,) int64, the position in ``images`` of each row, an image's rows together and in order; and
            the features (M, D) float32.

        Raises:
            CorruptShard: by its checksum.
        """
        at: dict[Path, list[int]] = {}
        for position, image in enumerate(images):
            at.setdefault(self.entries[image].shard, []).append(position)
        for shard, positions in at.items():
            if shard not in self._verified:
                verify_shard(shard)
                self._verified.add(shard)
            features = read_shard(shard)[0]["features"]
            positions.sort(key=lambda p: self.entries[images[p]].start)
            for chunk in _chunks(positions, [self.entries[images[p]].count for p in positions], views):
                entries = [self.entries[images[p]] for p in chunk]
                rows = np.concatenate([features[e.start : e.start + e.count] for e in entries])
                yield np.repeat(np.array(chunk), [e.count for e in entries]), rows


def _chunks(items: Sequence[int], sizes: Sequence[int], limit: int) -> Iterator[list[int]]:
    chunk: list[int] = []
    total = 0
    for item, size in zip(items, sizes, strict=True):
        if chunk and total + size > limit:
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += size
    if chunk:
        yield chunk


def text_path(root: str | Path, key: dict[str, Any]) -> Path:
    """Where the embeddings of a prompt set lie."""
    return Path(root).expanduser() / "text" / f"{key_hash(key)}.safetensors"


def read_text(root: str | Path, key: dict[str, Any]) -> tuple[np.ndarray, float] | None:
    """Cached embeddings (P, 2, D) and logit scale, or None."""
    path = text_path(root, key)
    if not path.is_file():
        return None
    verify_shard(path)
    tensors, _ = read_shard(path)
    return np.array(tensors["text"]), float(tensors["logit_scale"][0])


def write_text(root: str | Path, key: dict[str, Any], text: np.ndarray, logit_scale: float) -> None:
    """Cache embeddings (P, 2, D) and the logit scale."""
    tensors = {"text": np.ascontiguousarray(text, np.float32), "logit_scale": np.array([logit_scale])}
    metadata = {"key": json.dumps(key, sort_keys=True)}
    write_atomically(text_path(root, key), serialized(tensors, metadata))
