"""Which differences are real, and how good can a score be? Paired tests, ceilings, controls. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from magiqa.agreement import (
    WITHIN,
    bootstrap_many,
    count_clusters,
    interval,
    plcc,
    point_many,
    resample_counts,
    srcc,
)
from magiqa.errors import UserError

NAN = float("nan")
_MOST_RESAMPLES = 1_000_000
_POINTS = 4096  # of distribution functions in memory at a time


# --- two methods on the same images ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paired:
    """The difference a - b of two methods in a statistic on the same n images.

    Args:
        p: two-sided; never under 2 / (resamples + 1).
    """

    statistic: str
    a: float
    b: float
    diff: float
    ci_low: float
    ci_high: float
    p: float
    n: int


def paired(
    scores_a: Any,
    scores_b: Any,
    labels: Any,
    *,
    statistic: str = "srcc",
    clusters: Any = None,
    groups: Any = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Paired:
    """Compare two methods by the paired percentile bootstrap, ranked anew in each resample.

    Args:
        scores_a, scores_b, labels: (N,), higher = better. statistic: srcc, krcc, plcc or srcc_within.
        clusters: (N,) names; whole clusters (references, prompts, generators) are resampled.
        groups: (N,) names, for srcc_within; without clusters images are resampled within their group.

    Returns:
        diff > 0 where a agrees better. p < 1 - level exactly where the interval leaves out 0, up to one resample.

    Example:
        >>> y = np.arange(50.0)
        >>> result = paired(y, -y, y, resamples=200)
        >>> round(result.diff, 6), result.p < 0.05
        (2.0, True)
    """
    rows = compare({"a": scores_a, "b": scores_b}, labels, statistic=statistic, clusters=clusters, groups=groups,
                   resamples=resamples, seed=seed, level=level)  # fmt: skip
    return rows[0].test


@dataclass(frozen=True)
class Pair:
    """One row of a table of comparisons: two names, their test, and p by Holm's correction over the table."""

    a: str
    b: str
    test: Paired
    p_holm: float


def compare(
    scores: Mapping[str, Any],
    labels: Any,
    *,
    reference: str | None = None,
    statistic: str = "srcc",
    clusters: Any = None,
    groups: Any = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Pair]:
    """Paired tests of every two methods, or of each against one, on shared resamples, with Holm's correction.

    Args:
        scores: name -> (N,). reference: compare with this one only. Others: as `paired`'s.
    """
    names = list(scores)
    if reference is not None and reference not in names:
        raise UserError(f"reference={reference} is not among the compared scores: {', '.join(names)}")
    y = np.asarray(labels, np.float64)
    if len({len(np.asarray(s)) for s in scores.values()} | {len(y)}) != 1:
        raise UserError("compare: all scores and the labels must be of the same images: their numbers differ")
    matrix = np.stack([np.asarray(scores[name], np.float64) for name in names])
    within = groups if statistic == WITHIN else None
    counts = resample_counts(len(y), clusters, within, resamples, seed)
    point, draws = (
        point_many(statistic, matrix, y, groups),
        bootstrap_many(statistic, matrix, y, counts, groups),
    )
    units = count_clusters(clusters)
    tests = []
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            if (reference is None and i < j) or (reference is not None and b == reference and i != j):
                difference = draws[i] - draws[j]
                low, high = interval(difference, level, units)
                diff = float(point[i] - point[j])
                p = bootstrap_p(difference, units)
                tests.append(
                    (a, b, Paired(statistic, float(point[i]), float(point[j]), diff, low, high, p, len(y)))
                )
    return [Pair(*row, p) for row, p in zip(tests, holm([row[2].p for row in tests]).tolist(), strict=True)]


def bootstrap_p(differences: np.ndarray, clusters: int | None = None) -> float:
    """Two-sided p of resampled differences (R,): twice the share on the smaller side of 0, at most 1.

    Args:
        clusters: how many were resampled, if clusters were: p is then that of the widened `interval`. In simulations
            at 5 % it called 2 % of equal methods different with 10 clusters and 4 % with 25, the plain one 6.5 and 7 %.

    Returns:
        At least 2 / (R + 1); NaN if under 95 % of the resamples are defined.
    """
    known = differences[np.isfinite(differences)]
    if not np.isfinite(interval(differences, clusters=clusters)[0]):
        return NAN
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return _widened(min(1.0, 2.0 * (tail + 1) / (len(known) + 1)), clusters)


def _widened(p: float, clusters: int | None) -> float:
    """The p of the widened interval, where clusters were resampled."""
    if clusters is None or p == 1.0:
        return p
    return float(2.0 * student.sf(norm.isf(p / 2) * np.sqrt((clusters - 1) / clusters), clusters - 1))


