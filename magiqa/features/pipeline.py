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
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from magiqa.engines.engine import Engine, out_of_memory
from magiqa.errors import UserError
from magiqa.features.cache import Store
from magiqa.features.images import identity
from magiqa.images.controls import controls
from magiqa.images.decode import LIMITS, Limits, open_image, read_image
from magiqa.images.views import CLIP_MEAN, CLIP_STD, Pixels, Resize, Views, cut
from magiqa.progress import progress_bar
from magiqa.stop import unbroken

SHARD_BYTES = 64 << 20

# between two shards: at first, then doubled up to the last, so that a job killed every minute gets on too
SHARD_SECONDS = (5.0, 60.0)

PREFETCHED_VIEWS = 64  # of one image, cut in a worker; a larger image's others are cut as they are needed

Load = Callable[[Any, str], tuple[Pixels, np.ndarray]]


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


@dataclass
class OpenImage:
    """An image on its way: its features arrive view by view."""

    path: str
    sha256: str
    controls: np.ndarray
    features: dict[int, np.ndarray] = field(default_factory=dict)
    cut: int = 0  # views handed to the batches so far
    complete: bool = False  # all of its views are cut


Cut = tuple[OpenImage, Iterable[Sequence[Any]]]


def load_file(path: str, sha256: str, limits: Limits = LIMITS) -> tuple[Pixels, np.ndarray]:
    """Decode an image file that is known by its sha256; return the image and its controls."""
    data = read_image(path)
    if identity(data, limits) != sha256:
        raise UserError(
            f"{path}: its content changed since it was hashed; run again when it is at rest, with rehash=true"
        )
    image = open_image(data, path, limits)
    return image, controls(image, len(data))


class Batches:
    """Packs views of all images into micro-batches, and has the engine's threads fill in their images' features.

    At most two batches a stream, or one whole image a stream, are on their way, so that memory is bounded. An engine
    that makes views on its own device has a ``way``, whose ``cut`` and ``encode`` are used. A view is what ``cut``
    yields, with the ``shape`` (3, H, W) that it has or will have; ``size`` is that of windows.
    """

    def __init__(self, engine: Engine, size: int) -> None:
        self.engine, self.shape = engine, (3, size, size)
        way = getattr(engine, "way", None)
        self.encode = way.encode if way else lambda views: engine(np.stack(views))
        self.pool = ThreadPoolExecutor(engine.streams, thread_name_prefix="encode")
        self.flying: deque[Future[None]] = deque()
        self.views: list[tuple[OpenImage, int, Any]] = []  # of the next batch, with their places

    def add(self, image: OpenImage, block: Sequence[Any]) -> None:
        """Take views of one image; those of another size than a window (whole images) run alone."""
        for view in block:
            place = (image, image.cut, view)
            image.cut += 1
            if view.shape != self.shape:
                self._submit(1, [place])
                continue
            self.views.append(place)
            if len(self.views) == self.engine.batch_size:
                self.run()

    def run(self) -> None:
        """Hand over the batch as it is, full or not."""
        if self.views:
            self._submit(2, self.views)
            self.views = []

    def wait(self) -> None:
        """Until all that was handed over is encoded.

        Raises:
            The first error of an engine's thread, here and in ``add`` and ``run``.
        """
        while self.flying:
            self.flying.popleft().result()

    def close(self) -> None:
        """Finish what was begun, whatever came of it, and end the threads."""
        self.pool.shutdown(cancel_futures=True)

    def _submit(self, each: int, batch: list[tuple[OpenImage, int, Any]]) -> None:
        while len(self.flying) >= each * self.engine.streams:
            self.flying.popleft().result()
        self.flying.append(self.pool.submit(self._encode, batch))

    def _encode(self, batch: list[tuple[OpenImage, int, Any]]) -> None:
        image, _, view = batch[0]
        try:
            features = self.encode([view for _, _, view in batch])
        except (RuntimeError, MemoryError) as error:
            if view.shape != self.shape:
                raise _cannot_encode(image.path, f"{view.shape[2]}x{view.shape[1]}", error) from error
            if not out_of_memory(error):
                raise
            raise UserError(
                f"out of memory with batches of {self.engine.batch_size} views; end what else fills it, or use "
                f"batch_size={max(1, self.engine.batch_size // 2)}, or device=cpu"
            ) from error
        if not np.isfinite(features).all():
            raise UserError(
                "backbone: a feature is NaN or infinite; with precision=fp16 use bf16 or fp32, otherwise check "
                "the weights"
            )
        for (image, index, _), feature in zip(batch, features, strict=True):
            image.features[index] = feature


