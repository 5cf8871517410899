"""Views of many images in micro-batches, on their way to the engine and back as features."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np

from magiqa.engines.engine import out_of_memory
from magiqa.errors import UserError
from magiqa.images.decode import Limits
from magiqa.images.views import Pixels, Resize, Views, cut


class Encoder(Protocol):
    """An engine as the pipeline calls it: (B, 3, H, W) float32 -> (B, D) float32, B up to ``batch_size``.

    ``streams`` threads call it at the same time.
    """

    batch_size: int
    streams: int

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """Encode."""
        ...


class Way(Protocol):
    """The way from an image to views and features: on the host, or on the engine's own device.

    A view is what ``encode`` takes, with the ``shape`` (3, H, W) that it has or will have.
    """

    def cut(
        self,
        image: Pixels,
        views: Views,
        resize: Resize | None,
        *,
        name: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        limits: Limits,
    ) -> Iterator[Sequence[Any]]:
        """See `magiqa.images.views.cut`."""
        ...

    def encode(self, views: Sequence[Any]) -> np.ndarray:
        """Views of a window's size, up to ``batch_size``, or one of another -> features (B, D)."""
        ...


class OnHost:
    """Views are normalized arrays, cut where images are decoded and copied into batches by the engine's threads."""

    def __init__(self, engine: Encoder, size: int) -> None:
        self.engine = engine
        self.shape = (engine.batch_size, 3, size, size)
        self.free: deque[np.ndarray] = deque()  # buffers to be used again

    def cut(
        self, image: Pixels, views: Views, resize: Resize | None, **options: Any
    ) -> Iterator[Sequence[Any]]:
        """See `magiqa.images.views.cut`: arrays of views are sequences of them."""
        return cast(Iterator[Sequence[Any]], cut(image, views, resize, **options))

    def encode(self, views: Sequence[np.ndarray]) -> np.ndarray:
        """Copy views (3, H, W) together and encode them."""
        if views[0].shape != self.shape[1:]:
            return self.engine(np.ascontiguousarray(views[0][None]))
        try:
            buffer = self.free.popleft()
        except IndexError:
            buffer = np.empty(self.shape, np.float32)
        for place, view in zip(buffer, views, strict=False):
            place[...] = view
        try:
            return self.engine(buffer[: len(views)])
        finally:
            self.free.append(buffer)


def way_of(engine: Encoder, size: int) -> Way:
    """The engine's own way, where it has one; windows are of ``size``."""
    own: Way | None = getattr(engine, "way", None)
    return own or OnHost(engine, size)


@dataclass
class OpenImage:
    """An image on its way: its features arrive view by view."""

    path: str
    sha256: str
    controls: np.ndarray
    features: dict[int, np.ndarray] = field(default_factory=dict)
    cut: int = 0  # views handed to the batches so far
    complete: bool = False  # all of its views are cut


class Batches:
    """Packs views of all images into micro-batches, and has the engine's threads fill in their images' features.

    At most two batches a stream, or one whole image a stream, are on their way, so that memory is bounded.
    """

    def __init__(self, engine: Encoder, way: Way, size: int) -> None:
        self.engine, self.way = engine, way
        self.shape = (3, size, size)
        self.pool = ThreadPoolExecutor(engine.streams, thread_name_prefix="encode")
        self.flying: deque[Future[None]] = deque()
        self.views: list[Any] = []
        self.owners: list[tuple[OpenImage, int]] = []

    def add(self, image: OpenImage, block: Sequence[Any]) -> None:
        """Take views of one image; those of another size than a window (whole images) run alone."""
        for view in block:
            owner = (image, image.cut)
            image.cut += 1
            if view.shape != self.shape:
                self._submit(1, self._whole, owner, view)
                continue
            self.views.append(view)
            self.owners.append(owner)
            if len(self.owners) == self.engine.batch_size:
                self.run()

    def run(self) -> None:
        """Hand over the batch as it is, full or not."""
        if self.owners:
            self._submit(2, self._batch, self.owners, self.views)
            self.owners, self.views = [], []

    def wait(self) -> None:
        """Until all that was handed over is encoded.

        Raises:
            The first error of an engine's thread, here and in ``add`` and ``run``.
        """
        while self.flying:
            self._settle()

    def close(self) -> None:
        """Finish what was begun, whatever came of it, and end the threads."""
        self.pool.shutdown(cancel_futures=True)

    def _submit(self, each: int, work: Callable[..., None], *args: Any) -> None:
        while len(self.flying) >= each * self.engine.streams:
            self._settle()
        self.flying.append(self.pool.submit(work, *args))

    def _settle(self) -> None:
        self.flying.popleft().result()

    def _batch(self, owners: list[tuple[OpenImage, int]], views: list[Any]) -> None:
        features = self._encode(views)
        for (image, index), feature in zip(owners, features, strict=True):
            image.features[index] = feature

    def _whole(self, owner: tuple[OpenImage, int], view: Any) -> None:
        image, index = owner
        try:
            image.features[index] = self._encode([view])[0]
        except (RuntimeError, MemoryError) as error:
            if out_of_memory(error):
                raise UserError(
                    f"{image.path}: out of memory with the whole image of {view.shape[2]}x{view.shape[1]}; use "
                    "device=cpu, a smaller dataset.resize, or windows and global views"
                ) from error
            # smaller than the tower's stride, or than its positional embedding
            reason = str(error).strip().split("\n")[-1].strip()  # OpenVINO names its source files first
            raise UserError(
                f"{image.path}: the backbone cannot encode it whole at {view.shape[2]}x{view.shape[1]} "
                f"({reason}); it may be too small, or of another size than a positional embedding that is not dropped: "
                "use windows or global views"
            ) from None

    def _encode(self, views: list[Any]) -> np.ndarray:
        try:
            features = self.way.encode(views)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or views[0].shape != self.shape:
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
        return features
