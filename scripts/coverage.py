"""Do the intervals and tests that magiqa prints keep what they claim? Simulated populations by what is printed.

    python scripts/coverage.py --out results/coverage [--agiqa3k RUN] [--sets 1000] [--resamples 500] [--only NAME]

One factor is varied at a time around 300 independent normal images. A row is written as soon as it is done, and rows
that are there with as many sets are not repeated. An interval's row says how often it held its estimand among the sets
in which it was printed, a test's how often it rejected a true null, ``power`` how often it found a true difference.
``--agiqa3k`` names a run's folder on AGIQA-3K, whose scores and labels are then a population too.
"""

import argparse
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from magiqa.stats.agreement import Agreement, Estimate, agreement, within_groups
from magiqa.stats.bootstrap import bootstrap_many, bootstrap_partial, resample_counts
from magiqa.stats.content import alike, group_distance
from magiqa.stats.correlation import krcc, partial_srcc, plcc, point_many, srcc
from magiqa.stats.intervals import count_units, interval, mean_band, too_few, widened
from magiqa.stats.p_values import best_set, family
from magiqa.stats.paired import bins, paired
from magiqa.stats.raters import krasula
from magiqa.stats.selection import crossval_linear, excess
from magiqa.stats.variants import statistics
from magiqa.studies.experiments.study import tested_apart
from magiqa.studies.probe import summary

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
Held = dict[str, tuple[bool | None, float]]  # by what: held or rejected (None: withheld), and the width


@dataclass(frozen=True)
class Row:
    """A population and design, and what is printed of it.

    Args:
        what: ``interval``, ``test`` or ``power``. estimand: of the intervals. once: one set: a generator, the number of
            resamples and a seed give, by name of what is printed, whether it held, and its width.
    """

    name: str
    what: str
    estimand: str
    once: Callable[[np.random.Generator, int, int], Held]


