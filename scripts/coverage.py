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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from magiqa.stats.agreement import Agreement, Estimate, agreement, within_groups
from magiqa.stats.bootstrap import bootstrap_many, resample_counts
from magiqa.stats.correlation import krcc, plcc, point_many, srcc
from magiqa.stats.intervals import count_units, too_few
from magiqa.stats.p_values import best_set, family
from magiqa.stats.paired import paired
from magiqa.stats.raters import krasula
from magiqa.stats.selection import excess
from magiqa.stats.variants import statistics

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


def null(clusters: int, each: int, statistic: str, what: str = "test") -> Row:
    """Two equally good methods."""

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        (a, b), y, names = clustered(rng, clusters, each, 2, 0.0 if each == 1 else 0.7)
        options: dict[str, Any] = {"resamples": resamples, "seed": seed, "statistic": statistic}
        if statistic == "srcc_within":
            options["groups"] = np.arange(len(y)) % 4
        found = paired(a, b, y, clusters=None if each == 1 else names, **options)
        return {
            f"p of {statistic}": (None if found.withheld else found.p < 0.05, np.nan),
            f"paired interval of {statistic}": side(found.ci_low, found.ci_high, 0.0),
        }

    design = f"n {clusters}" if each == 1 else f"clusters, {clusters} of {each}"
    return Row(f"equal methods, {design}, {statistic}", what, "0", once)


def family_null(methods: int, clusters: int, each: int) -> Row:
    """Equally good methods: against a reference, and which may be best."""

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        matrix, y, names = clustered(rng, clusters, each, methods, 0.0 if each == 1 else 0.7)
        counts = resample_counts(len(y), None if each == 1 else names, None, resamples, seed)
        point, draws = point_many("srcc", matrix, y), bootstrap_many("srcc", matrix, y, counts)
        units = count_units(len(y), None if each == 1 else names)
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
    return Row(f"{methods} equal methods, {design}", "test", "0", once)


def grid_null() -> Row:
    """101 settings of one parameter of no effect on the expectation: nearly one method."""

    def once(rng: np.random.Generator, resamples: int, seed: int) -> Held:
        (a, b), y, _ = clustered(rng, 300, 1, 2, 0.0)
        matrix = np.stack([np.cos(t) * a + np.sin(t) * b for t in np.linspace(0, np.pi / 2, 101)])
        found = statistics(matrix[[0, -1, *range(60, 100)]], y, 0, resamples=resamples, seed=seed)
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
            x, y, _ = draw(np.random.default_rng(2), 3000 // each)
            _EXPECTED[name] = krasula(
                x, y, np.full(len(y), 0.3), 1, resamples=2, max_pairs=5_000_000
            ).ordered_rightly
        x, y, names = draw(rng, clusters)
        std = np.full(len(y), 0.3)
        found = krasula(x, y, std, 1, clusters=None if each == 1 else names, resamples=resamples, seed=seed)
        return {"ordered rightly": side(found.ci_low, found.ci_high, _EXPECTED[name])}

    return Row(name, "interval", "population value (one set of 3,000)", once)


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
