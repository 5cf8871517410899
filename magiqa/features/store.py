"""A store of features: the cache on disk, a bundle, or memory."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np


class Readable(Protocol):
    """Features that can be read, by the sha256 of their images."""

    def blocks(self, images: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield owner (M,), the position in ``images`` of each row, and the rows (M, D)."""
        ...


class Store(Readable, Protocol):
    """Features that can be added to."""

    def __contains__(self, image: str) -> bool:
        """Return whether it holds an image's features."""
        ...

    def prepare(self) -> None:
        """Check before hours of encoding that it can be written."""
        ...

    def write(self, images: Sequence[str], features: Sequence[np.ndarray], controls: np.ndarray) -> None:
        """Take images' features (V_i, D) and controls (N, 4)."""
        ...


class MemoryStore:
    """Features in memory, for programs that score a few images and want nothing written."""

    def __init__(self) -> None:
        self.features: dict[str, np.ndarray] = {}
        self.controls: dict[str, np.ndarray] = {}

    def __contains__(self, image: str) -> bool:
        return image in self.features

    def prepare(self) -> None:
        """Do nothing: nothing is written."""

    def write(self, images: Sequence[str], features: Sequence[np.ndarray], controls: np.ndarray) -> None:
        """Keep images' features (V_i, D) and controls (N, 4)."""
        self.features.update(zip(images, features, strict=True))
        self.controls.update(zip(images, controls, strict=True))

    def blocks(self, images: Sequence[str], most: int = 256) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield owner and rows of some images at a time."""
        for start in range(0, len(images), most):
            parts = [self.features[image] for image in images[start : start + most]]
            owner = np.repeat(np.arange(start, start + len(parts)), [len(p) for p in parts])
            yield owner, np.concatenate(parts)
