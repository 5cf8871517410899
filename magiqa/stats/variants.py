"""Many variants against one of them: a row each. Pure."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from magiqa.cores import allowed_cores
from magiqa.stats.bootstrap import bootstrap_many, resample_counts
from magiqa.stats.correlation import WITHIN, images_within, point_many
from magiqa.stats.intervals import count_units, interval, shifted, studentized_plcc_many, too_few, too_skewed
from magiqa.stats.p_values import family
from magiqa.stats.paired import OTHER_GROUPS


def statistics(
    matrix: np.ndarray,
    y: np.ndarray,
    reference: int,
    *,
    groups: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """A row a variant: SRCC, SRCC within groups, PLCC, their 95 % intervals, and the paired difference to one of them.

    Args:
        matrix: (M, N) scores. y: (N,) labels. reference: the row that all others are compared with, on the same
            resamples, ranked anew in each; p_adjusted and the simultaneous interval are of all rows at once.

    Returns:
        n, each statistic with its interval, ``n_within`` (images in groups where SRCC is defined), ``diff`` (SRCC) and
        ``diff_within`` (none where those groups are others than the reference's) with interval, p, p_adjusted and
        simultaneous interval, ``p_floor`` (the smallest p possible), ``withheld`` (why a row lacks an interval).
    """
    units, few = count_units(len(y), clusters), too_few(len(y), clusters)
    counts = resample_counts(len(y), clusters, None, resamples, seed)
    inside = (
        counts
        if groups is None or clusters is not None
        else resample_counts(len(y), None, groups, resamples, seed)
    )
    chosen = ["srcc", *([WITHIN] if groups is not None else [])]
    point = {s: point_many(s, matrix, y, groups) for s in (*chosen, "plcc")}

    def drawn(s: str) -> np.ndarray:
        of, by = (inside, groups) if s == WITHIN else (counts, None)
        # resamples side by side, not variants: the labels are ranked once in each for all variants
        parts = np.array_split(of, min(allowed_cores(), len(of)))
        with ThreadPoolExecutor(allowed_cores()) as executor:
            return np.hstack(list(executor.map(lambda part: bootstrap_many(s, matrix, y, part, by), parts)))

    draws = {s: drawn(s) for s in chosen}
    reasons = [few] * len(matrix)
    table = pd.DataFrame({"n": np.full(len(matrix), len(y))})

    def add(name: str, values: np.ndarray, sides: list[tuple[float, float]]) -> None:
        table[name] = values
        table[f"{name}_low"], table[f"{name}_high"] = np.array(sides, float).reshape(-1, 2).T

    add("srcc", point["srcc"], [interval(d, units) for d in draws["srcc"]])
    if groups is not None:
        pairs = zip(point[WITHIN], draws[WITHIN], strict=True)
        add(WITHIN, point[WITHIN], [shifted(v, d, units) for v, d in pairs])
        counted = images_within(matrix, y, groups)
        table["n_within"] = counted.sum(axis=1)
        others = (counted != counted[reference]).any(axis=1)
    skewed_labels = too_skewed(y, "labels")
    reasons = [r or skewed_labels or too_skewed(x, "scores") for r, x in zip(reasons, matrix, strict=True)]
    sides = [(np.nan, np.nan)] * len(matrix)
    usable = [k for k, reason in enumerate(reasons) if not reason and np.isfinite(point["plcc"][k])]
    for k, found_sides in zip(
        usable, studentized_plcc_many(matrix[usable], y, counts, clusters), strict=True
    ):
        sides[k] = found_sides
    add("plcc", point["plcc"], sides)
    for s, name, p, all_at_once in (
        ("srcc", "diff", "p", "ci_simultaneous"),
        (WITHIN, "diff_within", "p_within", "within_simultaneous"),
    ):
        if s in chosen:
            values = point[s] - point[s][reference]
            if s == WITHIN:
                values[others] = np.nan
            found = family(values, draws[s] - draws[s][reference], units)
            table[name], table[f"{name}_low"], table[f"{name}_high"] = values, found.low, found.high
            table[p], table[f"{p}_adjusted"] = found.p, found.p_adjusted
            table[f"{all_at_once}_low"], table[f"{all_at_once}_high"] = found.low_all, found.high_all
            table["p_floor"] = found.floor
            for k in range(len(matrix)):
                word = OTHER_GROUPS if s == WITHIN and others[k] else found.withheld[k]
                if k != reference and not few and word not in reasons[k]:
                    reasons[k] = "; ".join(filter(None, (reasons[k], word)))
    table["withheld"] = reasons
    return table
