"""The pairs of images that raters tell apart, and how a method orders them. Pure."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit, ndtri

from magiqa.errors import UserError
from magiqa.stats.correlation import NAN
from magiqa.stats.sampled import Sampled, auroc
from magiqa.stats.sampling import Sampling


def _standard_errors(labels: np.ndarray, label_std: Any, ratings: Any) -> np.ndarray:
    std, times = np.asarray(label_std, np.float64), np.asarray(ratings, np.float64)
    if std.shape != labels.shape or not np.isfinite(std).all() or (std < 0).any():
        raise UserError("label_std must be one finite number >= 0 for each image; leave out rows without one")
    if times.shape not in ((), labels.shape) or not (times >= 1).all():
        raise UserError(
            "ratings must be a number >= 1, or one for each image: how many ratings a label averages"
        )
    return std / np.sqrt(times)


@dataclass(frozen=True)
class Krasula:
    """The order that a method gives to the image pairs that raters tell apart.

    Args:
        told_apart: share of pairs whose labels differ significantly. ordered_rightly: share of those that the
            method orders as the raters do, equal scores counting half; ci_low, ci_high: its interval.
        auc_different: area under the ROC curve of |score difference| for telling such pairs from the others.
        auc_better: the same for telling which image of such a pair is the better one, from the score difference.
        pairs: pairs looked at; of `pairs_total`.
    """

    told_apart: float
    ordered_rightly: float
    ci_low: float
    ci_high: float
    auc_different: float
    auc_better: float
    pairs: int
    pairs_total: int


def krasula(
    scores: Any,
    labels: Any,
    label_std: Any,
    ratings: Any,
    sampling: Sampling | None = None,
    *,
    max_pairs: int = 1_000_000,
    seed: int = 0,
    level: float = 0.90,
) -> Krasula:
    """Run Krasula et al.'s analysis: scores are not mapped to labels, and only pairs that raters tell apart count.

    Two images are told apart where |y_i - y_j| > z sqrt(e_i^2 + e_j^2), e the labels' standard errors, z two-sided
    at `level`: 1.645 at 0.90, the threshold of the authors' own code, 1.960 at 0.95.

    Args:
        label_std: (N,) standard deviation of an image's *ratings*; if it is already the standard error of its MOS,
            ratings=1. ratings: how many an image has; a number or (N,).
        max_pairs: above it so many pairs are drawn at random.

    Source: Krasula, Fliegel, Le Callet, Klima: On the accuracy of objective image and video quality models: new
        methodology for performance evaluation, QoMEX 2016.
    """
    x, y = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    error = _standard_errors(y, label_std, ratings)
    n = len(y)
    total = n * (n - 1) // 2
    if total <= max_pairs:
        i, j = np.triu_indices(n, 1)
    else:
        rng = np.random.default_rng(seed)
        i = rng.integers(n, size=max_pairs)
        j = (i + rng.integers(1, n, size=max_pairs)) % n
    gap, score_gap = y[i] - y[j], x[i] - x[j]
    different = np.abs(gap) > -ndtri((1 - level) / 2) * np.hypot(error[i], error[j])
    toward = np.where(gap > 0, score_gap, -score_gap)[different]  # > 0: ordered as the raters do
    right = (toward > 0) + 0.5 * (toward == 0)
    ends = np.concatenate([i[different], j[different]])
    low, high = _share_interval(right, ends, sampling or Sampling(n))
    return Krasula(
        told_apart=float(different.mean()) if len(i) else NAN,
        ordered_rightly=float(right.mean()) if len(right) else NAN,
        ci_low=low,
        ci_high=high,
        auc_different=auroc(np.abs(score_gap[different]), np.abs(score_gap[~different])),
        auc_better=auroc(toward, -toward),
        pairs=len(i),
        pairs_total=total,
    )


def _share_interval(right: np.ndarray, ends: np.ndarray, sampling: Sampling) -> tuple[float, float]:
    """Return the interval of a share of pairs on the scale of log odds; NaN at 0 and 1, and for too few units.

    An image's part is that of all its pairs (the projection of a U statistic). ends: the images of the pairs (2 P,).
    """
    share = float(right.mean()) if len(right) else NAN
    if not 0 < share < 1 or sampling.too_few():
        return NAN, NAN
    surplus = np.bincount(ends, np.tile(right - share, 2), sampling.n)
    parts = sampling.sum(surplus / len(right)) / (share * (1 - share))
    ((low, high),) = expit(Sampled(np.array([logit(share)]), parts[None]).intervals())
    return float(low), float(high)
