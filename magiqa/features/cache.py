"""Per-view features on disk: written once, atomically, shard by shard; found by what shaped them.

Layout under ``cache_dir``::

    features/<key>/key.json              all that shaped these features
    features/<key>/<name>.safetensors    a shard: features (views, D), counts and controls (images, ...), and in its
                                         header the images' sha256, who made it, and a checksum of all this
    text/<key>.safetensors               embeddings of a prompt set, and the logit scale: see `magiqa.features.text`

Engines that agree share one key: a float32 feature that was verified against plain float32 torch within `SHARING` is
the same feature whatever engine and device made it. What misses that, and half precision, whose features differ by
percents between devices, has keys of its own by engine and device.

An image is known by the sha256 of its file (and by alpha and orientation where they change it). So data sets, subsets
and folders share features, and a changed file is another image. Shards are never rewritten: several writers may fill
one folder at once. Where an image is there twice, the folder and then the name decides which counts: the same for every
reader, and for good.
"""

import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import Weights
from magiqa.engines.engine import Resolved
from magiqa.features.shard import (
    cache_writes,
    read_features,
    read_shard,
    verify_features,
    write_atomically,
    write_shard,
)
from magiqa.images.controls import CONTROLS
from magiqa.images.views import Resize, Views
from magiqa.package import expanded

FEATURE_VERSION = 3  # raise it when a change of code changes features: old caches are then never hit

SHARING = 5e-6  # of |f - f_torch| / |f_torch|: the same for all engines and devices, whatever each may tolerate itself


@dataclass(frozen=True)
class Maker:
    """The maker of a feature: an engine on a kind of device (``cpu``, ``cuda``, ``mps``)."""

    engine: str
    device: str

    @classmethod
    def of(cls, resolved: Resolved) -> "Maker":
        """The maker that a resolved engine is; one GPU is like another.

        Example:
            >>> Maker.of(Resolved("torch", "fp32", "cuda:1"))
            Maker(engine='torch', device='cuda')
        """
        return cls(resolved.engine, resolved.kind)


def feature_key(
    backbone: Backbone, weights: Weights, views: Views, resize: Resize | None, precision: str
) -> dict[str, Any]:
    """All that shapes a feature, the image's content and its maker apart."""
    return {
        "version": FEATURE_VERSION,
        "weights_sha256": weights.sha256,
        "architecture": {k: weights.config[k] for k in sorted(weights.config)},
        "activation": "quickgelu" if weights.quickgelu else "gelu",
        "positional_embedding": backbone.positional_embedding,
        "precision": precision,
        "mean": list(weights.mean),
        "std": list(weights.std),
        "decode": "pillow rgb, no exif rotation",
        "resize": asdict(resize) if resize is not None else None,
        "views": views.plain(),
    }


def own_key(key: dict[str, Any], maker: Maker) -> dict[str, Any]:
    """The key of features that one maker shares with nobody."""
    return key | {"maker": asdict(maker)}


def key_hash(key: dict[str, Any]) -> str:
    """A short, stable name of a key: any field that differs gives another."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]


class MemoryStore:
    """Features in memory, for programs that score a few images and want nothing written."""

    def __init__(self) -> None:
        self.features: dict[str, np.ndarray] = {}
        self.controls: dict[str, np.ndarray] = {}

    def __contains__(self, image: str) -> bool:
        return image in self.features

    def prepare(self) -> None:
        """Do nothing: nothing is written."""

    def write(self, images: Sequence[str], features: Sequence[np.ndarray], controls: np.ndarray) -> None:
        """Keep images' features (V_i, D) and controls (N, 4)."""
        self.features.update(zip(images, features, strict=True))
        self.controls.update(zip(images, controls, strict=True))

    def blocks(self, images: Sequence[str], most: int = 256) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield owner and rows of some images at a time."""
        for start in range(0, len(images), most):
            parts = [self.features[image] for image in images[start : start + most]]
            owner = np.repeat(np.arange(start, start + len(parts)), [len(p) for p in parts])
            yield owner, np.concatenate(parts)


@dataclass(frozen=True)
class Entry:
    """The place of one image's features: a shard, and its rows [start, start + count); their maker, if known."""

    shard: Path
    start: int
    count: int
    controls: np.ndarray
    maker: Maker | None