def _cannot_encode(path: str, size: str, error: Exception) -> UserError:
    """Return the error for a whole image: it is too large, or smaller than a stride or a positional embedding."""
    if out_of_memory(error):
        return UserError(
            f"{path}: out of memory with the whole image of {size}; use device=cpu, a smaller dataset.resize, or "
            "windows and global views"
        )
    reason = str(error).strip().split("\n")[-1].strip()  # OpenVINO names its source files first
    return UserError(
        f"{path}: the backbone cannot encode it whole at {size} ({reason}); it may be too small, or of another size "
        "than a positional embedding that is not dropped: use windows or global views"
    )


class _Filling(ExitStack):
    """One pass over the images that a cache lacks; a thread writes the finished ones, a shard at a time.

    As a context it finishes at its end what was begun. Each step is taken even if the one before it is interrupted, so
    that nothing that is encoded gets lost.

    Attributes:
        encoded: views so far. skipped: reasons by sha256.
    """

    def __init__(
        self, store: Store, engine: Engine, recipe: Recipe, load: Load, workers: int, bar: Any
    ) -> None:
        super().__init__()
        self.store, self.recipe, self.load, self.bar = store, recipe, load, bar
        way = getattr(engine, "way", None)
        self.cut_views = way.cut if way else cut
        self.batches = Batches(engine, recipe.views.window)
        self.decoders = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self.open: deque[OpenImage] = deque()
        self.encoded = 0
        self.skipped: dict[str, str] = {}
        self.writer = ThreadPoolExecutor(1)
        self.writing: Future[None] | None = None
        self.finished: list[OpenImage] = []
        self.bytes, self.since, self.pause = 0, time.monotonic(), SHARD_SECONDS[0]
        self.callback(bar.close)  # the last first
        self.callback(self.writer.shutdown)
        self.callback(self.save)  # waits for the rest, or hands it over where an earlier error kept it
        self.callback(self.save)
        self.callback(self.collect)
        self.callback(self.batches.close)
        self.callback(self.decoders.shutdown, cancel_futures=True)
        self.callback(self.batches.wait)
        self.callback(self.batches.run)

    def ahead(self, todo: dict[str, Any], depth: int) -> Iterator[tuple[str, Future[Cut]]]:
        """Yield images in order while ``depth`` of them are decoded in advance."""
        queue: deque[tuple[str, Future[Cut]]] = deque()
        for sha, item in todo.items():
            queue.append((sha, self.decoders.submit(self.cut, item, sha)))
            if len(queue) > depth:
                yield queue.popleft()
        yield from queue

    def cut(self, item: Any, sha256: str) -> Cut:
        """Decode an image and cut its first views, in a worker's thread."""
        pixels, measured = self.load(item, sha256)
        r = self.recipe
        blocks = self.cut_views(
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
        """Gather the finished images, in their order, and start a shard when there are enough."""
        while self.open and self.open[0].complete and len(self.open[0].features) == self.open[0].cut:
            image = self.open.popleft()
            self.finished.append(image)
            self.encoded += image.cut
            self.bytes += sum(f.nbytes for f in image.features.values())
            if self.bytes >= SHARD_BYTES or time.monotonic() - self.since >= self.pause:
                self.save()
            self.bar.update()
            seconds = self.bar.format_dict["elapsed"] or 1
            self.bar.set_postfix_str(f"{self.encoded / seconds:.1f} views/s", refresh=False)

    def skip(self, sha256: str, reason: str) -> None:
        """Leave an image out."""
        self.skipped[sha256] = reason
        self.bar.update()

    def save(self) -> None:
        """Hand the finished images to the writer, once it has written those before."""
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()
        if self.finished:
            images, self.finished, self.bytes, self.since = self.finished, [], 0, time.monotonic()
            self.pause = min(2 * self.pause, SHARD_SECONDS[1])
            self.writing = self.writer.submit(self._write, images)

    def _write(self, images: list[OpenImage]) -> None:
        self.store.write(
            [i.sha256 for i in images],
            [np.stack([i.features[v] for v in range(i.cut)]) for i in images],
            np.stack([i.controls for i in images]),
        )


def fill_cache(
    store: Store,
    wanted: Sequence[tuple[Any, str]],
    build_engine: Callable[[], Engine],
    recipe: Recipe,
    *,
    workers: int = 2,
    skippable: type[UserError] | tuple[()] = (),
    load: Load | None = None,
    progress: bool = True,
) -> tuple[int, dict[str, str]]:
    """Encode the images that the cache lacks; return the number of new views, and why images were skipped, by sha256.

    Args:
        wanted: (path, sha256) of each image. build_engine: called once, and only if something is missing.
        skippable: errors of an image that leave it out. load: reads what ``wanted`` names, where that is no path.

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
    with _Filling(store, engine, recipe, load, workers, bar) as filling:
        for sha, decoded in filling.ahead(todo, workers + 1):
            with unbroken():  # a command asked to stop does so between two images
                try:
                    image, blocks = decoded.result()
                except skippable as error:
                    filling.skip(sha, str(error).removeprefix(f"{todo[sha]}: "))
                else:
                    filling.take(image, blocks)
    return filling.encoded, filling.skipped
