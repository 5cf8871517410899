"""The images of a data set that are present and readable, each known by its sha256, and their features."""

import hashlib
import json
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.datasets.base import Labels, fingerprint
from magiqa.errors import UnreadableImage, UserError
from magiqa.features.cache import MemoryStore, Shards
from magiqa.features.shard import write_atomically
from magiqa.images.controls import CONTROLS
from magiqa.images.decode import LIMITS, Limits, changes, images_in, picture_notes, read_image, traits
from magiqa.method.prompts import PromptSet
from magiqa.method.rivals import Reference, Rival
from magiqa.package import expanded
from magiqa.runs.config import RunConfig
from magiqa.runs.record import LabelFacts

RACY_NS = 60_000_000_000  # what changed since may look unchanged: coarse times, and the late clock of a network disk
SAVED = 2000  # files between two saves of the index: what a killed command may lose

State = tuple[str, int, int, int, int]  # path, size, mtime_ns, ctime_ns, inode


def content_sha256(data: bytes) -> str:
    """The identity of an image file."""
    return hashlib.sha256(data).hexdigest()


def identity(data: bytes, limits: Limits = LIMITS) -> str:
    """Return an image's identity in the cache: the file's sha256, another one where an option changes its pixels."""
    return _identity(content_sha256(data), traits(data), limits)


def _identity(sha256: str, names: str, limits: Limits) -> str:
    changed = changes(names, limits)
    return content_sha256(f"{sha256} {changed}".encode()) if changed else sha256


class HashIndex:
    """The sha256 of image files, of those that changed since they were read anew.

    An index in the cache remembers the sha256 of a file by its path, size, mtime, ctime and inode, as git's index does.
    It is a folder of files that are written once and never changed, so that any number of writers may fill it at once;
    a file that does not match its own checksum counts as not there. An image that changed in the last minute before
    it was read is not remembered: it may change once more without a change of its times. Layout:
    ``hashes/<name of the root>/<name>.json``.

    Args:
        cache_dir: the cache folder.
        root: of the images; each has an index of its own.
        rehash: read every file, whatever is remembered. limits: what they make of an image is part of its identity.

    Attributes:
        read: files read. known: files whose sha256 came from the index.
        traits: how many files have which `magiqa.images.decode.traits`.
        warning: why nothing is remembered, or None.
    """

    def __init__(
        self, cache_dir: str | Path, root: str | Path, *, rehash: bool = False, limits: Limits = LIMITS
    ) -> None:
        self.limits = limits
        self.traits: Counter[str] = Counter()
        name = content_sha256(os.fsencode(os.path.abspath(expanded(root))))[:20]
        self.folder = expanded(cache_dir) / "hashes" / name
        self.read = self.known = 0
        self.warning: str | None = None
        self._entries: dict[State, str] = {}
        self._new: dict[State, str] = {}
        self._lock = threading.Lock()
        if not rehash:
            for file in self.folder.glob("*.json"):
                self._entries.update(_entries(file))

    def sha256(self, path: str) -> str:
        """The identity of a file. Threads may call it side by side.

        Raises:
            UnreadableImage: the file is missing or unreadable.
        """
        path = os.path.abspath(path)
        before, start = _state(path), time.time_ns()
        entry, data = self._entries.get(before) if before else None, b""
        if entry is None:
            data = read_image(path)
            entry = f"{content_sha256(data)} {traits(data)}"
        sha, _, names = entry.partition(" ")
        with self._lock:
            self.known += not data
            self.read += bool(data)
            self.traits.update(names.split())
            if data and before is not None and _state(path) == before and not _racy(before, start):
                self._new[before] = entry
        return _identity(sha, names, self.limits)

    def save(self) -> None:
        """Write what is new. A cache that cannot be written is no error."""
        with self._lock:
            new, self._new = self._new, {}
        if not new:
            return
        body = json.dumps([[*state, entry] for state, entry in new.items()]).encode()
        file = self.folder / f"{int(time.time())}-{uuid.uuid4().hex[:12]}.json"
        try:
            write_atomically(file, content_sha256(body).encode() + b"\n" + body)
        except UserError as error:
            self.warning = (
                f"hashes of the images are not remembered, the next command reads them again: {error}"
            )


