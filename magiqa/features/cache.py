"""Per-view features on disk: written once, atomically, shard by shard; found by what shaped them.

Layout under ``cache_dir``::

    features/<key>/key.json              all that shaped these features
    features/<key>/<name>.safetensors    a shard: features (views, D), counts and controls (images, ...), and in its
                                         header the images' sha256, who made it, and a checksum of all this
    text/<key>.safetensors               embeddings (P, 2, D) of a prompt set, and the logit scale

An image is known by the sha256 of its file, so data sets, subsets and folders share features, and a changed file is
another image. Shards are never rewritten: several writers may fill one folder at once. Where an image is there twice,
the shard that comes first by name counts, the older one: the same for every reader, and for good.
"""

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magiqa.errors import UserError
from magiqa.features.key import SHARING, Maker, key_hash, own_key, shared
from magiqa.features.shard import (
    corrupt,
    read_features,
    read_shard,
    read_text_shard,
    serialized,
    verify_features,
    write_atomically,
)
from magiqa.images.controls import CONTROLS


@dataclass(frozen=True)
class Entry:
    """Where one image's features lie: a shard, and its rows [start, start + count); who made them, where known."""

    shard: Path
    start: int
    count: int
    controls: np.ndarray
    maker: Maker | None


class FeatureCache:
    """The features of one key, and of the maker's own key beside it.

    Args:
        root: the cache folder. key: JSON-able dict of all that shapes a feature, image and maker apart.
        maker: who asks and writes; None: all features are one.
        cache_engine: ``any``: features of the shared key count whoever made them; ``same``: only the maker's own.

    Attributes:
        key, name, folder: the one looked up first: the shared key for float32, the maker's own for half precision.
    """

    def __init__(
        self, root: str | Path, key: dict[str, Any], maker: Maker | None = None, cache_engine: str = "any"
    ) -> None:
        self.root = Path(root).expanduser() / "features"
        self.maker = maker
        self.only = maker if cache_engine == "same" else None
        keys = (
            [key] if maker is None else [key, own_key(key, maker)] if shared(key) else [own_key(key, maker)]
        )
        self.keys = {key_hash(k): k for k in keys}
        self.name, self.key = next(iter(self.keys.items()))
        self.folder = self.root / self.name
        self.max_error: float | None = None
        self.entries: dict[str, Entry] = {}
        self._verified: set[Path] = set()
        self._indexed: set[Path] = set()
        self.width: int | None = None
        self.refresh()

    def refresh(self) -> None:
        """Take in what other writers added meanwhile."""
        for name in self.keys:
            for shard in sorted((self.root / name).glob("*.safetensors")):
                if shard not in self._indexed:
                    self._index(shard)

    def _index(self, shard: Path) -> None:
        held = read_features(shard, len(CONTROLS))
        images, counts, controls, made = held.images, held.counts, held.controls, held.maker
        try:
            maker = Maker(made["engine"], made["device"]) if made else None
            hash(maker)
        except (KeyError, TypeError) as error:
            raise corrupt(shard, error) from None
        if self.width not in (None, held.features.shape[1]):
            raise corrupt(shard, f"features of {held.features.shape[1]} numbers beside those of {self.width}")
        self.width = held.features.shape[1]
        self._indexed.add(shard)
        if self.only not in (None, maker):
            return
        starts = np.cumsum(counts) - counts
        for image, start, count, control in zip(images, starts, counts, controls, strict=True):
            there = self.entries.get(image)
            if there is None or self._rank(shard) < self._rank(there.shard):
                self.entries[image] = Entry(shard, int(start), int(count), control, maker)

    def _rank(self, shard: Path) -> tuple[bool, str]:
        return shard.parent != self.folder, shard.name

    def verified(self, max_error: float) -> None:
        """Say how far the maker's features are from plain float32 torch: past `SHARING` they go to its own key."""
        self.max_error = max_error

    @property
    def target(self) -> str:
        """The key that new features go to."""
        missed = self.max_error is not None and not self.max_error <= SHARING
        return list(self.keys)[-1] if missed else self.name

    def made_by(self, images: Iterable[str]) -> list[dict[str, Any]]:
        """How many of the images' features each maker made."""
        counts = Counter(self.entries[i].maker for i in images)
        rows = [
            {**(asdict(m) if m else {"engine": None, "device": None}), "images": n} for m, n in counts.items()
        ]
        return sorted(rows, key=lambda row: (str(row["engine"]), str(row["device"])))

    def __contains__(self, image: str) -> bool:
        return image in self.entries

    def prepare(self) -> None:
        """Create the folder and write its key: an unwritable cache is found before hours of encoding.

        Raises:
            UserError: the folder cannot be written.
        """
        key = json.dumps(self.keys[self.target], indent=1, sort_keys=True)
        write_atomically(self.root / self.target / "key.json", key.encode())

    def write(self, images: Sequence[str], features: Sequence[np.ndarray], controls: np.ndarray) -> None:
        """Add a shard: the images' sha256, their features (V_i, D) and their controls (N, 4).

        Raises:
            UserError: the folder cannot be written; a feature is NaN or infinite.
        """
        if not all(np.isfinite(f).all() for f in features):
            raise UserError(
                "cache: a feature is NaN or infinite and is not stored; check the backbone's weights"
            )
        folder = self.root / self.target
        if not (folder / "key.json").exists():
            self.prepare()
        tensors: dict[str, np.ndarray] = {
            "features": np.ascontiguousarray(np.concatenate(features), np.float32),
            "counts": np.array([len(f) for f in features], np.int64),
            "controls": np.ascontiguousarray(controls, np.float64).reshape(len(images), len(CONTROLS)),
        }
        made = asdict(self.maker) | {"max_error": self.max_error} if self.maker else None
        shard = folder / f"{int(time.time())}-{uuid.uuid4().hex[:12]}.safetensors"
        write_atomically(
            shard, serialized(tensors, {"images": json.dumps(list(images)), "maker": json.dumps(made)})
        )
        self._index(shard)

    def blocks(self, images: Sequence[str], views: int = 4096) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Features of images in blocks of about that many views, straight from the mapped shards.

        Each shard's checksum is verified, and its features are finite, before its first use.

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
                verify_features(shard, len(CONTROLS))
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
    """Cached embeddings (P, 2, D) and logit scale, or None.

    Raises:
        CorruptShard: they are not those of the key's prompt pairs and architecture, or not as written.
    """
    path = text_path(root, key)
    if not path.is_file():
        return None
    pairs, architecture = key.get("pairs"), key.get("architecture", {})
    return read_text_shard(path, None if pairs is None else len(pairs), architecture.get("embed_dim"))


def write_text(root: str | Path, key: dict[str, Any], text: np.ndarray, logit_scale: float) -> None:
    """Cache embeddings (P, 2, D) and the logit scale."""
    tensors = {"text": np.ascontiguousarray(text, np.float32), "logit_scale": np.array([logit_scale])}
    metadata = {"key": json.dumps(key, sort_keys=True)}
    write_atomically(text_path(root, key), serialized(tensors, metadata))
