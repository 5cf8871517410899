"""Scores and labels in; SRCC, KRCC, PLCC, the logistic fit, and 95 % intervals out. Pure.

Everything is signed and on raw scores unless a name says ``logistic``. Scores and labels are higher = better; a
predictor that is inverted has a negative value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from magiqa.errors import UserError

MIN_FIT = 6  # one more than the logistic has parameters
_BLOCK = 1 << 20  # elements of a block of resamples


# --- point estimates ------------------------------------------------------------------------------------------------


def midranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties at their mean, along the last axis."""
    from scipy.stats import rankdata

    return rankdata(values, axis=-1)


def plcc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Pearson's correlation in [-1, 1]; NaN where one side is constant."""
    x, y = np.asarray(scores, float), np.asarray(labels, float)
    x, y = x - x.mean(), y - y.mean()
    # a constant leaves rounding noise of the size of its mean's last digit
    floor = 1e-14 * len(x)
    sx, sy = float(x @ x), float(y @ y)
    if sx <= floor * float(np.square(scores).max()) or sy <= floor * float(np.square(labels).max()):
        return float("nan")
    return float(np.clip((x @ y) / np.sqrt(sx * sy), -1, 1))


def srcc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Spearman's rank correlation in [-1, 1], ties at their mean rank; NaN where one side is constant.

    Example:
        >>> srcc(np.array([1.0, 2.0, 4.0]), np.array([3.0, 2.0, 1.0]))
        -1.0
    """
    return plcc(midranks(np.asarray(scores, float)), midranks(np.asarray(labels, float)))


def krcc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Kendall's tau-b in [-1, 1]; NaN where one side is constant."""
    from scipy.stats import kendalltau

    return float(kendalltau(scores, labels).statistic)


