"""Image files in, cached features out: the pipeline that keeps the engine busy.

Threads decode and cut images beside the engine's own; views of different images share micro-batches, padded to one
size, so that an image's features do not depend on what else is in the batch. Finished images go to the cache shard by
shard, off the critical path. A killed run loses at most a minute, a stopped one nothing.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from magiqa.errors import UserError
from magiqa.features.batches import Batches, Encoder, OpenImage, way_of
from magiqa.features.cache import Store
from magiqa.features.hashing import identity
from magiqa.images.controls import controls
from magiqa.images.decode import LIMITS, Limits, open_image, read_image
from magiqa.images.views import CLIP_MEAN, CLIP_STD, Pixels, Resize, Views
from magiqa.progress import progress_bar
from magiqa.stop import unbroken

SHARD_BYTES = 64 << 20

# between two shards: at first, then doubled up to the last, so that a job killed every minute gets on too
SHARD_SECONDS = (5.0, 60.0)

PREFETCHED_VIEWS = 64  # of one image, cut in a worker; a larger image's others are cut as they are needed

Load = Callable[[Any, str], tuple[Pixels, np.ndarray]]

Cut = tuple[OpenImage, Iterator[Sequence[Any]]]


@dataclass(frozen=True)
class Recipe:
    """The way from an image's pixels to normalized views.

    Args:
        resize: the data set's own, before views are cut. mean, std: the backbone's. limits: of the pixels of what
            views are cut from.
    """

    views: Views
    resize: Resize | None = None
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    limits: Limits = LIMITS


def load_file(path: str, sha256: str, limits: Limits = LIMITS) -> tuple[Pixels, np.ndarray]:
    """Decode an image file that is known by its sha256; return the image and its controls."""
    data = read_image(path)
    if identity(data, limits) != sha256:
        raise UserError(
            f"{path}: its content changed since it was hashed; run again when it is at rest, with rehash=true"
        )
    image = open_image(data, path, limits)
    return image, controls(image, len(data))


class _Shards:
    """A writer of finished images to the cache, in a thread of its own, a shard at a time."""

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


class _Filling:
    """One pass over the images that a cache lacks.

    Attributes:
        encoded: views so far. skipped: reasons by sha256.
    """

    def __init__(self, store: Store, engine: Encoder, recipe: Recipe, load: Load, bar: Any) -> None:
        size = recipe.views.window
        self.recipe, self.load, self.way, self.bar = recipe, load, way_of(engine, size), bar
        self.batches, self.shards = Batches(engine, self.way, size), _Shards(store)
        self.open: deque[OpenImage] = deque()
        self.encoded = 0
        self.skipped: dict[str, str] = {}

    def cut(self, item: Any, sha256: str) -> Cut:
        """Decode an image and cut its first views, in a worker's thread."""
        pixels, measured = self.load(item, sha256)
        r = self.recipe
        blocks = self.way.cut(
            pixels, r.views, r.resize, name=str(item), mean=r.mean, std=r.std, limits=r.limits
        )
        ready: list[Sequence[Any]] = []
        while sum(map(len, ready)) < PREFETCHED_VIEWS and (block := next(blocks, None)) is not None:
            ready.append(block)
        return OpenImage(str(item), sha256, measured), chain(ready, blocks)

    def take(self, image: OpenImage, blocks: Iterable[Sequence[Any]]) -> None:
        """Send an image's views to the engine."""
        self.open.append(image)
        for block in blocks:
            self.batches.add(image, block)
        image.complete = True
        self.collect()

    def collect(self) -> None:
        """Hand the finished images to the cache, in their order."""
        while self.open and self.open[0].complete and len(self.open[0].features) == self.open[0].cut:
            image = self.open.popleft()
            self.encoded += image.cut
            self.shards.add(image)
            self.bar.update()
            seconds = self.bar.format_dict["elapsed"] or 1
            self.bar.set_postfix_str(f"{self.encoded / seconds:.1f} views/s", refresh=False)

    def skip(self, sha256: str, reason: str) -> None:
        """Leave an image out."""
        self.skipped[sha256] = reason
        self.bar.update()

    def flush(self) -> None:
        """Wait until every view that was handed over is encoded."""
        self.batches.run()
        self.batches.wait()


def _ahead(
    pool: ThreadPoolExecutor, cut: Callable[[Any, str], Cut], todo: dict[str, Any], depth: int
) -> Iterator[tuple[str, Future[Cut]]]:
    """Yield images in order while ``depth`` of them are decoded in advance."""
    queue: deque[tuple[str, Future[Cut]]] = deque()
    for sha, item in todo.items():
        queue.append((sha, pool.submit(cut, item, sha)))
        if len(queue) > depth:
            yield queue.popleft()
    while queue:
        yield queue.popleft()


def fill_cache(
    store: Store,
    wanted: Sequence[tuple[Any, str]],
    build_engine: Callable[[], Encoder],
    recipe: Recipe,
    *,
    workers: int = 2,
    skippable: type[UserError] | tuple[()] = (),
    load: Load | None = None,
    progress: bool = True,
) -> tuple[int, dict[str, str]]:
    """Encode the images that the cache lacks; those it has cost nothing.

    Args:
        wanted: (path, sha256) of each image. build_engine: called once, and only if something is missing.
        skippable: the errors of an image that leave it out instead of ending the run.
        load: reads what ``wanted`` names, where that is no path; its ``str`` is its name in messages.

    Returns:
        The number of views encoded, and why images were skipped, by sha256, without their names.

    Raises:
        UserError: an image that cannot be read or is too small for its views, an unwritable cache. What was encoded
            before stays cached, as it does when the command is stopped.
    """
    todo: dict[str, Any] = {}
    for item, sha in wanted:
        if sha not in store:
            todo.setdefault(sha, item)
    if not todo:
        return 0, {}
    store.prepare()
    engine, load = build_engine(), load or partial(load_file, limits=recipe.limits)
    bar = progress_bar(total=len(todo), desc="encode", unit="image", shown=progress, smoothing=0.05)
    filling = _Filling(store, engine, recipe, load, bar)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    with ExitStack() as closing:
        # the last first, and each even if the one before it is interrupted: nothing that is encoded gets lost
        closing.callback(bar.close)
        closing.callback(filling.shards.close)
        closing.callback(filling.collect)
        closing.callback(filling.batches.close)
        closing.callback(pool.shutdown, cancel_futures=True)
        try:
            for sha, future in _ahead(pool, filling.cut, todo, workers + 1):
                with unbroken():  # a command asked to stop does so between two images
                    try:
                        image, blocks = future.result()
                    except skippable as error:
                        filling.skip(sha, str(error).removeprefix(f"{todo[sha]}: "))
                        continue
                    filling.take(image, blocks)
        finally:
            filling.flush()
    return filling.encoded, filling.skipped
