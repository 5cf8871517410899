"""Features in memory, for programs that score a few images and want nothing written."""

from collections.abc import Iterator, Sequence

import numpy as np


class MemoryCache:
    """Features by identity, as `FeatureCache` holds them, gone with the object."""

    def __init__(self) -> None:
        self.features: dict[str, np.ndarray] = {}

    def __contains__(self, image: str) -> bool:
        return image in self.features

    def prepare(self) -> None:
        """Nothing is written."""

    def write(self, images: Sequence[str], features: Sequence[np.ndarray], controls: np.ndarray) -> None:
        """Keep images' features (V_i, D); their controls are not asked for."""
        self.features.update(zip(images, features, strict=True))

    def blocks(self, images: Sequence[str], most: int = 256) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Owner (M,), the position in ``images`` of each row, and the rows (M, D): some images at a time."""
        for start in range(0, len(images), most):
            parts = [self.features[image] for image in images[start : start + most]]
            owner = np.repeat(np.arange(start, start + len(parts)), [len(p) for p in parts])
            yield owner, np.concatenate(parts)
