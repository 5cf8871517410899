"""Too good to be true: what picking the best of many flatters, and fusions fitted on labels. Pure."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from magiqa.errors import UserError
from magiqa.stats.arrays import NAN
from magiqa.stats.correlation import srcc
from magiqa.stats.distributions import student_quantile
from magiqa.stats.intervals import MIN_UNITS


def halves(n: int, *, clusters: Any = None, splits: int = 200, seed: int = 0) -> np.ndarray:
    """Random halves of n images, or of their clusters: (2 splits, n) of 0 and 1; row splits + k completes row k."""
    rng = np.random.default_rng(seed)
    unit = np.arange(n) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    total = int(unit.max()) + 1
    if total < 2:
        raise UserError(
            "all images are of one cluster, which cannot be halved: use a set of two clusters or more"
        )
    first = np.zeros((splits, total), np.uint8)
    for row in first:
        row[rng.permutation(total)[: total // 2]] = 1
    first = first[:, unit]
    return np.concatenate([first, 1 - first])


@dataclass(frozen=True)
class CrossValidated:
    """A linear fusion of cues, fitted and tested on different images.

    Args:
        scores: (N,), each weighted by the fold that left its image out, without that fold's constant: constants of
            different folds rank a fold of good images low, since it was fitted without them (useless cues came out at
            SRCC -0.37). srcc: mean SRCC within left-out folds, NaN where one of them has fewer than three images.
        weights: (K,) mean coefficients of standardized cues.
    """

    scores: np.ndarray
    srcc: float
    weights: np.ndarray


def crossval_linear(
    cues: Any, labels: Any, folds: int = 10, *, clusters: Any = None, seed: int = 0
) -> CrossValidated:
    """Least squares of labels (N,) on cues (N, K) with a constant, by cross-validation: a reference for fusions.

    Cues are standardized once, over all images. No ceiling: skewed cues fuse better by their ranks.

    Args:
        clusters: (N,) names; a cluster lies in one fold.
    """
    x, y = np.asarray(cues, np.float64), np.asarray(labels, np.float64)
    x = x[:, None] if x.ndim == 1 else x
    unit = np.arange(len(y)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    total = int(unit.max()) + 1
    if not 2 <= folds <= total:
        raise UserError(f"folds={folds} must lie between 2 and the number of images or clusters, {total}")
    fold = (np.random.default_rng(seed).permutation(total) % folds)[unit]
    spread = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(spread == 0, 1.0, spread)
    scores, weights, values = np.empty(len(y)), [], []
    for k in range(folds):
        out, kept = fold == k, fold != k
        design = np.column_stack([np.ones(kept.sum()), z[kept]])
        found = np.linalg.lstsq(design, y[kept], rcond=None)[0]
        scores[out] = z[out] @ found[1:]
        weights.append(found[1:])
        values.append(srcc(scores[out], y[out]))
    few = np.bincount(fold, minlength=folds).min() < 3 or np.isnan(values).all()
    return CrossValidated(scores, np.nan if few else float(np.nanmean(values)), np.mean(weights, axis=0))


def optimism(on_halves: np.ndarray, reference: int) -> dict[str, float]:
    """How far picking the best of a grid on the images it is reported on flatters.

    On one half the best variant is picked; its gain over the reference there, less its gain on the other half, is
    the optimism of a half. Both directions of every split, averaged. The whole set's is smaller by sqrt(2), as sampling
    noise is (1.34 to 1.45 in simulations).

    Args:
        on_halves: (M, 2 K) SRCC of each variant on K halves, then on their complements.

    Returns:
        gain_chosen, gain_held_out: on the halves. optimism: of the whole set.
    """
    gain = on_halves - on_halves[reference]
    splits = gain.shape[1] // 2
    usable = np.isfinite(gain).any(axis=0)
    chosen, held_out = [], []
    for h in range(2 * splits):
        other = (h + splits) % (2 * splits)
        if usable[h] and usable[other]:
            best = argmax(gain[:, h], reference)
            chosen.append(gain[best, h])
            held_out.append(gain[best, other])
    if not chosen or not np.isfinite(held_out).any():
        return dict.fromkeys(("gain_chosen", "gain_held_out", "optimism"), float("nan"))
    a, b = float(np.mean(chosen)), float(np.nanmean(held_out))
    return {"gain_chosen": a, "gain_held_out": b, "optimism": (a - b) / np.sqrt(2.0)}


def argmax(values: np.ndarray, reference: int) -> int:
    """The position of the largest value; the reference where it is as large, or nothing is defined."""
    if not np.isfinite(values).any() or values[reference] >= np.nanmax(values):
        return reference
    return int(np.nanargmax(values))


@dataclass(frozen=True)
class Excess:
    """A statistic beyond the mean of its null's, with an interval; NaN and `withheld` where there is none."""

    value: float
    low: float
    high: float
    withheld: str = ""


def excess(
    value: float,
    draws: np.ndarray,
    nulls: np.ndarray,
    null_draws: np.ndarray,
    units: int,
    level: float = 0.95,
) -> Excess:
    """A statistic less the mean over its nulls (untrained networks of S seeds), signed.

    The seeds are a sample: their spread is part of the variance, beside the images'. Degrees of freedom by
    Satterthwaite.

    Args:
        value, draws: of the method, () and (R,). nulls, null_draws: (S,) and (S, R), on the same resamples.
        units: how many images or clusters were resampled.
    """
    found = value - float(np.mean(nulls))
    if units < MIN_UNITS:
        return Excess(found, NAN, NAN, f"{units} clusters, fewer than {MIN_UNITS}")
    if len(nulls) < 2:
        return Excess(found, NAN, NAN, "one seed: nothing says how seeds differ")
    sampled = float(np.nanvar(draws - null_draws.mean(axis=0), ddof=1)) * units / (units - 1)
    seeds = float(np.var(nulls, ddof=1)) / len(nulls)
    if sampled + seeds == 0:
        return Excess(found, NAN, NAN, "every resample gives the same value")
    freedom = (sampled + seeds) ** 2 / (sampled**2 / (units - 1) + seeds**2 / (len(nulls) - 1))
    half = float(student_quantile((1 - level) / 2, freedom)) * float(np.sqrt(sampled + seeds))
    return Excess(found, found - half, found + half)
