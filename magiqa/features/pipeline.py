"""Image files in, cached features out: the pipeline that keeps the engine busy.

Decoding and cutting run in threads beside the engine's own; views of different images share micro-batches, padded to
one size, so that an image's features do not depend on what else is in the batch; finished images go to the cache shard
by shard, off the critical path, so that a killed run loses at most a minute, and one that is asked to stop nothing.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from typing import Any, Protocol

import numpy as np

from magiqa.errors import UnreadableImage, UserError
from magiqa.features.batches import Batches, Encoder, OpenImage, Way, way_of
from magiqa.features.hashing import content_sha256
from magiqa.features.progress import Reporter
from magiqa.images.controls import controls
from magiqa.images.decode import LIMITS, Limits, open_image, read_image
from magiqa.images.views import Pixels, Resize, Views
from magiqa.progress import progress_bar
from magiqa.stop import unbroken

SHARD_BYTES = 64 << 20

# between two shards: at first, then doubled up to the last, so that a job killed every minute gets on too
SHARD_SECONDS = (5.0, 60.0)

PREFETCHED_VIEWS = 64  # of one image, cut in a worker; a larger image's others are cut as they are needed


class Store(Protocol):
    """Where finished images go: the cache on disk, or memory."""

    def __contains__(self, image: str) -> bool:
        """Whether it holds an image's features already."""
        ...

    def prepare(self) -> None:
        """Find out before hours of encoding whether it can be written."""
        ...

    def write(self, images: Sequence[str], features: Sequence[np.ndarray], controls: np.ndarray) -> None:
        """Take images' features (V_i, D) and controls (N, 4)."""
        ...


Load = Callable[[Any, str], tuple[Pixels, np.ndarray]]


def load_file(path: str, sha256: str, limits: Limits = LIMITS) -> tuple[Pixels, np.ndarray]:
    """Decode an image file that is known by its sha256: the image, its controls."""
    data = read_image(path)
    if content_sha256(data) != sha256:
        raise UserError(
            f"{path}: its content changed since it was hashed; run again when it is at rest, with rehash=true"
        )
    image = open_image(data, path, limits)
    return image, controls(image, len(data))


def _load(
    way: Way,
    load: Load,
    item: Any,
    sha256: str,
    views: Views,
    resize: Resize | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    limits: Limits,
) -> tuple[OpenImage, Iterator[Sequence[Any]]]:
    pixels, known = load(item, sha256)
    blocks = way.cut(pixels, views, resize, name=str(item), mean=mean, std=std, limits=limits)
    ready: list[Sequence[Any]] = []
    while sum(map(len, ready)) < PREFETCHED_VIEWS and (block := next(blocks, None)) is not None:
        ready.append(block)
    return OpenImage(str(item), sha256, known), chain(ready, blocks)


class _Shards:
    """Writes finished images to the cache in a thread of its own, a shard at a time."""

    def __init__(self, cache: Store) -> None:
        self.cache = cache
        self.pool = ThreadPoolExecutor(1)
        self.writing: Future[None] | None = None
        self.images: list[OpenImage] = []
        self.bytes = 0
        self.since = time.monotonic()
        self.wait, self.longest = SHARD_SECONDS

    def add(self, image: OpenImage) -> None:
        """Take a finished image; start a shard when enough has gathered."""
        self.images.append(image)
        self.bytes += sum(f.nbytes for f in image.features.values())
        if self.bytes >= SHARD_BYTES or time.monotonic() - self.since >= self.wait:
            self.flush()

    def flush(self) -> None:
        """Hand the gathered images to the writer."""
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()
        if self.images:
            images, self.images, self.bytes, self.since = self.images, [], 0, time.monotonic()
            self.wait = min(2 * self.wait, self.longest)
            self.writing = self.pool.submit(self._write, images)

    def _write(self, images: list[OpenImage]) -> None:
        self.cache.write(
            [i.sha256 for i in images],
            [np.stack([i.features[v] for v in range(i.cut)]) for i in images],
            np.stack([i.controls for i in images]),
        )

    def close(self) -> None:
        """Write the rest and wait for it."""
        with ExitStack() as closing:
            closing.callback(self.pool.shutdown)
            closing.callback(
                self.flush
            )  # waits for the rest, or hands it over where an earlier error kept it
            self.flush()


