"""Per-view features on disk: written once, atomically, shard by shard; found by what shaped them.

Layout under ``cache_dir``::

    features/<key>/key.json              all that shaped these features
    features/<key>/<name>.safetensors    a shard: features (views, D), counts and controls (images, ...), and in its
                                         header the images' sha256 and a checksum of all this
    text/<key>.safetensors               embeddings (P, 2, D) of a prompt set, and the logit scale

An image is known by the sha256 of its file, so data sets, subsets and folders share features, and a changed file is
another image. Shards are never rewritten: several writers may fill one folder at once.
"""

import hashlib
import json
import os
import struct
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magiqa.controls import CONTROLS
from magiqa.errors import UserError

LEFTOVER_SECONDS = 3600.0


def key_hash(key: dict[str, Any]) -> str:
    """A short, stable name of a key: any field that differs gives another."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]


def content_sha256(data: bytes) -> str:
    """The identity of an image file."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Entry:
    """Where one image's features lie: a shard, and its rows [start, start + count)."""

    shard: Path
    start: int
    count: int
    controls: np.ndarray


def _checksum(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    """sha256 of the tensors and the metadata: a wrong image name is as bad as a wrong feature."""
    kept = {k: v for k, v in metadata.items() if k != "sha256"}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


class CorruptShard(UserError):
    """A shard cut short or changed since it was written: what ``prune`` removes as ``corrupt``."""


def _corrupt(path: Path, why: object) -> CorruptShard:
    return CorruptShard(
        f"{path}: this cache shard is corrupt ({why}); run `magiqa cache prune=corrupt` to remove it, "
        "then run again: everything else stays cached"
    )


_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64}


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
        raise _corrupt(path, " ".join(str(error).split()) or type(error).__name__) from None


def verify_shard(path: Path) -> None:
    """Check a shard against the checksum in its header.

    Raises:
        CorruptShard: they differ.
    """
    tensors, metadata = read_shard(path)
    if _checksum(tensors, metadata) != metadata.get("sha256"):
        raise _corrupt(path, "its content does not match its checksum")


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"{folder}: the cache cannot be written ({error.strerror or error}); set cache_dir=DIR or MAGIQA_CACHE "
        "to a folder with room that you may write to"
    )


def _write_atomically(path: Path, data: bytes) -> None:
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


def _serialised(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    from safetensors.numpy import save

    return save(tensors, metadata | {"sha256": _checksum(tensors, metadata)})


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
            raise _corrupt(shard, error) from None
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
        _write_atomically(self.folder / "key.json", json.dumps(self.key, indent=1, sort_keys=True).encode())

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
        _write_atomically(shard, _serialised(tensors, {"images": json.dumps(list(images))}))
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
    _write_atomically(text_path(root, key), _serialised(tensors, metadata))


def _read_key(path: Path) -> dict[str, Any]:
    try:  # for people only: features are found by the folder's name
        key = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return key if isinstance(key, dict) else {}


def _removable(folder: Path, pattern: str = "*") -> list[Path]:
    """Files of a folder, but for the temporary ones of writers at work: those are young."""

    def live(file: Path) -> bool:
        try:
            return file.suffix == ".tmp" and file.stat().st_mtime > time.time() - LEFTOVER_SECONDS
        except FileNotFoundError:  # renamed meanwhile: its shard is complete
            return True

    return [f for f in sorted(folder.glob(pattern)) if not live(f)]


def listing(root: str | Path) -> Iterable[dict[str, Any]]:
    """A row for each key in the cache: folder, key, shards, images, views, bytes, corrupt shards."""
    for folder in sorted(f for f in (Path(root).expanduser() / "features").glob("*") if f.is_dir()):
        shards = sorted(folder.glob("*.safetensors"))
        row: dict[str, Any] = {
            "name": folder.name,
            "key": _read_key(folder / "key.json"),
            "shards": len(shards),
            "images": 0,
            "views": 0,
            "bytes": sum(s.stat().st_size for s in shards),
            "unreadable": [],
            "leftovers": _removable(folder, ".*.tmp"),
        }
        for shard in shards:
            try:
                tensors, metadata = read_shard(shard)
                row["images"] += len(json.loads(metadata["images"]))
                row["views"] += len(tensors["features"])
            except (UserError, KeyError, ValueError, TypeError):
                row["unreadable"].append(shard)
        yield row


def prune(root: str | Path, what: str) -> tuple[int, int]:
    """Remove a key's features (by its name, or a beginning of it), every ``corrupt`` shard, or ``all``.

    Leftovers of writers that were killed go too.

    Returns:
        Files and bytes removed.

    Raises:
        UserError: no key, or several, begin with that name.
    """
    base = Path(root).expanduser()
    rows = list(listing(base))
    doomed: list[Path] = [f for row in rows for f in row["leftovers"]]
    doomed += _removable(base / "text", ".*.tmp")
    if what == "all":
        doomed += [f for row in rows for f in _removable(base / "features" / row["name"])]
        doomed += _removable(base / "text")
    elif what == "corrupt":
        shards = [s for row in rows for s in (base / "features" / row["name"]).glob("*.safetensors")]
        for shard in [*shards, *(base / "text").glob("*.safetensors")]:
            try:
                verify_shard(shard)
            except CorruptShard:
                doomed.append(shard)
    else:
        names = [row["name"] for row in rows if what and row["name"].startswith(what)]
        if len(names) != 1:
            raise UserError(
                f"cache: prune={what} names {len(names)} keys of {base}; see `magiqa cache` for their names"
            )
        doomed += _removable(base / "features" / names[0])
    doomed = list(dict.fromkeys(doomed))
    size = sum(f.stat().st_size for f in doomed)
    for file in doomed:
        file.unlink()
    for folder in {f.parent for f in doomed}:
        if not any(folder.iterdir()):
            folder.rmdir()
    return len(doomed), size