def resamples_for(p: float, clusters: int | None = None) -> int | None:
    """The fewest resamples whose smallest possible `bootstrap_p` is under p; None above a million of them.

    Example:
        >>> resamples_for(0.05), resamples_for(0.05, clusters=25), resamples_for(0.0005, clusters=8)
        (40, 56, None)
    """
    plain = p
    if clusters is not None:
        if clusters < 2:
            return None
        plain = 2.0 * norm.sf(student.isf(p / 2, clusters - 1) * np.sqrt(clusters / (clusters - 1)))
    if plain <= 2.0 / (_MOST_RESAMPLES + 1):
        return None
    return int(np.floor(2.0 / plain + 1e-9))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's step-down correction of p values (K,): (K,) adjusted, >= p; NaN stays and does not count as a test.

    Source: Holm, Scandinavian Journal of Statistics 6(2), 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, np.float64)
    out = np.full(p.shape, NAN)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    stepped = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1))
    out[order] = np.minimum(stepped, 1.0)
    return out


def meng(scores_a: Any, scores_b: Any, labels: Any) -> tuple[float, float]:
    """Meng, Rosenthal and Rubin's test on SRCC: z and two-sided p. For comparison only.

    Note:
        Made for Pearson's correlation. On ranks it rejects 7 to 15 % of true nulls at 5 %: decide with `paired`.

    Source: Meng, Rosenthal and Rubin, Psychological Bulletin 111(1), 1992.
    """
    ra, rb, rx = srcc(scores_a, labels), srcc(scores_b, labels), srcc(scores_a, scores_b)
    n, mean = len(np.asarray(labels)), (ra**2 + rb**2) / 2
    if not np.isfinite([ra, rb, rx]).all() or n <= 3:
        return NAN, NAN
    if rx == 1 or max(abs(ra), abs(rb)) == 1:
        return (0.0, 1.0) if ra == rb else (NAN, NAN)
    f = min(1.0, (1 - rx) / (2 * (1 - mean)))
    h = (1 - f * mean) / (1 - mean)
    z = (np.arctanh(ra) - np.arctanh(rb)) * np.sqrt((n - 3) / (2 * (1 - rx) * h))
    return float(z), float(2 * norm.sf(abs(z)))


@dataclass(frozen=True)
class Regime:
    """Two methods within one bin of the labels, [low, high]."""

    low: float
    high: float
    test: Paired


def regimes(
    scores_a: Any, scores_b: Any, labels: Any, *, bins: int = 3, clusters: Any = None, **options: Any
) -> list[Regime]:
    """Paired tests within bins of the labels of about equal size, from low to high.

    Note:
        SRCC within a bin falls because the range is cut: the values of two bins cannot be compared, only the two
        methods inside one bin. Equal labels stay in one bin.
    """
    a, b, y = (np.asarray(v, np.float64) for v in (scores_a, scores_b, labels))
    shared = None if clusters is None else np.asarray(clusters)
    edges = np.quantile(y, np.linspace(0, 1, bins + 1)[1:-1])
    which = np.searchsorted(edges, y, side="left")
    out = []
    for k in range(bins):
        rows = np.flatnonzero(which == k)
        if len(rows) < 3:
            raise UserError(f"bins={bins}: bin {k + 1} holds {len(rows)} images, need 3; use fewer bins")
        inside = None if shared is None else shared[rows]
        test = paired(a[rows], b[rows], y[rows], clusters=inside, **options)
        out.append(Regime(float(y[rows].min()), float(y[rows].max()), test))
    return out


# --- what the raters' own noise allows ------------------------------------------------------------------------------


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
        srcc: expected SRCC of a predictor that knows each image's true mean opinion. low, high: its 95 % range over
            panels. panel: expected SRCC of another, equally large panel's labels. reliability: the share of the
            labels' variance that is not noise.
    """

    srcc: float
    low: float
    high: float
    panel: float
    reliability: float


def noise_ceiling(
    labels: Any, label_std: Any, ratings: Any, *, draws: int = 200, seed: int = 0, level: float = 0.95
) -> Ceiling:
    """The highest SRCC to expect with these labels, by simulation.

    A label's noise is normal with standard error label_std / sqrt(ratings), independent between images. The labels
    vary more than the true mean opinions, by that noise: they are drawn towards their mean until the variance left
    is theirs. Panels are then drawn anew around them.

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
    low, high = np.quantile(perfect, [(1 - level) / 2, (1 + level) / 2])
    return Ceiling(float(perfect.mean()), float(low), float(high), float(other.mean()), reliability)


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
    max_pairs: int = 5_000_000,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Krasula:
    """Krasula et al.'s analysis: no mapping of scores to labels, and only pairs that raters do tell apart count.

    Two images are told apart where |y_i - y_j| > z sqrt(e_i^2 + e_j^2), e the labels' standard errors, z two-sided
    at `level`.

    Args:
        labels, label_std, ratings: as `noise_ceiling`'s. max_pairs: above it so many pairs are drawn at random.
        clusters: (N,) names; resampled whole for the interval, which linearises the share in the images (the
            projection of a U statistic).

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
    different = np.abs(gap) > norm.isf((1 - level) / 2) * np.hypot(error[i], error[j])
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
        low, high = interval(np.clip(share, 0, 1), level, count_clusters(clusters))
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


def _auc(values: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve, ties half."""
    k, m = int(positive.sum()), int((~positive).sum())
    if not k or not m:
        return NAN
    return float((rankdata(values)[positive].sum() - k * (k + 1) / 2) / (k * m))


