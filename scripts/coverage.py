"""Simulate what the intervals and tests of magiqa keep: do they hold what they claim?

    python scripts/coverage.py --out results/coverage [--agiqa3k RUN] [--sets 1000] [--only NAME]

Each row draws many sets from one population and asks what magiqa prints of each. A row of intervals says how often they
held the true value, among the sets in which they were printed. A row of tests says how often they rejected a true null;
a row of ``power`` says how often they found a true difference. A row is written as soon as it is done. Rows that are
there with as many sets are not repeated. ``--agiqa3k`` names a run's folder on AGIQA-3K, whose scores and labels are
then a population too.
"""

import argparse
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from magiqa.stats.agreement import agreement
from magiqa.stats.correlation import bins, partial_srcc, plcc, srcc
from magiqa.stats.family import family
from magiqa.stats.paired import against, against_best, compare, differences, mean_over_sets
from magiqa.stats.raters import krasula
from magiqa.stats.sampled import Sampled, auroc, auroc_interval, stacked
from magiqa.stats.sampling import WITHIN, Sampling
from magiqa.studies.experiments.magnitude import content_share, excess
from magiqa.studies.probe import summary

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
Held = dict[str, tuple[bool | None, float]]  # by what: held or rejected (None: withheld), and the width


@dataclass(frozen=True)
class Row:
    """A population and design, and what is printed of it.

    Args:
        what: ``interval``, ``test`` or ``power``. estimand: of the intervals. once: one set: a generator gives, by the
            name of what is printed, whether it held (or rejected), and its width.
    """

    name: str
    what: str
    estimand: str
    once: Callable[[np.random.Generator], Held]


