"""Rivals of the magnitude cue: a feature in, a number out. Pure, float64.

Three compare a feature with those of reference images, and two read the shape of its absolute entries. All take
features (V, D) before L2 normalization.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import median_abs_deviation

from magiqa.checked import Checked
from magiqa.errors import UserError

Kind = Literal["whitened", "conformity", "mahalanobis"]

# +1: higher is nearer to the reference images, and so better; by the sources' theory, never by the data
DIRECTIONS: dict[Kind, int] = {"whitened": 1, "conformity": 1, "mahalanobis": -1}


def log_likelihood(features: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """Return -(D log 2π + |(f - mean) whitening|²) / 2, any number, higher = more like the reference: (V, D) -> (V,).

    Source: W-CLIP, arXiv:2505.06934. whitening (D, D) is V Λ^(-1/2) of the covariance of reference features.
    """
    white = (np.asarray(features, np.float64) - mean) @ whitening
    return -0.5 * (len(mean) * np.log(2 * np.pi) + np.square(white).sum(axis=1))


def conformity(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the cosine to the mean reference feature, in [-1, 1], higher = more like it: (V, D) -> (V,).

    Source: the double-ellipsoid geometry of CLIP, arXiv:2411.14517.
    """
    f = np.asarray(features, np.float64)
    return f @ mean / np.maximum(np.linalg.norm(f, axis=1) * np.linalg.norm(mean), 1e-12)