def normal(rng: np.random.Generator, n: int, rho: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of a bivariate normal."""
    x = rng.normal(size=n)
    return x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)


def shaped(shape: Callable[[np.ndarray], np.ndarray]) -> Draw:
    """Scores of another shape; labels normal."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = normal(rng, n)
        return shape(x), y

    return draw


def heavy(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of Student's t with 3 degrees of freedom."""
    x, y = normal(rng, n)
    return x / np.sqrt(rng.chisquare(3, n) / 3), y


def far_out(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal, but three in a hundred scores are noise of five times the spread."""
    x, y = normal(rng, n)
    return np.where(rng.random(n) < 0.03, 5 * rng.normal(size=n), x), y


def tied(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Both rounded to whole standard deviations."""
    x, y = normal(rng, n)
    return x.round(), y.round()


POPULATIONS: dict[str, Draw] = {
    "normal": normal,
    "normal rho 0": lambda rng, n: normal(rng, n, 0.0),
    "normal rho 0.9": lambda rng, n: normal(rng, n, 0.9),
    "bounded": shaped(lambda x: expit(1.5 * x)),
    "tied": tied,
    "skewed (lognormal 0.8)": shaped(lambda x: np.exp(0.8 * x)),
    "skewed (lognormal 1.3)": shaped(lambda x: np.exp(1.3 * x)),
    "heavy-tailed (t3)": heavy,
    "3 % far out": far_out,
}


def clustered(
    rng: np.random.Generator, clusters: int, each: int, methods: int = 1, share: float = 0.7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Equally good methods (M, N), labels, clusters; a part of quality and of errors is shared by a cluster."""

    def shared(scale: float) -> np.ndarray:
        return scale * rng.normal(size=clusters).repeat(each)

    n = clusters * each
    quality = rng.normal(size=n) + shared(share)
    common = 0.6 * rng.normal(size=n) + shared(0.5 * share)
    matrix = np.stack(
        [quality + common + 0.5 * rng.normal(size=n) + shared(0.5 * share) for _ in range(methods)]
    )
    return matrix, quality + 0.3 * rng.normal(size=n), np.arange(n) // each


def held(found: Estimate, truth: float) -> tuple[bool | None, float]:
    """Whether a printed interval holds the truth."""
    if not np.isfinite(found.ci_low):
        return None, np.nan
    return bool(found.ci_low <= truth <= found.ci_high), found.ci_high - found.ci_low


def side(low: float, high: float, truth: float) -> tuple[bool | None, float]:
    """As `held`, of two ends."""
    return held(Estimate(np.nan, low, high, 0), truth)


_TRUE: dict[str, dict[str, float]] = {}


def truths(name: str, draw: Draw) -> dict[str, float]:
    """Population values, from a million images (KRCC: a quarter of them)."""
    if name not in _TRUE:
        x, y = draw(np.random.default_rng(0), 1_000_000)
        _TRUE[name] = {"srcc": srcc(x, y), "plcc": plcc(x, y), "krcc": krcc(x[:250_000], y[:250_000])}
    return _TRUE[name]


def raw(found: Agreement, truth: dict[str, float]) -> Held:
    """SRCC, KRCC, PLCC."""
    return {name: held(found[name], value) for name, value in truth.items()}


def independent(name: str, draw: Draw, n: int) -> Row:
    """Images drawn one by one."""

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        return raw(light(*draw(rng, n), resamples=resamples, seed=seed), truths(name, draw))

    return Row(f"{name}, n {n}", "interval", "population value", once)


def light(x: np.ndarray, y: np.ndarray, **options: Any) -> Agreement:
    """`agreement` less its fits, which take most of the time and have no interval."""
    return agreement(x, y, fit=None, **options)


def by_clusters(clusters: int, each: int = 10) -> Row:
    """Whole clusters."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        matrix, y, _ = clustered(rng, n // each, each)
        return matrix[0], y

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        matrix, y, names = clustered(rng, clusters, each)
        found = light(matrix[0], y, clusters=names, resamples=resamples, seed=seed)
        return raw(found, truths(f"clusters of {each}", draw))

    return Row(f"clusters, {clusters} of {each}", "interval", "population value", once)


_EXPECTED: dict[str, float] = {}


def expectation(name: str, statistic: Callable[[np.random.Generator], float]) -> float:
    """Of a statistic at this size: the mean of 2,000 sets."""
    if name not in _EXPECTED:
        rng = np.random.default_rng(1)
        _EXPECTED[name] = float(np.mean([statistic(rng) for _ in range(2000)]))
    return _EXPECTED[name]


def within(groups: int, size: int, clusters: str = "none", count: int = 0) -> Row:
    """srcc_within: groups alone, crossed with clusters, or inside clusters."""
    name = f"srcc_within, {groups} groups of {size}" + (
        "" if clusters == "none" else f", {clusters} {count} clusters"
    )

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        n = groups * size
        names = np.arange(n) // size
        level = rng.normal(size=groups)[names]
        x, y = normal(rng, n)
        if clusters == "none":
            return x + level, y + level, names, None
        if clusters == "crossed with":  # an image of each group in each cluster, or several
            of = np.arange(n) % size % count
            shift = 0.5 * rng.normal(size=count)[of]
            return x + level + shift, y + level + 0.5 * rng.normal(size=count)[of], names, of
        slope = 1.0 + 0.4 * rng.normal(size=count)  # clusters differ in how well the score agrees
        of = names % count
        return slope[of] * x + rng.normal(size=n), y + level, names, of

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        truth = expectation(name, lambda r: mean_srcc(*draw(r)[:2], groups, size))
        x, y, names, of = draw(rng)
        counts = resample_counts(len(y), of, None if of is not None else names, resamples, seed)
        few, units = too_few(len(y), of), count_units(len(y), of)
        return {"srcc_within": held(within_groups(x, y, names, counts, units, few, 0.95), truth)}

    return Row(name, "interval", "the statistic's expectation at this size", once)


def mean_srcc(x: np.ndarray, y: np.ndarray, groups: int, size: int) -> float:
    """Mean SRCC of groups of one size, without ties."""
    a, b = (v.reshape(groups, size).argsort(axis=1).argsort(axis=1) - (size - 1) / 2 for v in (x, y))
    return float(((a * b).sum(axis=1) / (a * a).sum(axis=1)).mean())


def null(clusters: int, each: int, statistic: str, tails: bool = False) -> Row:
    """Two equally good methods; tails: of Student's t with 3 degrees of freedom."""

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        (a, b), y, names = clustered(rng, clusters, each, 2, 0.0 if each == 1 else 0.7)
        if tails:
            a, b = (v / np.sqrt(rng.chisquare(3, len(y)) / 3) for v in (a, b))
        options: dict[str, Any] = {"resamples": resamples, "seed": seed, "statistic": statistic}
        if statistic == "srcc_within":
            options["groups"] = np.arange(len(y)) % 4
        found = paired(a, b, y, clusters=None if each == 1 else names, **options)
        return {
            f"p of {statistic}": (None if found.withheld else found.p < 0.05, np.nan),
            f"paired interval of {statistic}": side(found.ci_low, found.ci_high, 0.0),
        }

    design = f"n {clusters}" if each == 1 else f"clusters, {clusters} of {each}"
    return Row(f"equal methods, {design}, {statistic}" + ", t3" * tails, "test", "0", once)


def family_null(methods: int, clusters: int, each: int, statistic: str = "srcc") -> Row:
    """Equally good methods: against a reference, and which may be best."""

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        matrix, y, names = clustered(rng, clusters, each, methods, 0.0 if each == 1 else 0.7)
        counts = resample_counts(len(y), None if each == 1 else names, None, resamples, seed)
        point, draws = point_many(statistic, matrix, y), bootstrap_many(statistic, matrix, y, counts)
        units = count_units(len(y), None if each == 1 else names)
        draws *= widened(*matrix, y, units=units) if statistic == "plcc" else 1.0  # as the methods table does
        found = family(point[1:] - point[0], draws[1:] - draws[0], units)
        pairs = np.triu_indices(methods, 1)
        every = family(point[pairs[0]] - point[pairs[1]], draws[pairs[0]] - draws[pairs[1]], units)
        best = best_set(point, draws, units)
        out: Held = {}
        for name, p in (
            ("against a reference", found.p_adjusted),
            ("all pairs", every.p_adjusted),
            ("best set", best),
        ):
            out[f"{name}, any"] = (None if np.isnan(p).all() else bool((p < 0.05).any()), np.nan)
        return out

    design = f"n {clusters}" if each == 1 else f"clusters, {clusters} of {each}"
    return Row(
        f"{methods} equal methods, {design}" + ("" if statistic == "srcc" else f", {statistic}"),
        "test",
        "0",
        once,
    )


def grid_null() -> Row:
    """101 settings of one parameter of no effect on the expectation: nearly one method."""

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        (a, b), y, _ = clustered(rng, 300, 1, 2, 0.0)
        matrix = np.stack([np.cos(t) * a + np.sin(t) * b for t in np.linspace(0, np.pi / 2, 101)])
        found = statistics(matrix[[0, -1, *range(60, 100, 4)]], y, 0, resamples=resamples, seed=seed)
        return {"the equal end": (bool(found["p_adjusted"].iloc[1] < 0.05), np.nan)}

    return Row("a grid between two equal methods, n 300", "test", "0", once)


def power(n: int = 300, difference: float = 0.05) -> Row:
    """A pair of correlation 0.9 whose correlations with the label differ; beside the percentile test of old."""

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        ra, rb = 0.7, 0.7 - difference
        cov = np.array([[1, 0.9, ra], [0.9, 1, rb], [ra, rb, 1]])
        a, b, y = np.linalg.cholesky(cov) @ rng.normal(size=(3, n))
        found = paired(a, b, y, resamples=resamples, seed=seed)
        draws = bootstrap_many(
            "srcc", np.stack([a, b]), y, resample_counts(n, resamples=resamples, seed=seed)
        )
        gap = draws[0] - draws[1]
        tail = min((gap <= 0).sum(), (gap >= 0).sum())
        old = min(1.0, 2 * (tail + 1) / (resamples + 1))
        return {"max-T": (found.p < 0.05, np.nan), "percentile": (bool(old < 0.05), np.nan)}

    return Row(f"a difference of {difference} in rho, n {n}", "power", "", once)


def pairs_told_apart(clusters: int, each: int) -> Row:
    """Krasula's share of pairs ordered rightly."""
    name = (
        f"told-apart pairs, n {clusters}"
        if each == 1
        else f"told-apart pairs, clusters, {clusters} of {each}"
    )

    def draw(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        matrix, y, names = clustered(rng, k, each, 1, 0.0 if each == 1 else 0.7)
        return matrix[0], y, names

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        if name not in _EXPECTED:
            big = np.random.default_rng(2)
            shares = []
            for _ in range(10):
                x, y, _ = draw(big, 6000 // each)
                shares.append(krasula(x, y, np.full(len(y), 0.3), 1, resamples=2, max_pairs=500_000))
            _EXPECTED[name] = float(np.mean([f.ordered_rightly for f in shares]))
        x, y, names = draw(rng, clusters)
        std = np.full(len(y), 0.3)
        found = krasula(x, y, std, 1, clusters=None if each == 1 else names, resamples=resamples, seed=seed)
        return {"ordered rightly": side(found.ci_low, found.ci_high, _EXPECTED[name])}

    return Row(name, "interval", "population value (60,000 images)", once)


def over_untrained(seeds: int) -> Row:
    """SRCC beyond the mean over untrained networks."""

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        y, n = rng.normal(size=300), 300
        content = rng.normal(size=n)  # what every network sees
        slopes = 0.15 * rng.normal(size=seeds)
        nulls = np.stack([s * y + 0.5 * content + rng.normal(size=n) for s in slopes])
        matrix = np.vstack([0.4 * y + 0.5 * content + rng.normal(size=n), nulls])
        counts = resample_counts(n, resamples=resamples, seed=seed)
        point, draws = point_many("srcc", matrix, y), bootstrap_many("srcc", matrix, y, counts)
        found = excess(point[0], draws[0], point[1:], draws[1:], n)
        r = 0.4 / np.sqrt(0.4**2 + 0.25 + 1)
        return {"excess": side(found.low, found.high, 6 / np.pi * np.arcsin(r / 2))}

    return Row(
        f"excess over {seeds} untrained networks, n 300",
        "interval",
        "SRCC less its mean over all seeds",
        once,
    )


def groups_sampled(groups: int, each: int = 60) -> Row:
    """Pooled SRCC and PLCC where other groups of the kind could stand: groups differ in level and in agreement."""
    name = f"other groups, {groups} of {each}"

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        k = n // each
        level, bias, slope = rng.normal(size=(3, k)).repeat(each, axis=1)
        quality = rng.normal(size=k * each)
        return (1 + 0.3 * slope) * quality + level + 0.7 * bias + rng.normal(size=k * each), quality + level

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        truth = truths(name, draw)
        x, y = draw(rng, groups * each)
        found = light(x, y, groups=np.arange(len(y)) // each, resamples=resamples, seed=seed)
        return {
            f"{s}, groups resampled": side(found[s].ci_groups_low, found[s].ci_groups_high, truth[s])
            for s in ("srcc", "plcc")
        }

    return Row(name, "interval", "population value", once)


def inside_parts(clusters: int, each: int, by: str) -> Row:
    """Two equally good methods inside bins of the label (regimes) or groups (breakdown): one by one, and all."""

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        matrix, y, names = clustered(rng, clusters, each, 2, 0.0 if each == 1 else 0.7)
        parts = [rows for *_, rows in bins(y, 3)]
        if by == "group":
            parts = [np.flatnonzero(np.arange(len(y)) % 6 == k) for k in range(6)]
        values, drawn, units = [], [], []
        for rows in parts:
            of = None if each == 1 else names[rows]
            draws = bootstrap_many(
                "srcc", matrix[:, rows], y[rows], resample_counts(len(rows), of, None, resamples, seed)
            )
            point = point_many("srcc", matrix[:, rows], y[rows])
            values.append(point[0] - point[1])
            drawn.append(draws[0] - draws[1])
            units.append(count_units(len(rows), of))
        found = tested_apart([{"part": k} for k in range(len(parts))], values, drawn, units)
        low, high, p = found["diff_low"][0], found["diff_high"][0], found["p_adjusted"]
        return {
            "interval of the first": side(low, high, 0.0),
            "any": (None if p.isna().all() else bool((p < 0.05).any()), np.nan),
        }

    design = f"n {clusters}" if each == 1 else f"clusters, {clusters} of {each}"
    return Row(f"equal methods inside a {by}, {design}", "test", "0", once)


def simultaneous(clusters: int, each: int) -> Row:
    """Ten unequal methods against the first: do all intervals of the table hold at once?"""
    slopes = np.linspace(0.3, 1.2, 10)
    design = f"n {clusters}" if each == 1 else f"clusters, {clusters} of {each}"
    name = f"10 unequal methods, {design}"

    def draw(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        matrix, y, names = clustered(rng, k, each, 10, 0.0 if each == 1 else 0.7)
        return matrix + slopes[:, None] * y, y, names

    truth: dict[str, np.ndarray] = {}

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        if not truth:
            matrix, y, _ = draw(np.random.default_rng(0), 200_000 // each)
            value = point_many("srcc", matrix, y)
            truth["gaps"] = value[1:] - value[0]
        matrix, y, names = draw(rng, clusters)
        of = None if each == 1 else names
        found = statistics(matrix, y, 0, clusters=of, resamples=resamples, seed=seed).iloc[1:]
        low, high = (found[f"ci_simultaneous_{s}"].to_numpy() for s in ("low", "high"))
        all_hold = bool(((low <= truth["gaps"]) & (truth["gaps"] <= high)).all())
        one = found.iloc[4]
        return {
            "simultaneous intervals, all": (all_hold, float(np.mean(high - low))),
            "paired interval": side(one["diff_low"], one["diff_high"], truth["gaps"][4]),
        }

    return Row(name, "interval", "population value", once)


def content(groups: int, each: int, crossed: bool, given: bool) -> Row:
    """Bias' permutation p: values that do not depend on the group, or only by the label."""

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        names = np.repeat(np.arange(groups), each)
        kinds = np.tile(np.arange(each), groups)
        x = rng.normal(size=len(names)) + (rng.normal(size=each)[kinds] if crossed else 0.0)
        within = kinds if crossed else None
        if given:
            y = rng.normal(size=groups)[names] + rng.normal(size=len(names))
            x, within = left_of(0.7 * y + x, y), alike(y, within)
        found = group_distance(x, names, within=within, permutations=99, seed=seed)
        return {"permutation p": (found.p < 0.05, np.nan)}

    words = ", crossed with kinds" * crossed + ", given the label" * given
    return Row(f"distance of {groups} groups of {each}{words}", "test", "no difference", once)


def left_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Ranks of x less what the ranks of y explain."""
    a, b = (v.argsort().argsort() - (len(v) - 1) / 2 for v in (x, y))
    return a - b * (a @ b) / (b @ b)


def probed(images: int) -> Row:
    """Probe's median over images of SRCC within an image at five levels."""

    def draw(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        each = rng.normal(size=n)
        out = {}
        for cue, noise, shared in (("q_sim", 1.5, 0.3), ("q_mag", 3.0, 1.0)):
            values = -np.arange(5) * (1 + shared * each[:, None]) + noise * rng.normal(size=(n, 5))
            rank = values.argsort(axis=1).argsort(axis=1) - 2.0
            out[cue] = (rank @ (np.arange(5) - 2.0)) / 10
        return out | {"q_mag - q_sim": out["q_mag"] - out["q_sim"]}

    truth: dict[str, float] = {}

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        if not truth:
            truth.update({k: float(np.median(v)) for k, v in draw(np.random.default_rng(0), 400_001).items()})
        values = draw(rng, images)
        parts = [
            pd.DataFrame({"image": range(images), "type": "a", "score": cue, "srcc": values[cue]})
            for cue in ("q_sim", "q_mag")
        ]
        found = summary(pd.concat(parts), resamples, seed).set_index("score")
        return {
            f"median of {cue}": side(found.loc[cue, "ci_low"], found.loc[cue, "ci_high"], truth[cue] + 0.0)
            for cue in truth
        }

    return Row(f"probe, {images} images", "interval", "population median", once)


def partial(clusters: int, each: int) -> Row:
    """Magnitude's partial SRCC given two controls."""
    design = f"n {clusters}" if each == 1 else f"clusters, {clusters} of {each}"
    name = f"partial SRCC, {design}"

    def draw(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        matrix, y, names = clustered(rng, k, each, 2, 0.0 if each == 1 else 0.7)
        controls = np.column_stack([matrix[1], rng.normal(size=len(y))])
        return matrix[0], y, controls, names

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        if name not in _EXPECTED:
            _EXPECTED[name] = partial_srcc(*draw(np.random.default_rng(0), 400_000 // each)[:3])
        x, y, controls, names = draw(rng, clusters)
        of = None if each == 1 else names
        counts = resample_counts(len(y), of, None, min(resamples, 200), seed)
        drawn = bootstrap_partial(x, y, controls, counts)
        return {"partial": side(*interval(drawn, count_units(len(y), of)), _EXPECTED[name])}

    return Row(name, "interval", "population value", once)


def in_bins(clusters: int, each: int) -> Row:
    """Means in ten bins of about equal size (weights, the magnitude figure)."""
    design = f"n {clusters}" if each == 1 else f"clusters, {clusters} of {each}"
    name = f"means in 10 bins, {design}"
    truth: dict[str, Any] = {}

    def draw(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        matrix, y, names = clustered(rng, k, each, 1, 0.0 if each == 1 else 0.7)
        return expit(matrix[0]), y, names

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        if not truth:
            x, y, _ = draw(np.random.default_rng(0), 1_000_000 // each)
            truth["edges"] = np.quantile(y, np.linspace(0, 1, 11)[1:-1])
            which = np.searchsorted(truth["edges"], y)
            truth["means"] = np.bincount(which, x) / np.bincount(which)
        x, y, names = draw(rng, clusters)
        of = None if each == 1 else names
        counts = resample_counts(len(y), of, None, resamples, seed)
        which = np.searchsorted(truth["edges"], y)
        return {
            f"bin {k + 1}": side(*mean_band(x, counts, which == k, of), truth["means"][k]) for k in (0, 5)
        }

    return Row(name, "interval", "mean in the population's bin", once)


def walked(clusters: int, each: int) -> Row:
    """Reconcile's change from one step to the next: to an equally good method, and to four fifths of the images."""

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        (a, b), y, names = clustered(rng, clusters, each, 2, 0.0 if each == 1 else 0.7)
        of = None if each == 1 else names
        counts = resample_counts(len(y), of, None, resamples, seed)
        kept = np.arange(len(y)) % 5 > 0
        units = count_units(len(y), of)
        before, method = bootstrap_many("srcc", np.stack([a, b]), y, counts)
        fewer = bootstrap_many("srcc", a[None, kept], y[kept], counts.T[kept].T)[0]
        return {
            "change to another method": side(*interval(method - before, units), 0.0),
            "change to fewer images": side(*interval(fewer - before, units), 0.0),
        }

    design = f"n {clusters}" if each == 1 else f"clusters, {clusters} of {each}"
    return Row(f"reconcile, {design}", "interval", "0", once)


def two_labels(clusters: int, each: int) -> Row:
    """align: one score, two labels that it agrees with equally."""

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        (a, b), y, names = clustered(rng, clusters, each, 2, 0.0 if each == 1 else 0.7)
        of = None if each == 1 else names
        counts = resample_counts(len(y), of, None, resamples, seed)
        draws = [bootstrap_many("srcc", y[None], v, counts)[0] for v in (a, b)]
        gap = np.array([srcc(y, a) - srcc(y, b)])
        found = family(gap, (draws[0] - draws[1])[None], count_units(len(y), of))
        return {"p": (bool(found.p[0] < 0.05), np.nan)}

    design = f"n {clusters}" if each == 1 else f"clusters, {clusters} of {each}"
    return Row(f"two labels, {design}", "test", "0", once)


def fused(clusters: int, each: int) -> Row:
    """Linear's cross-validated fusion, its weights held fixed in the resamples."""
    design = f"n {clusters}" if each == 1 else f"clusters, {clusters} of {each}"
    name = f"cross-validated fusion, {design}"

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        matrix, y, names = clustered(rng, clusters, each, 2, 0.0 if each == 1 else 0.7)
        of = None if each == 1 else names
        return crossval_linear(matrix.T, y, clusters=of).scores, y, of

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        truth = expectation(name, lambda r: srcc(*draw(r)[:2]))
        x, y, of = draw(rng)
        return {"srcc": held(light(x, y, clusters=of, resamples=resamples, seed=seed)["srcc"], truth)}

    return Row(name, "interval", "the statistic's expectation at this size", once)


def real(run: Path) -> Iterator[Row]:
    """AGIQA-3K's scores as a population: images drawn one by one, or by prompts."""
    table = pd.read_csv(run / "scores.csv")
    y, prompts = table["mos"].to_numpy(float), table["prompt"].astype("category").cat.codes.to_numpy()
    members = [np.flatnonzero(prompts == k) for k in range(prompts.max() + 1)]
    for score in ("q", "laplacian", "bytes"):
        x = table[score].to_numpy(float)
        truth = {"srcc": srcc(x, y), "plcc": plcc(x, y), "krcc": krcc(x, y)}

        def images(n: int, x: np.ndarray = x, truth: dict[str, float] = truth, score: str = score) -> Row:
            def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
                at = rng.integers(len(y), size=n)
                return raw(light(x[at], y[at], resamples=resamples, seed=seed), truth)

            return Row(f"AGIQA-3K {score}, n {n}", "interval", "the set's value", once)

        def whole(k: int, x: np.ndarray = x, truth: dict[str, float] = truth, score: str = score) -> Row:
            def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
                parts = [members[i] for i in rng.integers(len(members), size=k)]
                at, of = np.concatenate(parts), np.repeat(np.arange(k), [len(p) for p in parts])
                return raw(light(x[at], y[at], clusters=of, resamples=resamples, seed=seed), truth)

            return Row(f"AGIQA-3K {score}, {k} prompts", "interval", "the set's value", once)

        yield from (images(n) for n in (50, 300))
        yield from (whole(k) for k in (5, 10, 25))


def rows(agiqa3k: Path | None = None) -> list[Row]:
    """All rows, what matters most first."""
    out = [
        *(
            null(k, e, s)
            for k, e, s in ((300, 1, "srcc"), (10, 10, "srcc"), (5, 10, "srcc"), (25, 10, "srcc"))
        ),
        *(family_null(m, k, e) for m, k, e in ((10, 300, 1), (10, 16, 10), (10, 5, 10))),
        power(),
        *(within(g, s) for g, s in ((50, 10), (200, 5), (10, 30), (5, 50), (5, 5))),
        *(within(8, 30, "crossed with", k) for k in (5, 10, 25)),
        *(within(20, 10, "inside", k) for k in (5, 10, 20)),
        *(by_clusters(k) for k in (5, 8, 10, 16, 25, 80, 2, 3)),
        *(independent(p, draw, n) for p, draw in POPULATIONS.items() for n in (50, 300)),
        *(independent("normal", normal, n) for n in (5, 8, 10, 20, 100, 1000)),
        *(real(agiqa3k) if agiqa3k else []),
        *(null(k, e, s) for s in ("plcc", "krcc", "srcc_within") for k, e in ((300, 1), (10, 10))),
        *(null(k, 1, "srcc") for k in (10, 20, 50)),
        *(null(k, 10, "srcc") for k in (8, 80)),
        *(family_null(m, 300, 1) for m in (5, 20)),
        *(pairs_told_apart(k, e) for k, e in ((60, 1), (10, 10), (25, 10))),
        *(over_untrained(k) for k in (2, 3, 5)),
        grid_null(),
        within(300, 10),
        within(100, 8),
        within(10, 300),
        within(300, 5),
        *(
            independent(p, POPULATIONS[p], 1000)
            for p in ("bounded", "skewed (lognormal 0.8)", "heavy-tailed (t3)")
        ),
        replace(independent("bounded", POPULATIONS["bounded"], 300), name="bounded, n 300, other sets"),
        *(independent(p, POPULATIONS[p], 100) for p in ("skewed (lognormal 0.8)", "heavy-tailed (t3)")),
        *(null(n, 1, "plcc", tails=True) for n in (50, 300)),
        within(5, 300),
        *(groups_sampled(k) for k in (5, 10, 25)),
        *(inside_parts(k, e, by) for by in ("bin", "group") for k, e in ((300, 1), (16, 12))),
        *(simultaneous(k, e) for k, e in ((300, 1), (16, 10))),
        *(family_null(10, 300, 1, s) for s in ("krcc", "plcc")),
        *(content(20, 10, c, g) for c in (False, True) for g in (False, True)),
        *(probed(k) for k in (5, 16, 60)),
        *(partial(k, e) for k, e in ((100, 1), (10, 10))),
        *(in_bins(k, e) for k, e in ((100, 1), (1000, 1), (25, 24))),
        *(walked(k, e) for k, e in ((300, 1), (16, 10))),
        *(two_labels(k, e) for k, e in ((300, 1), (16, 10))),
        *(fused(k, e) for k, e in ((300, 1), (25, 10))),
    ]
    return out


COLUMNS = ["row", "what", "printed", "estimand", "sets", "sets_asked", "resamples", "withheld", "rate", "se", "width",
           "verdict", "cpu_seconds"]  # fmt: skip


def run(row: Row, sets: int, resamples: int, seconds: float = np.inf) -> list[dict[str, Any]]:
    """Simulate a row; fewer sets where the time allows no more, which the table says."""
    rng = np.random.default_rng(zlib.crc32(row.name.encode()))
    found: dict[str, list[tuple[bool | None, float]]] = {}
    start, done = time.process_time(), 0
    for k in range(sets):
        for name, value in row.once(rng, resamples, k).items():
            found.setdefault(name, []).append(value)
        done += 1
        if time.process_time() - start > seconds:
            break
    spent = time.process_time() - start
    out = []
    for name, values in found.items():
        known = [v for v, _ in values if v is not None]
        rate = float(np.mean(known)) if known else np.nan
        error = float(np.sqrt(max(rate * (1 - rate), 1 / len(known)) / len(known))) if known else np.nan
        widths = [w for v, w in values if v is not None]
        what = "interval" if "interval" in name else row.what
        out.append(
            {
                "row": row.name,
                "what": what,
                "printed": name,
                "estimand": row.estimand,
                "sets": done,
                "sets_asked": sets,
                "resamples": resamples,
                "withheld": 1 - len(known) / done,
                "rate": rate,
                "se": error,
                "width": float(np.mean(widths)) if known and not np.isnan(widths).all() else np.nan,
                "verdict": verdict(what, rate, error, len(known)),
                "cpu_seconds": round(spent / len(found), 1),
            }
        )
    return out


def verdict(what: str, rate: float, error: float, known: int) -> str:
    """In a word: held means at least 93 % of intervals, at most 6 % of true nulls, two standard errors allowed."""
    if what == "power":
        return ""
    if known < 50:
        return "too few printed to say"
    if what == "test":
        return "held" if rate <= 0.06 + 2 * error else "FAILS"
    if rate < 0.93 - 2 * error:
        return "FAILS"
    return "conservative" if rate > 0.975 else "held"


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/coverage"))
    parser.add_argument("--agiqa3k", type=Path)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument(
        "--seconds", type=float, default=np.inf, help="CPU seconds a row; fewer sets are stated"
    )
    parser.add_argument("--only", default="", help="rows whose name holds this")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "coverage.csv"
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=COLUMNS)
    for row in rows(given.agiqa3k):
        old = table[table["row"] == row.name]
        if given.only not in row.name or (len(old) and old["sets_asked"].min() >= given.sets):
            continue
        found = pd.DataFrame(run(row, given.sets, given.resamples, given.seconds))
        table = pd.concat([table[table["row"] != row.name], found], ignore_index=True)[COLUMNS]
        table.to_csv(file, index=False, float_format="%.4f", lineterminator="\n")
        print(found.to_string(index=False, header=False), flush=True)
    print(f"{file}: {len(table)} rows, {table['cpu_seconds'].sum() / 3600:.2f} CPU hours")


if __name__ == "__main__":
    main()
