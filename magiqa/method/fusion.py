"""Two cues of a view in, one fused cue and the similarity's weight out. Pure, elementwise.

Source: Liao et al., arXiv:2511.09948, zhix000/MA-CLIP at 9581a2c.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from magiqa.checked import Checked
from magiqa.errors import UserError

Fused = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Adaptive(Checked, key="fusion"):
    """MA-CLIP's confidence-guided fusion.

    With d = q_sim - q_mag: (w_sim, w_mag) = softmax(base_sim + alpha d, base_mag - alpha d), so that
    w_sim = sigmoid(base_sim - base_mag + 2 alpha d); q = w_sim q_sim + w_mag q_mag.

    Note:
        Only base_sim - base_mag matters. q is not monotone in q_sim, and can exceed 1.

    Example:
        >>> q, w_sim = Adaptive()(np.array([0.5]), np.array([1.0]))
        >>> q.round(4), w_sim.round(4)
        (array([0.8228]), array([0.3543]))
    """

    base_sim: float = 1.0
    base_mag: float = 0.6
    alpha: float = 1.0

    def __call__(self, q_sim: np.ndarray, q_mag: np.ndarray) -> Fused:
        """(V,), (V,) -> q (V,) higher = better, w_sim (V,) in [0, 1]."""
        q_sim, q_mag = np.asarray(q_sim, np.float64), np.asarray(q_mag, np.float64)
        gap = q_sim - q_mag
        w_sim = expit(self.base_sim - self.base_mag + 2.0 * self.alpha * gap)
        return q_mag + w_sim * gap, w_sim


@dataclass(frozen=True)
class Fixed(Checked, key="fusion"):
    """Fixed weights: q = w_sim q_sim + (1 - w_sim) q_mag. w_sim = 1 is similarity only, 0 is magnitude only."""

    w_sim: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.w_sim <= 1:
            raise UserError(f"fusion.w_sim={self.w_sim} must lie between 0 and 1")

    def __call__(self, q_sim: np.ndarray, q_mag: np.ndarray) -> Fused:
        """(V,), (V,) -> q (V,) higher = better, w_sim (V,)."""
        q_sim, q_mag = np.asarray(q_sim, np.float64), np.asarray(q_mag, np.float64)
        return self.w_sim * q_sim + (1 - self.w_sim) * q_mag, np.full_like(q_sim, self.w_sim)


@dataclass(frozen=True)
class Product(Checked, key="fusion"):
    """q = q_sim q_mag. No weight exists: w_sim is NaN, an empty value in tables."""

    def __call__(self, q_sim: np.ndarray, q_mag: np.ndarray) -> Fused:
        """(V,), (V,) -> q (V,) higher = better, w_sim (V,) of NaN."""
        q_sim = np.asarray(q_sim, np.float64)
        return q_sim * np.asarray(q_mag, np.float64), np.full_like(q_sim, np.nan)