def mahalanobis(features: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the distance to a Gaussian, at least 0, lower = more like the reference: (V, D) -> (V,).

    Source: the shape of MDFS, arXiv:2405.18790, and NIQE; the covariance is shrunk as by Ledoit and Wolf, 2004.
    """
    apart = np.asarray(features, np.float64) - mean
    return np.sqrt((apart * cho_solve(cho_factor(covariance), apart.T).T).sum(axis=1))


def entropy(features: np.ndarray) -> np.ndarray:
    """Return the entropy of |f| / Σ|f|, in [0, log D]: (V, D) -> (V,). No theory gives its direction."""
    a = np.abs(np.asarray(features, np.float64))
    share = a / np.maximum(a.sum(axis=1, keepdims=True), 1e-12)
    return -(share * np.log(np.maximum(share, 1e-300))).sum(axis=1)


def participation(features: np.ndarray) -> np.ndarray:
    """Return the participation ratio (Σ|f|)² / Σf², in [1, D]: (V, D) -> (V,). No theory gives its direction."""
    a = np.abs(np.asarray(features, np.float64))
    return a.sum(axis=1) ** 2 / np.maximum(np.square(a).sum(axis=1), 1e-300)


@dataclass(frozen=True, eq=False)
class Reference:
    """Statistics of the features of reference images.

    Args:
        images, views: how many there are. mean: (D,). covariance: (D, D), with divisor V.
        shrinkage: Ledoit and Wolf's weight of the scaled identity. scales: median and 1.4826 MAD of each cue's values.
    """

    images: int
    views: int
    mean: np.ndarray
    covariance: np.ndarray
    shrinkage: float
    scales: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, images: int, blocks: Callable[[], Iterable[np.ndarray]]) -> "Reference":
        """Measure features that come in blocks (v, D), in three passes over them."""

        def total(term: Callable[[np.ndarray], Any]) -> Any:
            return sum(term(np.asarray(rows, np.float64)) for rows in blocks())

        views = total(len)
        mean = total(lambda rows: rows.sum(axis=0)) / views
        covariance = total(lambda rows: (rows - mean).T @ (rows - mean)) / views
        fourth = total(lambda rows: np.square(np.square(rows - mean).sum(axis=1)).sum()) / views
        square = np.square(covariance).sum()
        apart = square - np.trace(covariance) ** 2 / len(mean)  # from the scaled identity
        shrinkage = float(min((fourth - square) / views / apart, 1.0)) if apart > 0 else 0.0
        new = cls(images, views, mean, covariance, shrinkage, {})
        for kind in DIRECTIONS:
            if new.allows(kind):
                values = np.concatenate([new.cue(kind, rows) for rows in blocks()])
                scale = float(np.median(values)), float(median_abs_deviation(values, scale="normal"))
                new.scales[kind] = scale
        return new

    def facts(self) -> dict[str, Any]:
        """Return what a record says of it."""
        return {
            "images": self.images,
            "views": self.views,
            "shrinkage": self.shrinkage,
            "scales": {kind: list(scale) for kind, scale in self.scales.items()},
        }

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return it as float64 arrays: mean, covariance, and all other numbers (9,), NaN for a cue without scale."""
        scales = [self.scales.get(kind, (np.nan, np.nan)) for kind in DIRECTIONS]
        numbers = np.array([self.images, self.views, self.shrinkage, *np.ravel(scales)], np.float64)
        return self.mean, self.covariance, numbers

    @classmethod
    def from_arrays(cls, mean: np.ndarray, covariance: np.ndarray, numbers: np.ndarray) -> "Reference":
        """Return what `arrays` made."""
        pairs = dict(zip(DIRECTIONS, numbers[3:].reshape(-1, 2), strict=True))
        scales = {kind: (float(m), float(s)) for kind, (m, s) in pairs.items() if np.isfinite(s)}
        images, views = (int(n) if np.isfinite(n) else 0 for n in numbers[:2])
        return cls(images, views, mean, covariance, float(numbers[2]), scales)

    def cue(self, kind: Kind, features: np.ndarray) -> np.ndarray:
        """Return a cue's own values: (V, D) -> (V,)."""
        if kind == "whitened":
            return log_likelihood(features, self.mean, self.whitening)
        if kind == "conformity":
            return conformity(features, self.mean)
        return mahalanobis(features, self.mean, self.shrunk)

    @cached_property
    def _spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = np.linalg.eigh(self.covariance)
        return values, vectors

    def allows(self, kind: str) -> bool:
        """Tell if the features vary in enough directions for a cue."""
        values = self._spectrum[0]
        if kind == "mahalanobis":
            return bool((1 - self.shrinkage) * values[0] + self.shrinkage * values.mean() > 0)
        # without a variance in all D directions nothing can be whitened
        return kind != "whitened" or bool(values[0] > values[-1] * len(values) * np.finfo(float).eps)

    @property
    def sound(self) -> bool:
        """False for numbers that no images give."""
        numbers = [self.mean, self.covariance.ravel(), *map(np.asarray, self.scales.values())]
        if not np.isfinite(np.concatenate(numbers)).all() or not 0 <= self.shrinkage <= 1:
            return False
        return np.allclose(self.covariance, self.covariance.T) and all(map(self.allows, self.scales))

    @cached_property
    def whitening(self) -> np.ndarray:
        """The matrix (D, D) that makes features of unit covariance."""
        values, vectors = self._spectrum
        return vectors / np.sqrt(values)

    @cached_property
    def shrunk(self) -> np.ndarray:
        """The covariance (D, D) shrunk towards a scaled identity."""
        size = len(self.mean)
        sphere = np.trace(self.covariance) / size * np.eye(size)
        return (1 - self.shrinkage) * self.covariance + self.shrinkage * sphere


@dataclass(frozen=True)
class Rival(Checked, key="magnitude"):
    """A cue that needs reference images.

    With z = (cue - median) / (1.4826 MAD) over the views of the reference images, turned so that higher = nearer to
    them: q_mag = (1 + z / (1 + |z|)) / 2.

    Args:
        statistics_from: the folder of these images.
    """

    kind: Kind
    statistics_from: str | None = None

    def of(self, reference: Reference) -> Callable[[np.ndarray], np.ndarray]:
        """Return the cue (V, D) -> (V,) in (0, 1), higher = better.

        Raises:
            UserError: the reference images do not vary enough.
        """
        many = f"the {reference.views} views of {reference.images} reference images"
        if self.kind not in reference.scales:
            raise UserError(
                f"magnitude={self.kind}: {many} do not vary in all {len(reference.mean)} numbers of a feature; put "
                "more images into magnitude.statistics_from, or use conformity"
            )
        median, spread = reference.scales[self.kind]
        if not spread > 0:
            raise UserError(
                f"magnitude={self.kind}: {many} have a median deviation of 0; put more and other images into "
                "magnitude.statistics_from"
            )

        def cue(features: np.ndarray) -> np.ndarray:
            z = DIRECTIONS[self.kind] * (reference.cue(self.kind, features) - median) / spread
            return (1 + z / (1 + np.abs(z))) / 2

        return cue

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Refuse features without the statistics of reference images."""
        raise UserError(
            f"magnitude={self.kind} compares with reference images: give magnitude.statistics_from=FOLDER to magiqa "
            "evaluate, ablate or experiment"
        )