# --- controls -------------------------------------------------------------------------------------------------------


def partial_srcc(x: Any, y: Any, given: Any) -> float:
    """SRCC of x (N,) and y (N,) with the ranks of `given`, (N,) or (N, K), regressed out of both: in [-1, 1].

    NaN where nothing is left that varies.

    Example:
        >>> z = np.arange(6.0)
        >>> round(partial_srcc(z + [0, 1.5, 0, 0, 1.5, 0], z + [0, 1.5, 0, 0, 1.5, 0], z), 6)
        1.0
    """
    controls = np.asarray(given, np.float64)
    controls = controls[:, None] if controls.ndim == 1 else controls
    ranks = rankdata(controls, axis=0)
    design = np.column_stack([np.ones(len(ranks)), ranks - ranks.mean(axis=0)])
    left = []
    for values in (x, y):
        rank = rankdata(np.asarray(values, np.float64))
        rest = rank - design @ np.linalg.lstsq(design, rank, rcond=None)[0]
        if np.linalg.norm(rest) <= 1e-9 * np.linalg.norm(rank):  # rounding of an exact fit
            return NAN
        left.append(rest)
    return plcc(*left)


@dataclass(frozen=True)
class GroupDistance:
    """Mean Wasserstein distance between groups, in standard deviations of all values; and its mean by chance."""

    distance: float
    chance: float


def group_distance(values: Any, groups: Any, *, permutations: int = 20, seed: int = 0) -> GroupDistance:
    """How far apart the distributions of values (N,) lie between groups, over all pairs of groups.

    ``chance`` is the same with the groups' names shuffled: the distance of finite samples is never 0.
    """
    x, names = np.asarray(values, np.float64), np.asarray(groups)
    spread = float(x.std())
    _, key = np.unique(names, return_inverse=True)
    groups_of, sizes = key.max() + 1, np.bincount(key)
    if groups_of < 2 or spread == 0:
        return GroupDistance(NAN, NAN)
    order = np.argsort(x, kind="stable")
    gaps = np.diff(x[order])
    # |F_a - F_b| summed over all pairs at a point: sorted, the k-th of G counts k times up and G - 1 - k times down
    signs = 2.0 * np.arange(groups_of) - (groups_of - 1)

    def distance(key: np.ndarray) -> float:
        total, below = 0.0, np.zeros(groups_of)
        for start in range(0, len(gaps), _POINTS):
            part = key[order[start : start + _POINTS]][: len(gaps) - start]
            steps = np.zeros((len(part), groups_of))
            steps[np.arange(len(part)), part] = 1.0 / sizes[part]
            cumulative = below + np.cumsum(steps, axis=0)
            below = cumulative[-1].copy()
            cumulative.sort(axis=1)
            total += float(gaps[start : start + _POINTS] @ (cumulative @ signs))
        return float(total / (groups_of * (groups_of - 1) / 2) / spread)

    rng = np.random.default_rng(seed)
    chance = [distance(rng.permutation(key)) for _ in range(permutations)]
    return GroupDistance(distance(key), float(np.mean(chance)) if chance else NAN)


# --- too good to be true --------------------------------------------------------------------------------------------


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
        predictions: (N,), each from the fold that left its image out. srcc: mean SRCC within left-out
            folds, NaN where one of them has fewer than three images.
        weights: (K,) mean coefficients of standardised cues.
    """

    predictions: np.ndarray
    srcc: float
    weights: np.ndarray


def crossval_linear(
    cues: Any, labels: Any, folds: int = 10, *, clusters: Any = None, seed: int = 0
) -> CrossValidated:
    """Least squares of labels (N,) on cues (N, K) with a constant, by cross-validation: a ceiling for fusions of them.

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
    predictions, weights, values = np.empty(len(y)), [], []
    for k in range(folds):
        out, kept = fold == k, fold != k
        mean, spread = x[kept].mean(axis=0), x[kept].std(axis=0)
        spread[spread == 0] = 1.0
        design = np.column_stack([np.ones(kept.sum()), (x[kept] - mean) / spread])
        found = np.linalg.lstsq(design, y[kept], rcond=None)[0]
        predictions[out] = found[0] + (x[out] - mean) / spread @ found[1:]
        weights.append(found[1:])
        values.append(srcc(predictions[out], y[out]))
    few = np.bincount(fold, minlength=folds).min() < 3 or np.isnan(values).all()
    return CrossValidated(predictions, np.nan if few else float(np.nanmean(values)), np.mean(weights, axis=0))
