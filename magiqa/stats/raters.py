"""What the raters' own noise allows: the ceiling of SRCC, and the pairs that raters tell apart. Pure."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from magiqa.errors import UserError
from magiqa.stats.arrays import NAN
from magiqa.stats.bootstrap import resample_counts
from magiqa.stats.correlation import srcc
from magiqa.stats.distributions import normal_quantile
from magiqa.stats.intervals import MIN_UNITS, as_student, count_units
from magiqa.stats.ranks import mid_ranks


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
class Ceiling:
    """What SRCC the raters' noise allows.

    Args:
        srcc: expected SRCC of a predictor that knows each image's true mean opinion. panel: expected SRCC of another,
            equally large panel's labels. reliability: the share of the labels' variance that is not noise.
    """

    srcc: float
    panel: float
    reliability: float


def noise_ceiling(labels: Any, label_std: Any, ratings: Any, *, draws: int = 200, seed: int = 0) -> Ceiling:
    """The highest SRCC to expect with these labels, by simulation.

    A label's noise is normal with standard error label_std / sqrt(ratings), independent between images. The labels
    vary more than the true mean opinions, by that noise: they are drawn towards their mean until the variance left
    is theirs. Panels are then drawn anew around them.

    Note:
        Drawing the labels together gives the true opinions' distribution where it is normal, as are then their shape
        and the ceiling (off by 0.005 at most in simulations). Bimodal or skewed opinions put it 0.02 to 0.06 too high,
        raters of different levels 0.02 to 0.03 too low. It has no interval for that reason.

    Args:
        labels: (N,) MOS. label_std: (N,) standard deviation of an image's *ratings*; if it is already the standard
            error of its MOS, ratings=1. ratings: how many an image has; a number or (N,).

    Raises:
        UserError: the labels vary less than their noise: std or ratings are not what they are taken for.
    """
    y = np.asarray(labels, np.float64)
    error = _standard_errors(y, label_std, ratings)
    variance, noise = float(y.var()), float(np.mean(error**2))
    if variance <= noise:
        raise UserError(
            f"labels: their variance {variance:.3g} is not above that of their noise {noise:.3g}; check whether "
            "label_std is the deviation of ratings or the standard error of the mean (then ratings=1)"
        )
    reliability = 1.0 - noise / variance
    truth = y.mean() + np.sqrt(reliability) * (y - y.mean())
    rng = np.random.default_rng(seed)
    perfect, other = np.empty(draws), np.empty(draws)
    for k in range(draws):
        first, second = (truth + error * rng.standard_normal(len(y)) for _ in range(2))
        perfect[k], other[k] = srcc(truth, first), srcc(first, second)
    return Ceiling(float(perfect.mean()), float(other.mean()), reliability)


@dataclass(frozen=True)
class Krasula:
    """How a method deals with the image pairs that raters tell apart.

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
    *,
    clusters: Any = None,
    max_pairs: int = 1_000_000,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.90,
) -> Krasula:
    """Krasula et al.'s analysis: no mapping of scores to labels, and only pairs that raters do tell apart count.

    Two images are told apart where |y_i - y_j| > z sqrt(e_i^2 + e_j^2), e the labels' standard errors, z two-sided
    at `level`: 1.645 at 0.90, the threshold of the authors' own code, 1.960 at 0.95.

    Args:
        labels, label_std, ratings: as `noise_ceiling`'s. max_pairs: above it so many pairs are drawn at random.
        clusters: (N,) names; resampled whole for the 95 % interval, on the scale of log odds, of the share linearized
            in the images (the projection of a U statistic).

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
    different = np.abs(gap) > normal_quantile((1 - level) / 2) * np.hypot(error[i], error[j])
    toward = np.where(gap > 0, score_gap, -score_gap)[different]  # > 0: ordered as the raters do
    right = (toward > 0) + 0.5 * (toward == 0)
    low = high = NAN
    if len(right):
        # sums of pairs over each image, so that a resample is two products
        ends = np.concatenate([i[different], j[different]])
        good, every = np.bincount(ends, np.tile(right, 2), n), np.bincount(ends, minlength=n)
        counts = resample_counts(n, clusters, None, resamples, seed)
        top, below = 2 * (counts @ good) - good.sum(), 2 * (counts @ every) - every.sum()
        share = np.divide(top, below, out=np.full(resamples, NAN), where=below > 0)
        low, high = _share_interval(float(right.mean()), share, count_units(n, clusters))
    return Krasula(
        told_apart=float(different.mean()) if len(i) else NAN,
        ordered_rightly=float(right.mean()) if len(right) else NAN,
        ci_low=low,
        ci_high=high,
        auc_different=_auc(np.abs(score_gap), different),
        auc_better=_auc(np.r_[toward, -toward], np.repeat([True, False], len(toward))),
        pairs=len(i),
        pairs_total=total,
    )


def _share_interval(share: float, draws: np.ndarray, units: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share on the scale of log odds, by Student's t; NaN at 0 and 1, and for fewer than five units."""
    spread = float(np.nanstd(draws, ddof=1)) if np.isfinite(draws).any() else NAN
    if units < MIN_UNITS or not 0 < share < 1 or not spread > 0:
        return NAN, NAN
    half = float(as_student(normal_quantile((1 - level) / 2), units)) * spread / (share * (1 - share))
    low, high = expit(logit(share) + np.array([-half, half]))
    return float(low), float(high)


def _auc(values: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve, ties half."""
    k, m = int(positive.sum()), int((~positive).sum())
    if not k or not m:
        return NAN
    return float((mid_ranks(values)[positive].sum() - k * (k + 1) / 2) / (k * m))