class Shards:
    """Features in some files of one kind.

    Args:
        key: all that shaped them.

    Attributes:
        entries: the place of each image's features. width: numbers a feature has.
    """

    folder: Path | None = None  # files in it come before others
    only: Maker | None = None  # features of other makers do not count

    def __init__(self, key: dict[str, Any]) -> None:
        self.key, self.width = key, width_of(key)
        self.entries: dict[str, Entry] = {}
        self._indexed: set[Path] = set()
        self._verified: set[Path] = set()

    def __contains__(self, image: str) -> bool:
        return image in self.entries

    def index(self, path: Path) -> None:
        """Take in a file's images.

        Raises:
            CorruptShard: see `read_features`; its maker is none.
        """
        shard = read_features(path, self.width)
        maker = Maker(shard.maker["engine"], shard.maker["device"]) if shard.maker else None
        self.width = shard.features.shape[1]
        self._indexed.add(path)
        if self.only not in (None, maker):
            return
        starts = np.cumsum(shard.counts) - shard.counts
        for image, start, count, controls in zip(
            shard.images, starts, shard.counts, shard.controls, strict=True
        ):
            before = self.entries.get(image)
            if before is None or self._rank(path) < self._rank(before.shard):
                self.entries[image] = Entry(path, int(start), int(count), controls, maker)

    def _rank(self, path: Path) -> tuple[bool, str]:
        return path.parent != self.folder, path.name

    def rows(self, image: str) -> np.ndarray:
        """Return the features (V, D) of an image."""
        return next(self.blocks([image]))[1]

    def blocks(self, images: Sequence[str], views: int = 4096) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield features of images in blocks of about that many views, straight from the mapped files.

        Each file is verified before its first use.

        Args:
            images: sha256 of each, all cached; any order, repeats allowed.

        Yields:
            owner (M,) int64, the position in ``images`` of each row, an image's rows together and in order; and
            the features (M, D) float32.

        Raises:
            CorruptShard: see `verify_features`.
        """
        by_shard: dict[Path, list[int]] = {}
        for position, image in enumerate(images):
            by_shard.setdefault(self.entries[image].shard, []).append(position)
        for shard, positions in by_shard.items():
            if shard not in self._verified:
                verify_features(shard)
                self._verified.add(shard)
            features = read_shard(shard)[0]["features"]
            positions.sort(key=lambda p: self.entries[images[p]].start)
            ends = np.cumsum([self.entries[images[p]].count for p in positions])
            for chunk in np.split(positions, np.flatnonzero(np.diff((ends - 1) // views)) + 1):
                entries = [self.entries[images[p]] for p in chunk]
                rows = np.concatenate([features[e.start : e.start + e.count] for e in entries])
                yield np.repeat(chunk, [e.count for e in entries]), rows

    def made_by(self, images: Iterable[str]) -> list[dict[str, Any]]:
        """Return how many of the images' features each maker made."""
        counts = Counter(self.entries[i].maker for i in images)
        rows = [
            {**(asdict(m) if m else {"engine": None, "device": None}), "images": n} for m, n in counts.items()
        ]
        return sorted(rows, key=lambda row: (str(row["engine"]), str(row["device"])))


class FeatureCache(Shards):
    """The features of one key, and of the maker's own key beside it.

    Args:
        root: the cache folder. key: JSON-able dict of all that shapes a feature, image and maker apart.
        maker: who asks and writes; None: all features are one.
        cache_engine: ``any``: features of the shared key count whoever made them; ``same``: only the maker's own.

    Attributes:
        key, name, folder: the one looked up first: the shared key for float32, the maker's own for half precision.
        max_error: the engine's distance from plain float32 torch; past `SHARING`, features go to the maker's own key.
    """

    def __init__(
        self, root: str | Path, key: dict[str, Any], maker: Maker | None = None, cache_engine: str = "any"
    ) -> None:
        super().__init__(key)
        self.root = expanded(root) / "features"
        self.maker = maker
        self.only = maker if cache_engine == "same" else None
        keys = [] if maker is None else [own_key(key, maker)]
        if maker is None or key.get("precision") == "fp32":  # which count whoever made them
            keys.insert(0, key)
        self.keys = {key_hash(k): k for k in keys}
        self.name, self.key = next(iter(self.keys.items()))
        self.folder = self.root / self.name
        self.max_error: float | None = None
        self.refresh()

    def refresh(self) -> None:
        """Take in what other writers added meanwhile."""
        for name in self.keys:
            for shard in sorted((self.root / name).glob("*.safetensors")):
                if shard not in self._indexed:
                    self.index(shard)

    @property
    def target(self) -> str:
        """The key that new features go to."""
        missed = self.max_error is not None and not self.max_error <= SHARING
        return list(self.keys)[-1] if missed else self.name

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
            UserError: the folder cannot be written.
        """
        folder = self.root / self.target
        if not (folder / "key.json").exists():
            self.prepare()
        made = asdict(self.maker) | {"max_error": self.max_error} if self.maker else None
        shard = folder / f"{int(time.time())}-{uuid.uuid4().hex[:12]}.safetensors"
        with cache_writes(shard):
            write_shard(
                shard,
                {
                    "features": np.concatenate(features).astype(np.float32),
                    "counts": np.array([len(f) for f in features], np.int64),
                    "controls": controls.astype(np.float64).reshape(len(images), len(CONTROLS)),
                },
                {"images": json.dumps(list(images)), "maker": json.dumps(made)},
            )
        self.index(shard)


def width_of(key: dict[str, Any]) -> int | None:
    """Return how many numbers a feature of a key has, where the key says it."""
    architecture = key.get("architecture")
    return architecture.get("embed_dim") if isinstance(architecture, dict) else None


Store = FeatureCache | MemoryStore