def _state(path: str) -> State | None:
    """Return the stat fields that show a change of a file, except within `RACY_NS`. None: there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _racy(state: State, start: int) -> bool:
    """Tell if a file read from ``start`` on may still change and keep its times."""
    _, _, mtime, ctime, _ = state
    return ctime + RACY_NS >= start or abs(mtime - start) <= RACY_NS


def _entries(file: Path) -> dict[State, str]:
    """Return the entries of an index file; none if it is gone, cut short or changed."""
    try:
        checksum, _, body = file.read_bytes().partition(b"\n")
        rows = json.loads(body) if content_sha256(body).encode() == checksum else []
        # without a space: of older versions, which knew no traits
        return {tuple(state): entry for *state, entry in rows if " " in entry}
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def hash_files(
    paths: Sequence[str], on_error: str, index: HashIndex
) -> tuple[list[str | None], dict[int, str]]:
    """sha256 of each file, None for those that cannot be read, and why, by position. A path there twice is read once.

    Raises:
        UnreadableImage: a file cannot be read and ``on_error`` is not ``skip``.
    """

    def hashed(path: str) -> tuple[str | None, str]:
        try:
            return index.sha256(path), ""
        except UnreadableImage as error:
            if on_error != "skip":
                raise
            return None, str(error)

    unique = list(dict.fromkeys(paths))
    results: dict[str, tuple[str | None, str]] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(unique), SAVED):
            part = unique[start : start + SAVED]
            try:
                results |= zip(part, pool.map(hashed, part), strict=True)
            finally:
                index.save()
    failed = {i: results[path][1] for i, path in enumerate(paths) if results[path][0] is None}
    return [results[path][0] for path in paths], failed


@dataclass(frozen=True)
class Images:
    """The images of a data set that take part.

    Args:
        table: rows of the labels' table, one an image. sha256: of each. skipped: name and reason of the others.
    """

    table: pd.DataFrame
    sha256: list[str]
    skipped: list[dict[str, str]] = field(default_factory=list)

    def without(self, bad: Mapping[str, str]) -> "Images":
        """Leave out images by sha256, each with its reason. Two names may have one content."""
        left = [sha not in bad for sha in self.sha256]
        skipped = [
            {"image": name, "reason": f"{path or name}: {bad[sha]}"}
            for name, path, sha in zip(self.table["image"], self.table["path"], self.sha256, strict=True)
            if sha in bad
        ]
        return Images(
            self.table[left].reset_index(drop=True),
            [sha for sha in self.sha256 if sha not in bad],
            self.skipped + skipped,
        )

    def record(self, labels: Labels, dataset: Any) -> dict[str, Any]:
        """Return a record's ``dataset``: of the labels, their reader and these images."""
        resize = getattr(dataset, "resize", None)
        return {
            **{f.name: getattr(labels, f.name) for f in fields(LabelFacts)},
            "root": str(expanded(getattr(dataset, "root", "")).absolute()),
            "n": len(self.sha256),
            "n_annotated": len(labels.table),
            "notes": list(labels.notes),
            "resize": asdict(resize) if resize else None,
            "fingerprint": fingerprint(labels),
            "images_sha256": hashlib.sha256("\n".join(self.sha256).encode()).hexdigest(),
            "skipped": list(self.skipped),
        }


def of_part(paths: pd.Series, part: str | None) -> pd.Series:
    """Return which rows belong to ``I/N``: every N-th file from the I-th on, so that no two parts read the same."""
    if part is None:
        return pd.Series(True, index=paths.index)
    first, step = (int(v) for v in part.split("/"))
    return paths.isin(list(paths.drop_duplicates())[first - 1 :: step])


def find_images(job: RunConfig, labels: Labels, index: HashIndex) -> Images:
    """Hash the files of the labels' images.

    Raises:
        UnreadableImage: an image is missing or cannot be read, and ``on_error`` is ``raise``.
    """
    table = labels.table.reset_index(drop=True)
    absent = table.index[table["path"] == ""]
    if len(absent) and job.source.on_error != "skip":
        names = ", ".join(table.loc[absent[:3], "image"])
        raise UnreadableImage(
            f"dataset {labels.name}: {len(absent)} of {len(table)} annotated images are missing "
            f"under {getattr(job.source.dataset, 'root', '')} ({names}{', ...' if len(absent) > 3 else ''}); complete "
            f"the set from {labels.page or 'its source'}, or use on_error=skip to list and leave out"
        )
    present = table.index[table["path"] != ""]
    present = present[of_part(table.loc[present, "path"], job.source.part)]
    hashes, failed = hash_files(list(table.loc[present, "path"]), job.source.on_error, index)
    reasons = {int(i): "not found" for i in absent} | {int(present[i]): why for i, why in failed.items()}
    sha_of = dict(zip(present, hashes, strict=True))
    rows = [i for i in present if i not in reasons]
    skipped = [{"image": table.loc[i, "image"], "reason": reasons[i]} for i in sorted(reasons)]
    return Images(table.loc[rows].reset_index(drop=True), [str(sha_of[i]) for i in rows], skipped)