def srcc_within(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    """The mean over groups of SRCC within a group; groups in which it is undefined do not count."""
    values = [srcc(scores[m], labels[m]) for m in _masks(groups) if m.sum() > 1]
    values = [v for v in values if np.isfinite(v)]
    return float(np.mean(values)) if values else float("nan")


def leave_one_group_out(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """Pooled SRCC without each group in turn."""
    return {str(g): srcc(scores[groups != g], labels[groups != g]) for g in dict.fromkeys(groups)}


def _masks(groups: np.ndarray) -> list[np.ndarray]:
    groups = np.asarray(groups)
    return [groups == g for g in dict.fromkeys(groups)]


def srcc_many(score_matrix: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """SRCC of many scores at once: (M, N), (N,) -> (M,)."""
    ranks, target = midranks(np.asarray(score_matrix, float)), midranks(np.asarray(labels, float))
    ranks -= ranks.mean(axis=1, keepdims=True)
    target = target - target.mean()
    norm = np.sqrt(np.einsum("mn,mn->m", ranks, ranks) * (target @ target))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (ranks @ target) / norm


# --- the logistic fit -----------------------------------------------------------------------------------------------


def logistic(x: np.ndarray, params: Sequence[float]) -> np.ndarray:
    """b1 (1/2 - 1/(1 + exp(b2 (x - b3)))) + b4 x + b5, without overflow."""
    b1, b2, b3, b4, b5 = params
    return b1 * 0.5 * np.tanh(0.5 * b2 * (x - b3)) + b4 * x + b5


@dataclass(frozen=True)
class LogisticFit:
    """A fit of scores to labels.

    Args:
        status: ``ok``; ``too_few`` (n < 6) and ``failed: ...``, both without parameters; ``start_values`` where the
            official procedure did not converge and silently goes on with its start.
    """

    status: str
    params: list[float] | None
    fitted: np.ndarray | None = field(repr=False, default=None)

    @property
    def usable(self) -> bool:
        """Whether there are fitted values."""
        return self.fitted is not None


def fit_logistic(scores: np.ndarray, labels: np.ndarray, method: str = "best") -> LogisticFit:
    """Fit the 5-parameter logistic by least squares.

    Args:
        method: ``best``: variable projection: the model is linear in b1, b4, b5 once b2 and b3 are fixed, so a search
            over two parameters finds the optimum; never the start values. ``official``: MA-CLIP's procedure
            (zhix000/MA-CLIP at 9581a2c): curve_fit from (max label, min label, mean score, 0.1, 0.1), 10,000
            evaluations, and on failure the start values, which the status then says.
    """
    x, y = np.asarray(scores, float), np.asarray(labels, float)
    if method not in ("best", "official"):
        raise UserError(f"fit={method} is not known: use best or official")
    if len(x) < MIN_FIT:
        return LogisticFit("too_few", None)
    if method == "official":
        return _fit_official(x, y)
    if not np.isfinite(plcc(x, y)):
        return LogisticFit("failed: scores or labels are constant", None)
    params = _fit_projected(x, y)
    fitted = logistic(x, params)
    if not np.isfinite(fitted).all():
        return LogisticFit("failed: no finite optimum", None)
    return LogisticFit("ok", params, fitted)


def _fit_official(x: np.ndarray, y: np.ndarray) -> LogisticFit:
    from scipy.optimize import OptimizeWarning, curve_fit

    def model(x: np.ndarray, *b: float) -> np.ndarray:
        return b[0] * (0.5 - 1 / (1 + np.exp(b[1] * (x - b[2])))) + b[3] * x + b[4]

    start = [float(y.max()), float(y.min()), float(x.mean()), 0.1, 0.1]
    import warnings

    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("ignore", OptimizeWarning)
        try:
            found, _ = curve_fit(model, x, y, p0=start, maxfev=10000)
            params, status = [float(v) for v in found], "ok"
        except (RuntimeError, ValueError):
            params, status = start, "start_values"
        return LogisticFit(status, params, model(x, *params))


def _projector(z: np.ndarray, y: np.ndarray, w: np.ndarray) -> Any:
    """The residual sum of squares as a function of many (b2, b3), b1, b4, b5 solved exactly; weights w (N,)."""
    total = w.sum()
    zc, yc = z - (w @ z) / total, y - (w @ y) / total
    zz = w @ (zc * zc)
    slope = (w @ (zc * yc)) / zz
    residual = yc - slope * zc
    rest = float(w @ (residual * residual))

    def rss(b2: np.ndarray, b3: np.ndarray) -> np.ndarray:
        s = 0.5 * np.tanh(0.5 * b2[:, None] * (z - b3[:, None]))
        s -= (s @ w / total)[:, None]
        before = (s * s) @ w
        s -= ((s * zc) @ w / zz)[:, None] * zc
        power = (s * s) @ w
        gain = np.square((s * residual) @ w) / np.maximum(power, 1e-300)
        # a logistic that is a straight line to rounding adds nothing
        return rest - np.where(power > 1e-11 * before, gain, 0.0)

    return rss


def _fit_projected(
    x: np.ndarray, y: np.ndarray, w: np.ndarray | None = None, start: np.ndarray | None = None
) -> list[float]:
    from scipy.optimize import minimize

    w = np.ones_like(x) if w is None else w
    centre, scale = x.mean(), x.std()
    z = (x - centre) / scale
    rss = _projector(z, y, w)
    if start is None:
        slopes = np.exp(np.linspace(np.log(0.1), np.log(300.0), 18))
        middles = np.unique(
            np.concatenate([np.quantile(z, np.linspace(0.01, 0.99, 15)), [z.min() - 1, z.max() + 1]])
        )
        b2, b3 = (g.ravel() for g in np.meshgrid(slopes, middles))
        values = np.concatenate([rss(b2[i : i + 32], b3[i : i + 32]) for i in range(0, len(b2), 32)])
        starts = [np.array([np.log(b2[i]), b3[i]]) for i in np.argsort(values)[:4]]
    else:
        starts = [start]
    best, at = np.inf, starts[0]
    for first in starts:
        found = minimize(
            lambda p: float(rss(np.exp(np.clip(p[:1], -9, 12)), p[1:])[0]),
            first,
            method="Nelder-Mead",
            options={"xatol": 1e-5, "fatol": 1e-10 * float(w @ (y - y.mean()) ** 2) + 1e-300, "maxfev": 400},
        )
        if found.fun < best:
            best, at = found.fun, found.x
    b2z, b3z = float(np.exp(np.clip(at[0], -9, 12))), float(at[1])
    s = 0.5 * np.tanh(0.5 * b2z * (z - b3z))
    design = np.stack([s, z, np.ones_like(z)], axis=1) * np.sqrt(w)[:, None]
    b1, b4, b5 = np.linalg.lstsq(design, y * np.sqrt(w), rcond=None)[0]
    return [float(v) for v in (b1, b2z / scale, b3z * scale + centre, b4 / scale, b5 - b4 * centre / scale)]


# --- intervals ------------------------------------------------------------------------------------------------------


def resample_counts(
    n: int,
    *,
    clusters: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """How often each image occurs in each bootstrap resample: int16 (R, N).

    Args:
        clusters: whole clusters are drawn, where images are not independent. groups: else, images are drawn within
            their group. Neither: images are drawn.
    """
    rng = np.random.default_rng(seed)

    def draw(k: int) -> np.ndarray:
        return rng.multinomial(k, np.full(k, 1 / k), size=resamples).astype(np.int16)

    if clusters is not None:
        _, member = np.unique(clusters, return_inverse=True)
        return draw(int(member.max()) + 1)[:, member]
    if groups is not None:
        out = np.empty((resamples, n), np.int16)
        for mask in _masks(groups):
            out[:, mask] = draw(int(mask.sum()))
        return out
    return draw(n)


class _Ranker:
    """Mid-ranks of a sample in every resample, from the counts: one sort, then cumulative counts."""

    def __init__(self, values: np.ndarray) -> None:
        self.order = np.argsort(values, kind="stable")
        ordered = np.asarray(values)[self.order]
        new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        self.ties = None if new.all() else np.flatnonzero(new)
        place = np.empty(len(self.order), np.int64)
        place[self.order] = np.arange(len(self.order)) if self.ties is None else np.cumsum(new) - 1
        self.place = place

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """(R, N) counts -> (R, N) mid-ranks, images in their own order."""
        c = counts[:, self.order].astype(np.float64)
        if self.ties is not None:
            c = np.add.reduceat(c, self.ties, axis=1)
        upto = np.cumsum(c, axis=1)
        return (upto - 0.5 * c + 0.5)[:, self.place]


def _blocks(counts: np.ndarray) -> Iterator[slice]:
    step = max(1, _BLOCK // counts.shape[1])
    for start in range(0, len(counts), step):
        yield slice(start, start + step)


def _weighted_corr(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation in each row with weights: (R, N) each, x and y may be (N,)."""
    total = w.sum(axis=1, keepdims=True)
    x = x - (w * x).sum(axis=1, keepdims=True) / total
    y = y - (w * y).sum(axis=1, keepdims=True) / total
    wx = w * x
    sxy = np.einsum("rn,rn->r", wx, np.broadcast_to(y, w.shape))
    sxx = np.einsum("rn,rn->r", wx, np.broadcast_to(x, w.shape))
    syy = np.einsum("rn,rn,rn->r", w, np.broadcast_to(y, w.shape), np.broadcast_to(y, w.shape))
    with np.errstate(invalid="ignore", divide="ignore"):
        return sxy / np.sqrt(sxx * syy)


def bootstrap_srcc_many(score_matrix: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """SRCC of many scores in every resample, ranked anew in each: (M, N), (N,), (R, N) -> (M, R)."""
    scores = np.atleast_2d(np.asarray(score_matrix, float))
    rankers, target = [_Ranker(s) for s in scores], _Ranker(np.asarray(labels, float))
    out = np.empty((len(scores), len(counts)))
    for rows in _blocks(counts):
        w = counts[rows].astype(np.float64)
        total = w.sum(axis=1, keepdims=True)
        ry = target(counts[rows]) - (total + 1) / 2  # mid-ranks have this mean
        wy = w * ry
        syy = np.einsum("rn,rn->r", wy, ry)
        for m, ranker in enumerate(rankers):
            rx = ranker(counts[rows]) - (total + 1) / 2
            sxx = np.einsum("rn,rn,rn->r", w, rx, rx)
            with np.errstate(invalid="ignore", divide="ignore"):
                out[m, rows] = np.einsum("rn,rn->r", wy, rx) / np.sqrt(sxx * syy)
    return out


def bootstrap_srcc(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """SRCC in every resample: (R,)."""
    return bootstrap_srcc_many(scores, labels, counts)[0]


def bootstrap_srcc_within(
    scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """The mean over groups of SRCC within a group, in every resample: (R,)."""
    scores, labels = np.asarray(scores), np.asarray(labels)
    parts = [bootstrap_srcc(scores[m], labels[m], counts[:, m]) for m in _masks(groups) if m.sum() > 1]
    with np.errstate(invalid="ignore"):
        stacked = np.array(parts)
        known = np.isfinite(stacked)
        return np.where(known, stacked, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)


def bootstrap_plcc(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """PLCC in every resample: (R,)."""
    x, y = np.asarray(scores, float), np.asarray(labels, float)
    return np.concatenate([_weighted_corr(counts[r].astype(np.float64), x, y) for r in _blocks(counts)])


def _bootstrap_fitted(
    scores: np.ndarray, labels: np.ndarray, fit: LogisticFit, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """The fitted statistics in every resample, the logistic fitted anew from the full fit's optimum."""
    x, y = np.asarray(scores, float), np.asarray(labels, float)
    assert fit.params is not None
    start = np.array([np.log(max(abs(fit.params[1]) * x.std(), 1e-4)), (fit.params[2] - x.mean()) / x.std()])
    out: dict[str, list[float]] = {"plcc_logistic": [], "rmse_logistic": [], "srcc_logistic": []}
    for row in counts:
        w = row.astype(np.float64)
        fitted = logistic(x, _fit_projected(x, y, w, start))
        out["plcc_logistic"].append(float(_weighted_corr(w[None], fitted, y)[0]))
        out["rmse_logistic"].append(float(np.sqrt(w @ (fitted - y) ** 2 / w.sum())))
        out["srcc_logistic"].append(float(bootstrap_srcc(fitted, y, row[None])[0]))
    return {k: np.array(v) for k, v in out.items()}


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of resampled values; NaN where more than one in twenty is undefined."""
    known = values[np.isfinite(values)]
    if len(known) < 0.95 * len(values) or not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def krcc_interval(
    scores: np.ndarray, labels: np.ndarray, clusters: np.ndarray | None = None, level: float = 0.95
) -> tuple[float, float]:
    """An interval of tau-b from its influence function, on Fisher's z scale.

    A thousand resamples of tau cost minutes; its influence function costs one pass over all pairs, and sums over
    clusters where images are not independent. Source: the U-statistic variance of Hoeffding (1948), by the delta
    method for tau-b's denominators.
    """
    from scipy.stats import norm

    x, y = np.asarray(scores, float), np.asarray(labels, float)
    n = len(x)
    k, dx, dy = np.empty(n), np.empty(n), np.empty(n)
    for i in range(0, n, max(1, _BLOCK // n)):
        rows = slice(i, i + max(1, _BLOCK // n))
        sx = np.sign(x[rows, None] - x).astype(np.int8)
        sy = np.sign(y[rows, None] - y).astype(np.int8)
        k[rows] = (sx * sy).sum(axis=1, dtype=np.int64)
        dx[rows], dy[rows] = np.count_nonzero(sx, axis=1), np.count_nonzero(sy, axis=1)
    if not dx.any() or not dy.any():
        return float("nan"), float("nan")
    kk, dxx, dyy = k.mean(), dx.mean(), dy.mean()
    tau = kk / np.sqrt(dxx * dyy)
    influence = 2 * ((k - kk) / np.sqrt(dxx * dyy) - 0.5 * tau * ((dx - dxx) / dxx + (dy - dyy) / dyy))
    if clusters is not None:
        _, member = np.unique(clusters, return_inverse=True)
        influence = np.bincount(member, influence)
    error = np.sqrt(np.square(influence).sum()) / n
    if abs(tau) >= 1:
        return float(tau), float(tau)
    half = norm.ppf((1 + level) / 2) * error / (1 - tau**2)
    return float(np.tanh(np.arctanh(tau) - half)), float(np.tanh(np.arctanh(tau) + half))


# --- all of it ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """The agreement of one score with the labels: statistic -> (value, low, high), and the fit."""

    n: int
    values: dict[str, tuple[float, float, float]]
    fit: LogisticFit

    def rows(self) -> list[dict[str, Any]]:
        """Rows of ``agreement.csv``."""
        return [
            {"statistic": s, "value": v, "ci_low": low, "ci_high": high, "n": self.n}
            for s, (v, low, high) in self.values.items()
        ]


def agreement(
    scores: np.ndarray,
    labels: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    fit: str = "best",
    ci_fit: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Agreement:
    """Every statistic of one score, with intervals.

    Args:
        scores, labels: (N,), higher = better, finite. groups: adds ``srcc_within``. clusters: resampled whole.
        ci_fit: intervals of the fitted statistics too: the fit is done anew in each resample (slow).

    Raises:
        UserError: fewer than three images, or a value that is not finite.
    """
    x, y = np.asarray(scores, float), np.asarray(labels, float)
    if len(x) != len(y) or len(x) < 3:
        raise UserError(
            f"agreement: {len(x)} scores and {len(y)} labels, need at least 3 of each and as many"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("agreement: a score or label is NaN or infinite; no image is left out silently")
    nan = float("nan")
    counts = resample_counts(len(x), clusters=clusters, resamples=resamples, seed=seed)
    values = {
        "srcc": (srcc(x, y), *interval(bootstrap_srcc(x, y, counts), level)),
        "krcc": (krcc(x, y), *krcc_interval(x, y, clusters, level)),
        "plcc": (plcc(x, y), *interval(bootstrap_plcc(x, y, counts), level)),
    }
    fitted = fit_logistic(x, y, fit)
    points = {"plcc_logistic": nan, "rmse_logistic": nan, "srcc_logistic": nan}
    if fitted.fitted is not None:
        f = fitted.fitted
        points = {
            "plcc_logistic": plcc(f, y),
            "rmse_logistic": float(np.sqrt(np.mean((f - y) ** 2))),
            "srcc_logistic": srcc(f, y),
        }
    bands = _bootstrap_fitted(x, y, fitted, counts) if ci_fit and fit == "best" and fitted.usable else {}
    for name, value in points.items():
        values[name] = (value, *(interval(bands[name], level) if name in bands else (nan, nan)))
    if groups is not None:
        within = (
            counts
            if clusters is not None
            else resample_counts(len(x), groups=groups, resamples=resamples, seed=seed)
        )
        band = bootstrap_srcc_within(x, y, groups, within)
        values["srcc_within"] = (srcc_within(x, y, np.asarray(groups)), *interval(band, level))
    return Agreement(len(x), values, fitted)


def by_group(
    scores: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    clusters: np.ndarray | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Rows of ``groups.csv``: the agreement within each group; groups under three images have empty values."""
    rows: list[dict[str, Any]] = []
    x, y, nan = np.asarray(scores, float), np.asarray(labels, float), float("nan")
    for group, mask in zip(dict.fromkeys(groups), _masks(groups), strict=True):
        if mask.sum() < 3:
            part = [{"statistic": "srcc", "value": nan, "ci_low": nan, "ci_high": nan, "n": int(mask.sum())}]
        else:
            inside = np.asarray(clusters)[mask] if clusters is not None else None
            part = agreement(x[mask], y[mask], clusters=inside, **options).rows()
        rows += [{"group": group, **row} for row in part]
    return rows