def normal(rng: np.random.Generator, n: int, rho: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Draw scores and labels of a bivariate normal."""
    x = rng.normal(size=n)
    return x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)


def shaped(shape: Callable[[np.random.Generator, np.ndarray], np.ndarray]) -> Draw:
    """Return a population with scores of another shape; labels normal."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = normal(rng, n)
        return shape(rng, x), y

    return draw


def tied(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw normal values, both rounded to whole standard deviations."""
    x, y = normal(rng, n)
    return x.round(), y.round()


def student(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Return values with the tails of Student's t with 3 degrees of freedom."""
    return x / np.sqrt(rng.chisquare(3, len(x)) / 3)


POPULATIONS: dict[str, Draw] = {
    "normal": normal,
    "normal rho 0": lambda rng, n: normal(rng, n, 0.0),
    "normal rho 0.9": lambda rng, n: normal(rng, n, 0.9),
    "bounded": shaped(lambda rng, x: expit(1.5 * x)),
    "saturating": shaped(lambda rng, x: np.minimum(expit(2 * x), 0.8)),  # the best third has one score
    "tied": tied,
    "skewed (lognormal 0.8)": shaped(lambda rng, x: np.exp(0.8 * x)),
    "skewed (lognormal 1.3)": shaped(lambda rng, x: np.exp(1.3 * x)),
    "heavy-tailed (t3)": shaped(student),
    "3 % far out": shaped(lambda rng, x: np.where(rng.random(len(x)) < 0.03, 5 * rng.normal(size=len(x)), x)),
}


def clustered(
    rng: np.random.Generator, sizes: Any, methods: int = 1, share: float = 0.7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw equally good methods (M, N), labels, clusters; a part of quality and of errors is shared by a cluster."""
    names = np.repeat(np.arange(len(sizes)), sizes)

    def shared(scale: float) -> np.ndarray:
        return scale * rng.normal(size=len(sizes))[names]

    n = len(names)
    quality = rng.normal(size=n) + shared(share)
    common = 0.6 * rng.normal(size=n) + shared(0.5 * share)
    matrix = [quality + common + 0.5 * rng.normal(size=n) + shared(0.5 * share) for _ in range(methods)]
    return np.stack(matrix), quality + 0.3 * rng.normal(size=n), names


@dataclass(frozen=True)
class Design:
    """A number of images, alone or in clusters of one size or of 2 to 200."""

    clusters: int
    each: int = 1
    unequal: bool = False

    def __str__(self) -> str:
        if self.each == 1:
            return f"n {self.clusters}"
        return f"clusters, {self.clusters} of " + ("2 to 200" if self.unequal else str(self.each))

    def draw(
        self, rng: np.random.Generator, methods: int = 1, size: int = 0
    ) -> tuple[np.ndarray, np.ndarray, Sampling]:
        """Draw methods (M, N), labels, and their sampling; size: another number of clusters, for the true values."""
        count = size or self.clusters
        sizes = np.full(count, self.each)
        if self.unequal:
            sizes = np.round(np.exp(rng.uniform(np.log(2), np.log(200), count))).astype(int)
        matrix, y, names = clustered(rng, sizes, methods, 0.0 if self.each == 1 else 0.7)
        return matrix, y, Sampling(len(y), None, None if self.each == 1 else names)


def side(low: float, high: float, truth: float) -> tuple[bool | None, float]:
    """Tell whether a printed interval holds the truth, and its width."""
    return (None, np.nan) if not np.isfinite(low) else (bool(low <= truth <= high), high - low)


def rejected(p: Any) -> tuple[bool | None, float]:
    """Tell whether any p of a table is below 0.05."""
    p = np.atleast_1d(np.asarray(p, float))
    return (None if np.isnan(p).all() else bool((p < 0.05).any())), np.nan


_TRUE: dict[str, Any] = {}


def true(name: str, compute: Callable[[], Any]) -> Any:
    """Return a population value, computed once."""
    if name not in _TRUE:
        _TRUE[name] = compute()
    return _TRUE[name]


def both(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return SRCC and PLCC."""
    return {"srcc": srcc(x, y), "plcc": plcc(x, y)}


def printed(x: np.ndarray, y: np.ndarray, sampling: Sampling, truth: dict[str, float]) -> Held:
    """Hold the intervals of ``agreement.csv`` against the truth."""
    result = agreement(x, y, sampling, fit=None)
    return {name: side(result[name].ci_low, result[name].ci_high, value) for name, value in truth.items()}


def independent(name: str, draw: Draw, n: int) -> Row:
    """Images drawn one by one."""

    def once(rng: np.random.Generator) -> Held:
        truth = true(name, lambda: both(*draw(np.random.default_rng(0), 1_000_000)))
        return printed(*draw(rng, n), Sampling(n), truth)

    return Row(f"{name}, n {n}", "interval", "population value", once)


def by_clusters(design: Design) -> Row:
    """Whole clusters."""

    def population() -> dict[str, float]:
        (x,), y, _ = design.draw(np.random.default_rng(0), size=200_000 // design.each)
        return both(x, y)

    def once(rng: np.random.Generator) -> Held:
        truth = true(f"clusters of {design.each}, {design.unequal}", population)
        (x,), y, sampling = design.draw(rng)
        return printed(x, y, sampling, truth)

    return Row(str(design), "interval", "population value", once)


def within(groups: int, size: int, clusters: str = "none", count: int = 0) -> Row:
    """SRCC within groups: groups alone, crossed with clusters, or inside clusters."""
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

    def mean_srcc(x: np.ndarray, y: np.ndarray) -> float:
        a, b = (
            v.reshape(groups, size).argsort(axis=1).argsort(axis=1) - (size - 1) / 2 for v in (x, y)
        )  # no ties
        return float(((a * b).sum(axis=1) / (a * a).sum(axis=1)).mean())

    def expectation() -> float:
        rng = np.random.default_rng(1)
        return float(np.mean([mean_srcc(*draw(rng)[:2]) for _ in range(2000)]))

    def once(rng: np.random.Generator) -> Held:
        truth = true(name, expectation)
        x, y, names, of = draw(rng)
        estimate = agreement(x, y, Sampling(len(y), names, of), fit=None)[WITHIN]
        return {WITHIN: side(estimate.ci_low, estimate.ci_high, truth)}

    return Row(name, "interval", "the statistic's expectation at this size", once)


def null(design: Design, statistic: str, tails: str = "") -> Row:
    """Two equally good methods; tails: of their scores."""

    def once(rng: np.random.Generator) -> Held:
        (a, b), y, sampling = design.draw(rng, 2)
        if tails == "t3":
            a, b = student(rng, a), student(rng, b)
        elif tails == "lognormal":
            a, b = np.exp(a), np.exp(b)
        if statistic == WITHIN:
            sampling = Sampling(len(y), np.arange(len(y)) % 4, sampling.clusters)
        row = compare({"a": a, "b": b}, y, sampling, statistic=statistic).iloc[0]
        return {
            f"p of {statistic}": rejected(row["p"]),
            f"paired interval of {statistic}": side(row["diff_low"], row["diff_high"], 0.0),
        }

    return Row(f"equal methods, {design}, {statistic}" + f", {tails}" * bool(tails), "test", "0", once)


def family_null(methods: int, design: Design, statistic: str = "srcc") -> Row:
    """Equally good methods: against a reference, all pairs, and against the best of the sample."""

    def once(rng: np.random.Generator) -> Held:
        matrix, y, sampling = design.draw(rng, methods)
        values = sampling.statistic(statistic, matrix, y)
        found = {"against a reference, any": rejected(_p(values[1:] - values[[0] * (methods - 1)]))}
        if methods <= 20:
            first, second = np.triu_indices(methods, 1)
            found["all pairs, any"] = rejected(_p(values[first] - values[second]))
            found["against the best, any"] = rejected(against_best(matrix, y, statistic, sampling)[0])
        return found

    words = "" if statistic == "srcc" else f", {statistic}"
    return Row(f"{methods} equal methods, {design}{words}", "test", "0", once)


def _p(difference: Sampled) -> np.ndarray:
    return family(difference.values, difference.parts).p_adjusted


def settings_null(rows: int, design: Design) -> Row:
    """Settings of one parameter between two equal methods: rows that rise and fall together."""

    def once(rng: np.random.Generator) -> Held:
        (a, b), y, sampling = design.draw(rng, 2)
        angles = np.linspace(0, np.pi / 2, rows)
        matrix = np.stack([np.cos(t) * a + np.sin(t) * b for t in angles])
        # equally good are the two ends, and the pairs that lie alike around the middle
        return {"the equal end": rejected(against(matrix, y, 0, sampling)["p_adjusted"].iloc[-1])}

    return Row(f"{rows} settings between two equal methods, {design}", "test", "0", once)


def near_equal(rows: int) -> Row:
    """A true difference beside rows that nearly equal the reference: one pair of neighbours exchanged in each."""

    def once(rng: np.random.Generator) -> Held:
        n = 300
        quality = rng.normal(size=n)
        y = quality + 0.3 * rng.normal(size=n)
        a = quality + rng.normal(size=n)
        b = a + 0.75 * rng.normal(size=n)
        near, order = np.tile(a, (rows, 1)), np.argsort(a)
        for row, k in zip(near, np.linspace(5, n - 10, rows).astype(int), strict=True):
            row[order[[k, k + 1]]] = a[order[[k + 1, k]]]
        table = against(np.stack([a, b, *near]), y, 0, Sampling(n))
        over = bool(table["p_adjusted"].iloc[1] > min(1.0, (rows + 1) * table["p"].iloc[1]) + 1e-12)
        return {"the worse method": rejected(table["p_adjusted"].iloc[1]), "above Bonferroni": (over, np.nan)}

    return Row(f"{rows} nearly equal rows, n 300", "power", "", once)


def power(design: Design, difference: float = 0.05) -> Row:
    """A pair of correlation 0.9 whose correlations with the label differ."""

    def once(rng: np.random.Generator) -> Held:
        ra, rb = 0.7, 0.7 - difference
        root = np.linalg.cholesky(np.array([[1, 0.9, ra], [0.9, 1, rb], [ra, rb, 1]]))
        a, b, y = root @ rng.normal(size=(3, design.clusters))
        return {"paired test": rejected(compare({"a": a, "b": b}, y)["p"])}

    return Row(f"a difference of {difference} in rho, {design}", "power", "", once)


def clustered_power(design: Design) -> Row:
    """Ten methods, the first of them worse: is it found among all rows?"""

    def once(rng: np.random.Generator) -> Held:
        matrix, y, sampling = design.draw(rng, 10)
        matrix[1] = matrix[1] + 0.5 * rng.normal(size=len(y))
        return {"the worse of ten": rejected(against(matrix, y, 0, sampling)["p_adjusted"].iloc[1])}

    return Row(f"one worse of 10, {design}", "power", "", once)


def pairs_told_apart(design: Design) -> Row:
    """Krasula's share of pairs ordered rightly."""
    name = f"told-apart pairs, {design}"

    def population() -> float:
        rng = np.random.default_rng(2)
        shares = []
        for _ in range(10):
            (x,), y, _ = design.draw(rng, size=6000 // design.each)
            shares.append(krasula(x, y, np.full(len(y), 0.3), 1, max_pairs=500_000).ordered_rightly)
        return float(np.mean(shares))

    def once(rng: np.random.Generator) -> Held:
        truth = true(name, population)
        (x,), y, sampling = design.draw(rng)
        result = krasula(x, y, np.full(len(y), 0.3), 1, sampling)
        return {"ordered rightly": side(result.ci_low, result.ci_high, truth)}

    return Row(name, "interval", "population value (60,000 images)", once)


def over_untrained(seeds: int) -> Row:
    """SRCC beyond the mean over untrained networks."""

    def once(rng: np.random.Generator) -> Held:
        y, n = rng.normal(size=300), 300
        content = rng.normal(size=n)  # what every network sees
        nulls = [s * y + 0.5 * content + rng.normal(size=n) for s in 0.15 * rng.normal(size=seeds)]
        matrix = np.stack([0.4 * y + 0.5 * content + rng.normal(size=n), *nulls])
        values = Sampling(n).statistic("srcc", matrix, y)
        row = excess(values[[0]], values[1:])
        r = 0.4 / np.sqrt(0.4**2 + 0.25 + 1)
        return {"excess": side(row["diff_low"], row["diff_high"], 6 / np.pi * np.arcsin(r / 2))}

    name = f"excess over {seeds} untrained networks, n 300"
    return Row(name, "interval", "SRCC less its mean over all seeds", once)


def groups_sampled(groups: int, each: int = 60) -> Row:
    """Pooled SRCC and PLCC where other groups of the kind could stand: groups differ in level and in agreement."""
    name = f"other groups, {groups} of {each}"

    def draw(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray]:
        level, bias, slope = rng.normal(size=(3, k)).repeat(each, axis=1)
        quality = rng.normal(size=k * each)
        return (1 + 0.3 * slope) * quality + level + 0.7 * bias + rng.normal(size=k * each), quality + level

    def once(rng: np.random.Generator) -> Held:
        truth = true(name, lambda: both(*draw(np.random.default_rng(0), 1_000_000 // each)))
        x, y = draw(rng, groups)
        result = agreement(x, y, Sampling(len(y), np.arange(len(y)) // each), fit=None)
        sides = {s: (result[s].ci_groups_low, result[s].ci_groups_high) for s in truth}
        return {f"{s}, other groups": side(*sides[s], truth[s]) for s in truth}

    return Row(name, "interval", "population value", once)


def inside_parts(design: Design, by: str) -> Row:
    """Two equally good methods inside bins of the label (regimes) or groups (breakdown): one by one, and all."""

    def once(rng: np.random.Generator) -> Held:
        matrix, y, sampling = design.draw(rng, 2)
        parts = bins(y, 3) if by == "bin" else [np.flatnonzero(np.arange(len(y)) % 6 == k) for k in range(6)]
        gaps = []
        for rows in parts:
            values = sampling.statistic("srcc", matrix[:, rows], y[rows], rows)
            gaps.append(values[[0]] - values[[1]])
        table = differences(stacked(gaps))
        first = table.iloc[0]
        return {
            "interval of the first": side(first["diff_low"], first["diff_high"], 0.0),
            "any": rejected(table["p_adjusted"]),
        }

    return Row(f"equal methods inside a {by}, {design}", "test", "0", once)


def simultaneous(design: Design) -> Row:
    """Ten unequal methods against the first: do all intervals of the table hold at once?"""
    name = f"10 unequal methods, {design}"

    def draw(rng: np.random.Generator, size: int = 0) -> tuple[np.ndarray, np.ndarray, Sampling]:
        matrix, y, sampling = design.draw(rng, 10, size)
        return matrix + np.linspace(0.3, 1.2, 10)[:, None] * y, y, sampling

    def population() -> np.ndarray:
        matrix, y, _ = draw(np.random.default_rng(0), 200_000 // design.each)
        values = np.array([srcc(x, y) for x in matrix])
        return values[1:] - values[0]

    def once(rng: np.random.Generator) -> Held:
        truth = true(name, population)
        matrix, y, sampling = draw(rng)
        table = against(matrix, y, 0, sampling).iloc[1:]
        low, high = (table[f"ci_simultaneous_{s}"].to_numpy() for s in ("low", "high"))
        one = table.iloc[4]
        return {
            "simultaneous intervals, all": (bool(((low <= truth) & (truth <= high)).all()), float(np.mean(high - low))),
            "paired interval": side(one["diff_low"], one["diff_high"], truth[4]),
        }  # fmt: skip

    return Row(name, "interval", "population value", once)


def content(groups: int, each: int, crossed: bool, given: bool) -> Row:
    """F test of `experiment=bias`: values that do not depend on the content, or only by the label."""

    def once(rng: np.random.Generator) -> Held:
        names, kinds = np.repeat(np.arange(groups), each), np.tile(np.arange(each), groups)
        x = rng.normal(size=len(names)) + (rng.normal(size=each)[kinds] if crossed else 0.0)
        y = rng.normal(size=groups)[names] + rng.normal(size=len(names)) if given else None
        p = content_share(x if y is None else 0.7 * y + x, names, [kinds] if crossed else [], y)[1]
        return {"F test": rejected(p)}

    words = ", crossed with kinds" * crossed + ", given the label" * given
    return Row(f"share of {groups} contents of {each}{words}", "test", "no difference", once)


def probed(images: int) -> Row:
    """Probe's median over images of SRCC within an image at five levels."""

    def draw(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        each, out = rng.normal(size=n), {}
        for cue, noise, shared in (("q_sim", 1.5, 0.3), ("q_mag", 3.0, 1.0)):
            values = -np.arange(5) * (1 + shared * each[:, None]) + noise * rng.normal(size=(n, 5))
            out[cue] = ((values.argsort(axis=1).argsort(axis=1) - 2.0) @ (np.arange(5) - 2.0)) / 10
        return out | {"q_mag - q_sim": out["q_mag"] - out["q_sim"]}

    def population() -> dict[str, float]:
        return {k: float(np.median(v)) + 0.0 for k, v in draw(np.random.default_rng(0), 400_001).items()}

    def once(rng: np.random.Generator) -> Held:
        truth, values = true("probe", population), draw(rng, images)
        parts = [
            pd.DataFrame({"image": range(images), "type": "a", "score": cue, "srcc": values[cue]})
            for cue in ("q_sim", "q_mag")
        ]
        table = summary(pd.concat(parts)).set_index("score")
        return {
            f"median of {cue}": side(table["ci_low"][cue], table["ci_high"][cue], value)
            for cue, value in truth.items()
        }

    return Row(f"probe, {images} images", "interval", "population median", once)


def partial(design: Design) -> Row:
    """Partial SRCC given two controls."""
    name = f"partial SRCC, {design}"

    def draw(rng: np.random.Generator, size: int = 0) -> tuple[Any, ...]:
        (x, control), y, sampling = design.draw(rng, 2, size)
        return x, y, np.column_stack([control, rng.normal(size=len(y))]), sampling

    def once(rng: np.random.Generator) -> Held:
        truth = true(name, lambda: partial_srcc(*draw(np.random.default_rng(0), 400_000 // design.each)[:3]))
        x, y, given, sampling = draw(rng)
        ((low, high),) = sampling.partial(x, y, given).correlation_intervals()
        return {"partial": side(low, high, truth)}

    return Row(name, "interval", "population value", once)


def in_bins(design: Design) -> Row:
    """Means in ten bins of about equal size (weights, the magnitude figure)."""
    name = f"means in 10 bins, {design}"

    def population() -> tuple[np.ndarray, np.ndarray]:
        (x,), y, _ = design.draw(np.random.default_rng(0), size=1_000_000 // design.each)
        edges = np.quantile(y, np.linspace(0, 1, 11)[1:-1])
        key = np.searchsorted(edges, y)
        return edges, np.bincount(key, expit(x)) / np.bincount(key)

    def once(rng: np.random.Generator) -> Held:
        edges, means = true(name, population)
        (x,), y, sampling = design.draw(rng)
        key, out = np.searchsorted(edges, y), {}
        for k in (0, 5):
            rows = np.flatnonzero(key == k)
            if len(rows):
                ((low, high),) = sampling.mean(expit(x), rows).intervals()
                out[f"bin {k + 1}"] = side(low, high, means[k])
        return out

    return Row(name, "interval", "mean in the population's bin", once)


def walked(design: Design) -> Row:
    """Reconcile's change from one step to the next: to an equally good method, and to four fifths of the images."""

    def once(rng: np.random.Generator) -> Held:
        matrix, y, sampling = design.draw(rng, 2)
        rows = np.flatnonzero(np.arange(len(y)) % 5)
        before = sampling.statistic("srcc", matrix, y)
        fewer = sampling.statistic("srcc", matrix[:1, rows], y[rows], rows)
        steps = {"another method": before[[1]] - before[[0]], "fewer images": fewer - before[[0]]}
        return {f"change to {name}": side(*step.intervals()[0], 0.0) for name, step in steps.items()}

    return Row(f"reconcile, {design}", "interval", "0", once)


def over_sets(count: int) -> Row:
    """The mean gain over data sets whose own sampling errors and number of images differ."""

    def once(rng: np.random.Generator) -> Held:
        errors = np.exp(rng.uniform(np.log(0.003), np.log(0.05), count))
        gains = 0.02 + 0.03 * rng.normal(size=count) + errors * rng.normal(size=count)
        _, low, high = mean_over_sets(gains)
        return {"mean gain": side(low, high, 0.02)}

    return Row(f"mean over {count} sets, unequal variances", "interval", "mean over all sets", once)


def pristine_auroc(references: int, each: int = 25) -> Row:
    """`experiment=pristine`: AUROC by references, which differ in level and in how much the score falls."""
    name = f"AUROC, {references} references of {each}"

    def draw(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        level, fall = 0.7 * rng.normal(size=k), 1.2 * np.exp(0.3 * rng.normal(size=k))
        of = np.repeat(np.arange(k), each)
        strength = rng.uniform(0.2, 2.0, size=k * each)
        distorted = level[of] - fall[of] * strength + 0.5 * rng.normal(size=k * each)
        return level + 0.5 * rng.normal(size=k), distorted, np.arange(k), of

    def once(rng: np.random.Generator) -> Held:
        truth = true(name, lambda: auroc(*draw(np.random.default_rng(0), 40_000)[:2]))
        _, low, high = auroc_interval(*draw(rng, references))
        return {"AUROC": side(low, high, truth)}

    return Row(name, "interval", "population value", once)


def levels_followed(references: int) -> Row:
    """`experiment=pristine`: mean over references of SRCC with five levels in five types, some chains in one order."""
    name = f"SRCC with the level, {references} references"

    def draw(rng: np.random.Generator, k: int) -> np.ndarray:
        values = -np.arange(5) * np.exp(0.4 * rng.normal(size=(k, 1, 1))) + 1.5 * rng.normal(size=(k, 5, 5))
        return ((values.argsort(axis=2).argsort(axis=2) - 2.0) @ (np.arange(5) - 2.0) / 10).mean(axis=1)

    def once(rng: np.random.Generator) -> Held:
        truth = true("levels", lambda: float(draw(np.random.default_rng(0), 200_000).mean()))
        ((low, high),) = Sampling(references).mean(draw(rng, references), np.arange(references)).intervals()
        return {"mean SRCC": side(low, high, truth)}

    return Row(name, "interval", "population value", once)


def real(run: Path) -> Iterator[Row]:
    """AGIQA-3K's scores as a population: images drawn one by one, or by prompts."""
    table = pd.read_csv(run / "scores.csv")
    y, prompts = table["mos"].to_numpy(float), table["prompt"].astype("category").cat.codes.to_numpy()
    members = [np.flatnonzero(prompts == k) for k in range(prompts.max() + 1)]

    def row(score: str, by: str, size: int) -> Row:
        x = table[score].to_numpy(float)
        truth = both(x, y)

        def once(rng: np.random.Generator) -> Held:
            if by == "images":
                rows = rng.integers(len(y), size=size)
                return printed(x[rows], y[rows], Sampling(size), truth)
            parts = [members[i] for i in rng.integers(len(members), size=size)]
            rows, of = np.concatenate(parts), np.repeat(np.arange(size), [len(p) for p in parts])
            return printed(x[rows], y[rows], Sampling(len(rows), None, of), truth)

        words = f"n {size}" if by == "images" else f"{size} prompts"
        return Row(f"AGIQA-3K {score}, {words}", "interval", "the set's value", once)

    for score in ("q", "q_sim", "q_mag", "laplacian", "bytes"):
        yield from (row(score, "images", n) for n in (50, 300))
        yield from (row(score, "prompts", k) for k in (5, 10, 25))


def rows(agiqa3k: Path | None = None) -> list[Row]:
    """Return all rows, those that matter most first."""
    images, few = Design(300), Design(10, 10)
    return [
        *(null(d, "srcc") for d in (images, few, Design(5, 10), Design(25, 10), Design(8, 10), Design(80, 10))),
        *(null(Design(n), "srcc") for n in (10, 20, 50)),
        *(family_null(10, d) for d in (images, Design(50), Design(25, 10), Design(16, 10), few, Design(5, 10))),
        *(family_null(101, d) for d in (images, few)),
        *(settings_null(k, d) for k in (13, 101) for d in (images, few)),
        *(near_equal(k) for k in (0, 2, 20, 100)),
        *(power(Design(n)) for n in (50, 300)),
        *(clustered_power(d) for d in (Design(50), images, Design(25, 10), few)),
        *(within(g, s) for g, s in ((50, 10), (200, 5), (10, 30), (5, 50), (5, 5), (300, 10), (10, 300))),
        *(within(8, 30, "crossed with", k) for k in (5, 10, 25)),
        *(within(20, 10, "inside", k) for k in (5, 10, 20)),
        *(by_clusters(Design(k, 10)) for k in (5, 8, 10, 16, 25, 80, 2, 3)),
        *(by_clusters(Design(k, 30, True)) for k in (5, 10, 25, 60)),
        *(independent(p, draw, n) for p, draw in POPULATIONS.items() for n in (50, 300)),
        *(independent("normal", normal, n) for n in (5, 8, 10, 20, 100, 1000)),
        *(independent(p, POPULATIONS[p], 1000) for p in ("bounded", "skewed (lognormal 0.8)", "heavy-tailed (t3)")),
        *(real(agiqa3k) if agiqa3k else []),
        *(null(d, s) for s in ("plcc", WITHIN) for d in (images, few)),
        *(null(Design(n), "plcc", t) for t in ("t3", "lognormal") for n in (50, 300)),
        *(family_null(m, images) for m in (5, 20)),
        family_null(10, images, "plcc"),
        *(pairs_told_apart(d) for d in (Design(60), few, Design(25, 10))),
        *(over_untrained(k) for k in (2, 3, 5)),
        *(groups_sampled(k) for k in (5, 10, 25)),
        *(inside_parts(d, by) for by in ("bin", "group") for d in (images, Design(16, 12))),
        *(simultaneous(d) for d in (images, Design(16, 10))),
        *(content(20, 10, c, g) for c in (False, True) for g in (False, True)),
        *(probed(k) for k in (6, 16, 60)),
        *(partial(d) for d in (Design(100), few)),
        *(in_bins(d) for d in (Design(100), Design(1000), Design(25, 24))),
        *(walked(d) for d in (images, Design(16, 10))),
        *(over_sets(k) for k in (5, 6, 9)),
        *(row(k) for k in (16, 25, 81) for row in (pristine_auroc, levels_followed)),
    ]  # fmt: skip


COLUMNS = ["row", "what", "printed", "estimand", "sets", "sets_asked", "withheld", "rate", "se", "width", "verdict",
           "cpu_seconds"]  # fmt: skip


def run(row: Row, sets: int, seconds: float = np.inf) -> list[dict[str, Any]]:
    """Simulate a row; fewer sets where the time allows no more, which the table says."""
    rng = np.random.default_rng(zlib.crc32(row.name.encode()))
    results: dict[str, list[tuple[bool | None, float]]] = {}
    start, done = time.process_time(), 0
    for _ in range(sets):
        for name, value in row.once(rng).items():
            results.setdefault(name, []).append(value)
        done += 1
        if time.process_time() - start > seconds:
            break
    spent = time.process_time() - start
    out = []
    for name, values in results.items():
        known, widths = np.array([(v, w) for v, w in values if v is not None], float).reshape(-1, 2).T
        rate = float(known.mean()) if len(known) else np.nan
        error = float(np.sqrt(max(rate * (1 - rate), 1 / len(known)) / len(known))) if len(known) else np.nan
        what = "interval" if "interval" in name else row.what
        numbers = {
            "sets": done,
            "sets_asked": sets,
            "withheld": 1 - len(known) / done,
            "rate": rate,
            "se": error,
            "width": pd.Series(widths).mean(),
            "verdict": verdict(what, rate, error, len(known)),
            "cpu_seconds": round(spent / len(results), 1),
        }
        out.append({"row": row.name, "what": what, "printed": name, "estimand": row.estimand} | numbers)
    return out


def verdict(what: str, rate: float, error: float, known: int) -> str:
    """Return a word: held means at least 93 % of intervals, at most 6 % of true nulls, two standard errors allowed.

    Conservative: intervals that hold in over 97.5 %, and tests that reject under 1 % of true nulls.
    """
    if what == "power":
        return ""
    if known < 50:
        return "too few printed to say"
    if what == "test":
        return "FAILS" if rate > 0.06 + 2 * error else "conservative" if rate < 0.01 else "held"
    if rate < 0.93 - 2 * error:
        return "FAILS"
    return "conservative" if rate > 0.975 else "held"


def main() -> None:
    """Run the rows that are not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/coverage"))
    parser.add_argument("--agiqa3k", type=Path)
    parser.add_argument("--sets", type=int, default=1000)
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
        new = pd.DataFrame(run(row, given.sets, given.seconds))
        table = pd.concat([table[table["row"] != row.name], new], ignore_index=True)[COLUMNS]
        table.to_csv(file, index=False, float_format="%.4f", lineterminator="\n")
        print(new.to_string(index=False, header=False), flush=True)
    print(f"{file}: {len(table)} rows, {table['cpu_seconds'].sum() / 3600:.2f} CPU hours")


if __name__ == "__main__":
    main()