def fill_cache(
    cache: Store,
    wanted: Sequence[tuple[Any, str]],
    build_engine: Callable[[], Encoder],
    *,
    views: Views,
    resize: Resize | None = None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    workers: int = 2,
    on_error: str = "raise",
    skippable: type[UserError] = UnreadableImage,
    load: Load = load_file,
    limits: Limits = LIMITS,
    progress: bool = True,
    report: Reporter | None = None,
) -> tuple[int, dict[str, str]]:
    """Encode the images that the cache lacks.

    Args:
        cache: filled in place. wanted: (path, sha256) of each image; those cached already cost nothing.
        build_engine: called once, and only if something is missing.
        on_error: ``raise`` at the first unreadable image, or ``skip`` and report it. Either way, and when stopped
            by hand, what was encoded stays cached. skippable: what is wrong with an image that may be skipped.
        load: reads what ``wanted`` names, where that is no path; its ``str`` is its name in messages.
        limits: of the pixels of what views are cut from.
        report: is told how far it is.

    Returns:
        The number of views encoded, and why an image was skipped, by sha256.

    Raises:
        UnreadableImage: see ``on_error``. UserError: an image too small for its views, an unwritable cache.
    """
    missing = {sha: path for path, sha in reversed(wanted) if sha not in cache}
    todo = list(reversed(missing.items()))
    images = len({sha for _, sha in wanted})
    if report:
        report.begin(images, images - len(todo))
    if not todo:
        return 0, {}
    cache.prepare()
    engine = build_engine()
    way = way_of(engine, views.window)
    batches, shards = Batches(engine, way, views.window), _Shards(cache)
    open_images: deque[OpenImage] = deque()
    skipped: dict[str, str] = {}
    encoded, there = 0, images - len(todo)

    def finished() -> None:
        nonlocal encoded, there
        while open_images and open_images[0].complete and len(open_images[0].features) == open_images[0].cut:
            image = open_images.popleft()
            encoded, there = encoded + image.cut, there + 1
            shards.add(image)
            bar.update()
            if report:
                report.encoded(there, images, encoded)
            bar.set_postfix_str(
                f"{encoded / max(bar.format_dict['elapsed'], 1e-9):.1f} views/s", refresh=False
            )

    queue: deque[tuple[str, Future[tuple[OpenImage, Iterator[Sequence[Any]]]]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    bar = progress_bar(total=len(todo), desc="encode", unit="image", shown=progress, smoothing=0.05)
    with ExitStack() as closing:
        # The last first, and each even if the one before it is interrupted: nothing that is encoded gets lost.
        closing.callback(bar.close)
        if report:
            closing.callback(report.write)
        closing.callback(shards.close)
        closing.callback(finished)
        closing.callback(batches.close)
        closing.callback(pool.shutdown, cancel_futures=True)
        pending = iter(todo)

        def feed() -> None:
            for sha, path in islice(pending, max(0, workers + 2 - len(queue))):
                queue.append(
                    (sha, pool.submit(_load, way, load, path, sha, views, resize, mean, std, limits))
                )

        def take(sha: str, future: Future[tuple[OpenImage, Iterator[Sequence[Any]]]]) -> None:
            try:
                image, blocks = future.result()
            except UserError as error:
                if on_error != "skip" or not isinstance(error, skippable):
                    raise
                skipped[sha] = str(error)
                bar.update()
                return
            open_images.append(image)
            for block in blocks:
                batches.add(image, block)
            image.complete = True
            finished()

        feed()
        try:
            while queue:
                with unbroken():  # a command asked to stop does so between two images
                    first = queue.popleft()
                    feed()
                    take(*first)
        except (UserError, KeyboardInterrupt, SystemExit):
            batches.run()  # the images before wait there complete
            batches.wait()
            raise
        batches.run()
        batches.wait()
    return encoded, skipped
