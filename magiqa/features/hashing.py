"""Image files in, their identity out: every byte read once, not every time.

An index in the cache remembers the sha256 of a file by its path, size, mtime, ctime and inode, as git's index does. It
is a folder of files that are written once and never changed, so that any number of writers may fill it at once; a file
that does not match its own checksum counts as not there. Layout: ``hashes/<name of the root>/<name>.json``.
"""

import hashlib
import json
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from magiqa.errors import UnreadableImage, UserError
from magiqa.features.shard import cache_writes, write_atomically
from magiqa.images.decode import LIMITS, Limits, changes, read_image, traits
from magiqa.package import expanded

RACY_NS = 2_000_000_000  # of file systems that keep time by the second or two: what changed since may look unchanged
SAVE_SECONDS = 60.0
MOST_FILES = 32  # then they are merged into one

State = tuple[str, int, int, int, int]  # path, size, mtime_ns, ctime_ns, inode


def identity(data: bytes, limits: Limits = LIMITS) -> str:
    """Return an image's identity in the cache: the file's sha256, another one where an option changes its pixels."""
    return _identity(content_sha256(data), traits(data), limits)


def _identity(sha256: str, names: str, limits: Limits) -> str:
    changed = changes(names, limits)
    return content_sha256(f"{sha256} {changed}".encode()) if changed else sha256


def content_sha256(data: bytes) -> str:
    """The identity of an image file."""
    return hashlib.sha256(data).hexdigest()


def state_of(path: str) -> State | None:
    """Return the stat fields that show a change of a file, except within `RACY_NS`. None: there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return path, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


class HashIndex:
    """The sha256 of image files, of those that changed since they were read anew.

    A file that changed in the last two seconds before it was read is not remembered: it may change once more without
    a change of its times. Time is that of the cache's disk where its clock is behind this machine's.

    Args:
        cache_dir: the cache folder; None: nothing is remembered, here or there.
        root: of the images; each has an index of its own.
        rehash: read every file, whatever is remembered. limits: what they make of an image is part of its identity.

    Attributes:
        read, bytes: files and bytes read. known: files whose sha256 came from the index.
        traits: how many files have which `magiqa.images.decode.traits`.
        warning: why nothing is remembered, or None.
    """

    def __init__(
        self, cache_dir: str | Path | None, root: str | Path, *, rehash: bool = False, limits: Limits = LIMITS
    ) -> None:
        self.limits = limits
        self.traits: Counter[str] = Counter()
        self.root = os.path.abspath(expanded(root))
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:20]
        self.folder = expanded(cache_dir) / "hashes" / name if cache_dir is not None else None
        self.read = self.bytes = self.known = 0
        self.warning: str | None = None
        self._found: dict[State, str] = {}
        self._new: dict[State, str] = {}
        self._saved = time.monotonic()
        self._behind: int | None = None
        self._lock = threading.Lock()
        if self.folder is not None and not rehash:
            for file in self.folder.glob("*.json"):
                self._found.update(_entries(file) or {})

    def sha256(self, path: str) -> str:
        """The identity of a file. Threads may call it side by side.

        Raises:
            UnreadableImage: the file is missing or unreadable.
        """
        path = os.path.abspath(path)
        before, start = state_of(path), self._now()
        known = self._found.get(before) if before else None
        data = read_image(path) if known is None else b""
        entry = f"{content_sha256(data)} {traits(data)}" if known is None else known
        sha, _, names = entry.partition(" ")
        keep = known is None and before is not None and state_of(path) == before and not _racy(before, start)
        with self._lock:
            self.known += known is not None
            self.read += known is None
            self.bytes += len(data)
            if keep and before is not None:
                self._new[before] = entry
            self.traits.update(names.split())
        return _identity(sha, names, self.limits)

    def save(self) -> None:
        """Write what is new; merge the files where there are many. A cache that cannot be written is no error."""
        with self._lock:
            new, self._new, self._saved = self._new, {}, time.monotonic()
        if not new or self.folder is None:
            return
        try:
            _write(self.folder, new)
            files = sorted(self.folder.glob("*.json"))
            if len(files) > MOST_FILES:
                read = {file: _entries(file) for file in files}
                merged = {state: sha for entries in read.values() for state, sha in (entries or {}).items()}
                _write(self.folder, merged)
                for file in read:  # whoever lists them still reads those files anew at worst
                    file.unlink(missing_ok=True)
        except (OSError, UserError) as error:
            self.warning = (
                f"hashes of the images are not remembered, the next command reads them again: {error}"
            )

    def save_now_and_then(self) -> None:
        """Save what a killed command would lose otherwise."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def _now(self) -> int:
        """Nanoseconds by the slower of this machine's clock and that of the cache's disk."""
        if self.folder is None:
            return time.time_ns()
        if self._behind is None:
            probe = self.folder / f".{uuid.uuid4().hex[:12]}.tmp"
            behind = 0
            with suppress(UserError), cache_writes(probe):
                self.folder.mkdir(parents=True, exist_ok=True)
                probe.touch()
                behind = max(0, time.time_ns() - probe.stat().st_mtime_ns)
                probe.unlink()
            self._behind = behind
        return time.time_ns() - self._behind


def _racy(state: State, start: int) -> bool:
    """Tell if a file read from ``start`` on may still change and keep its times."""
    _, _, mtime, ctime, _ = state
    return ctime + RACY_NS >= start or abs(mtime - start) <= RACY_NS


def _write(folder: Path, entries: dict[State, str]) -> None:
    body = json.dumps([[*state, sha] for state, sha in entries.items()]).encode()
    file = folder / f"{int(time.time())}-{uuid.uuid4().hex[:12]}.json"
    write_atomically(file, content_sha256(body).encode() + b"\n" + body)


def _entries(file: Path) -> dict[State, str] | None:
    """Return the entries of an index file; None if it is gone, cut short or changed."""
    try:
        checksum, _, body = file.read_bytes().partition(b"\n")
        if content_sha256(body).encode() != checksum:
            return None
        entries = {
            (p, size, mtime, ctime, inode): entry for p, size, mtime, ctime, inode, entry in json.loads(body)
        }
        return {
            state: entry for state, entry in entries.items() if " " in entry
        }  # of older versions: no traits
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def hash_files(
    paths: Sequence[str], on_error: str, index: HashIndex
) -> tuple[list[str | None], dict[int, str]]:
    """sha256 of each file, None for those that cannot be read, and why, by position. A path there twice is read once.

    Raises:
        UnreadableImage: a file cannot be read and ``on_error`` is not ``skip``.
    """

    def one(path: str) -> str | UnreadableImage:
        try:
            return index.sha256(path)
        except UnreadableImage as error:
            return error

    unique = list(dict.fromkeys(paths))
    found: dict[str, str | UnreadableImage] = {}
    try:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for path, result in zip(unique, pool.map(one, unique), strict=True):
                if isinstance(result, UnreadableImage) and on_error != "skip":
                    pool.shutdown(cancel_futures=True)
                    raise result
                found[path] = result
                index.save_now_and_then()
    finally:
        index.save()
    results = [found[path] for path in paths]
    failed = {i: str(r) for i, r in enumerate(results) if isinstance(r, UnreadableImage)}
    return [None if isinstance(r, UnreadableImage) else r for r in results], failed
