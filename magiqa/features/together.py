"""Several keys of the cache, filled in one pass: a view that they share is encoded once."""

from collections.abc import Sequence

import numpy as np

from magiqa.features.cache import FeatureCache
from magiqa.images.union import Union
from magiqa.images.views import Resize, Views, size_cut


class Together:
    """Caches of views of one grid each, as one store of all their views. One cache is the plain case.

    Each cache is given the features of its own views, in their order: what it would hold if it had been filled alone.

    Args:
        caches: by key. views: of each cache; they differ in stride and cover only. resize: the data set's own.
    """

    def __init__(
        self, caches: Sequence[FeatureCache], views: Sequence[Views], resize: Resize | None = None
    ) -> None:
        self.caches, self.of_each, self.resize = list(caches), list(views), resize
        self.views: Views = Union.of(views) if len(set(views)) > 1 else views[0]

    def __contains__(self, image: str) -> bool:
        return all(image in cache for cache in self.caches)

    def verified(self, max_error: float) -> None:
        """See `FeatureCache.verified`."""
        for cache in self.caches:
            cache.verified(max_error)

    def refresh(self) -> None:
        """See `FeatureCache.refresh`."""
        for cache in self.caches:
            cache.refresh()

    def prepare(self) -> None:
        """See `FeatureCache.prepare`."""
        for cache in self.caches:
            cache.prepare()

    def write(self, images: Sequence[str], features: Sequence[np.ndarray], controls: np.ndarray) -> None:
        """Add a shard to each cache, of the images that it lacks; see `FeatureCache.write`."""
        for cache, views in zip(self.caches, self.of_each, strict=True):
            new = [i for i, image in enumerate(images) if image not in cache]
            if new:
                own = [self._own(features[i], views, controls[i]) for i in new]
                cache.write([images[i] for i in new], own, controls[new])

    def _own(self, features: np.ndarray, views: Views, controls: np.ndarray) -> np.ndarray:
        if not isinstance(self.views, Union):
            return features
        width, height = (int(side) for side in controls[:2])
        return features[self.views.rows_of(views, *size_cut(width, height, views, self.resize))]