@dataclass
class ScorableFeatures:
    """Features of images, as scoring reads them.

    Args:
        table: a row an image; the column ``image`` has its name. images: the identity of each row. cache: holds all.
        kinds: of the views that an image's rows are of, in their order.
        text: for a prompt set, its text features (T, D) and the logit scale. reference: for a cue that compares with
            reference images, the statistics of their features.
    """

    table: pd.DataFrame
    images: list[str]
    cache: Shards | MemoryStore
    kinds: tuple[str, ...]
    text: Callable[[PromptSet], tuple[np.ndarray, float]]
    reference: Callable[[Rival], Reference] | None = None


@dataclass(kw_only=True)
class Features(ScorableFeatures):
    """Features of a data set's images, in the cache, with what they came from.

    Args:
        labels: of the data set. record: what the run's record says of all this, and of each image left out.
    """

    cache: Shards
    reference: Callable[[Rival], Reference]
    labels: Labels
    record: dict[str, Any]

    @property
    def controls(self) -> pd.DataFrame:
        """Width, height, bytes and Laplacian variance a row."""
        values = np.stack([self.cache.entries[i].controls for i in self.images])
        return pd.DataFrame(values, columns=list(CONTROLS)).astype({c: int for c in CONTROLS[:3]})


def reference_folder(rival: Rival) -> Path:
    """Return the folder of a rival's reference images.

    Raises:
        UserError: there is none.
    """
    folder = expanded(rival.statistics_from or "")
    if not rival.statistics_from or not folder.is_dir():
        raise UserError(
            f"magnitude.statistics_from={rival.statistics_from}: magnitude={rival.kind} needs a folder of undistorted "
            "images; give magnitude.statistics_from=FOLDER"
        )
    return folder


def reference_statistics(
    job: RunConfig,
    store: Shards,
    encode: Callable[..., tuple[int, dict[str, str]]],
    evaluated: Collection[str],
    record: dict[str, Any],
    warn: Callable[[str], object],
    rival: Rival,
) -> Reference:
    """Return the statistics of a rival's reference images, and describe these in the record.

    Args:
        encode: paths and sha256 of images into the store. evaluated: sha256 of the data set's images.
        warn: takes a remark on images that are left out.

    Raises:
        UserError: the folder holds no images, or one that is evaluated.
    """
    folder = reference_folder(rival)
    paths = images_in(folder, recursive=True)
    index = HashIndex(job.machine.cache_dir, folder, rehash=job.machine.rehash, limits=job.source.limits)
    hashes, _ = hash_files(paths, job.source.on_error, index)
    for remark in (*picture_notes(index.traits, index.limits), *filter(None, [index.warning])):
        warn(f"reference images: {remark}")
    names = {sha: path for path, sha in zip(paths, hashes, strict=True) if sha}
    if both := [path for sha, path in names.items() if sha in evaluated]:
        raise UserError(
            f"magnitude.statistics_from={folder}: {len(both)} of its images are evaluated too (first {both[0]}); give "
            "other images"
        )
    _, bad = encode(names.values(), list(names))
    images = sorted(sha for sha in names if sha not in bad)
    if not images:
        raise UserError(f"magnitude.statistics_from={folder}: holds no images; give a folder with some")
    if left_out := hashes.count(None) + len(bad):
        warn(f"{left_out} of {len(paths)} reference images left out (on_error=skip)")
    reference = Reference.of(len(images), lambda: (rows for _, rows in store.blocks(images)))
    digest = hashlib.sha256("\n".join(images).encode()).hexdigest()
    record["reference"] = reference.facts() | {"images_sha256": digest, "skipped": left_out}
    return reference
