"""Features in, cues out: one number a view from similarity, one from magnitude. Pure, float64.

Source: Liao et al., arXiv:2511.09948 (MA-CLIP), zhix000/MA-CLIP at 9581a2c; Wang et al., arXiv:2207.12396
(CLIP-IQA).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit

from magiqa.checked import Checked


def similarity(features: np.ndarray, text: np.ndarray, logit_scale: float) -> np.ndarray:
    """Probability of each prompt pair's positive side, a view and pair.

    softmax(s cos(f, t+), s cos(f, t-)) on the positive side, which is sigmoid(s (cos(f, t+) - cos(f, t-))).

    Args:
        features: (V, D), any length. text: (P, 2, D) or (2 P, D), unit length, (positive, negative).
        logit_scale: the factor s, already exponentiated (100 in CLIP).

    Returns:
        (V, P) in [0, 1], higher = better. ``q_sim`` is its mean over P.

    Example:
        >>> similarity(np.array([[3.0, 0.0]]), np.array([[[1.0, 0.0], [0.0, 1.0]]]), 1.0).round(4)
        array([[0.7311]])
    """
    features = np.asarray(features, np.float64)
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    # cos(f, t+) - cos(f, t-) = f . (t+ - t-) / |f|. Not by BLAS, which rounds a view by how many are beside it
    pairs = text.reshape(-1, 2, text.shape[-1])
    gap = np.einsum("vd,pd->vp", features, pairs[:, 0].astype(np.float64) - pairs[:, 1])
    return expit(logit_scale * gap / np.maximum(norm, 1e-12))


def cosines(features: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Cosine of each view and text: features (V, D) of any length, text (T, D) of unit length -> (V, T)."""
    features = np.asarray(features, np.float64)
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    return np.einsum("vd,td->vt", features, text.astype(np.float64)) / np.maximum(norm, 1e-12)


def standardize(features: np.ndarray) -> np.ndarray:
    """|f| / (std(|f|) + 1e-6) along D, the std with D - 1: (V, D) -> (V, D), >= 0."""
    magnitude = np.abs(np.asarray(features, np.float64))
    return magnitude / (magnitude.std(axis=1, ddof=1, keepdims=True) + 1e-6)


def box_cox_log(log1p_magnitude: np.ndarray, lam: float) -> np.ndarray:
    """((a + 1)^lam - 1) / lam from log(a + 1), elementwise; log(a + 1) at lam = 0.

    ``expm1`` keeps full precision near lam = 0, where the plain power loses it (float32 errs by 8e-6 at 0.025).

    Example:
        >>> box_cox_log(np.log1p([3.0]), 0.5)
        array([2.])
    """
    log1p_magnitude = np.asarray(log1p_magnitude, np.float64)
    return log1p_magnitude if lam == 0 else np.expm1(lam * log1p_magnitude) / lam


@dataclass(frozen=True)
class BoxCox(Checked, key="magnitude"):
    """The paper's magnitude cue: the mean over D of the Box-Cox transform of |f|, shift 1.

    Args:
        lam: the transform's lambda. standardize: divide |f| by its std first, as the paper does, which makes the
            cue blind to the feature's scale.
    """

    lam: float = 0.5
    standardize: bool = True

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(V, D) -> (V,), higher = better."""
        a = standardize(features) if self.standardize else np.abs(np.asarray(features, np.float64))
        return box_cox_log(np.log1p(a), self.lam).mean(axis=1)


_PLAIN = {
    "l1": lambda a: a.sum(axis=1),
    "l2": lambda a: np.sqrt((a * a).sum(axis=1)),
    "max": lambda a: a.max(axis=1),
    "std": lambda a: a.std(axis=1, ddof=1),
    "mean": lambda a: a.mean(axis=1),
}


@dataclass(frozen=True)
class Plain(Checked, key="magnitude"):
    """A plain magnitude of |f| (``l1``, ``l2``, ``max``, ``std``, ``mean``), in the feature's own scale.

    Note:
        Not on the scale of ``q_sim``: fused with it, the weights follow whichever is larger.
    """

    kind: Literal["l1", "l2", "max", "std", "mean"]

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(V, D) -> (V,), higher = better by the hypothesis under test."""
        return _PLAIN[self.kind](np.abs(np.asarray(features, np.float64)))


_ROWS = 64  # views at a time for many lambdas: 64 x 1,024 float64 stay in a core's own cache

_NEAR = 0.05  # lambdas nearer to 0 are computed one by one


def box_cox_means(log1p_magnitude: np.ndarray, lams: Sequence[float]) -> np.ndarray:
    """Mean over D of the Box-Cox transform for many lambdas: (V, D) -> (V, L).

    Each power follows from its neighbor's by one product, in a tenth of the time of `box_cox_log`. After 200 steps it
    differs by some 1e-14 of its value. Subtracting 1 near lambda = 0 would enlarge that, so these are computed alone.
    """
    out = np.empty((len(log1p_magnitude), len(lams)))
    for start in range(0, len(log1p_magnitude), _ROWS):
        logs = log1p_magnitude[start : start + _ROWS]
        rows = slice(start, start + len(logs))
        power, last = np.ones_like(logs), 0.0
        factors: dict[float, np.ndarray] = {}
        for i in np.argsort(lams):
            step = round(lams[i] - last, 12)
            if step not in factors:
                factors[step] = np.exp(step * logs)
            power *= factors[step]
            last += step
            near = abs(lams[i]) < _NEAR
            out[rows, i] = (
                box_cox_log(logs, lams[i]).mean(axis=1) if near else (power.mean(axis=1) - 1) / lams[i]
            )
    return out


def magnitudes(rows: np.ndarray, cues: Sequence[Callable[[np.ndarray], np.ndarray]]) -> np.ndarray:
    """Many magnitude cues of features (V, D): (len(cues), V). log1p once for all lambdas of one kind."""
    out = np.empty((len(cues), len(rows)))
    for standardized in (True, False):
        lams = {
            i: c.lam for i, c in enumerate(cues) if isinstance(c, BoxCox) and c.standardize == standardized
        }
        if len(lams) > 1:
            a = standardize(rows) if standardized else np.abs(rows.astype(np.float64))
            out[list(lams)] = box_cox_means(np.log1p(a), list(lams.values())).T
        else:
            for i in lams:
                out[i] = cues[i](rows)
    for i, cue in enumerate(cues):
        if not isinstance(cue, BoxCox):
            out[i] = cue(rows)
    return out
