"""Where a launched task stands, in a file for whoever watches it."""

import json
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 2.0  # between two writes


@dataclass(frozen=True)
class Standing:
    """What the attempts of one task say: images done and to do, views encoded, seconds spent encoding."""

    done: int = 0
    images: int = 0
    views: int = 0
    seconds: float = 0.0


class Reporter:
    """Writes the standing of this process, its own file an attempt: a requeued task begins another.

    Args:
        folder: of the task.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.json"
        self.before: dict[str, Any] = {"done": 0, "images": 0, "views": 0, "seconds": 0.0}
        self.now = dict(self.before)
        self.written = self.begun = 0.0

    def begin(self, images: int, cached: int) -> None:
        """A set is about to be encoded: so many images, so many of them there already."""
        self.begun = time.monotonic()
        self.before = self.now
        self._set(images, cached, 0)
        self.write()

    def encoded(self, done: int, images: int, views: int) -> None:
        """So many of the images are done now, and so many views were encoded for it."""
        self._set(images, done, views)
        if time.monotonic() - self.written > SECONDS:
            self.write()

    def _set(self, images: int, done: int, views: int) -> None:
        self.now = {
            "done": self.before["done"] + done,
            "images": self.before["images"] + images,
            "views": self.before["views"] + views,
            "seconds": self.before["seconds"] + time.monotonic() - self.begun,
        }

    def write(self) -> None:
        """Write it; a disk that is full shows elsewhere."""
        self.written = time.monotonic()
        temporary = self.file.with_suffix(".tmp")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self.now))
            temporary.replace(self.file)
        except OSError:
            return


_reporter: Reporter | None = None


def report_to(folder: Path | None) -> None:
    """From now on this process says in that folder how far it is; None: nowhere."""
    global _reporter
    _reporter = Reporter(folder) if folder is not None else None


def reporter() -> Reporter | None:
    """Who reports for this process, if anybody."""
    return _reporter


def standing(folder: Path) -> Standing:
    """What the attempts of a task add up to: the last one's images, and the views of all."""
    attempts = [found for file in sorted(folder.glob("*.json")) if (found := _read(file))]
    if not attempts:
        return Standing()
    last = attempts[-1]
    return Standing(last["done"], last["images"], _sum(attempts, "views"), _sum(attempts, "seconds"))


def _sum(attempts: Iterable[dict[str, Any]], key: str) -> Any:
    return sum(a[key] for a in attempts)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
        return found if {"done", "images", "views", "seconds"} <= found.keys() else {}
    except (OSError, ValueError, AttributeError):
        return {}
