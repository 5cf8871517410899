"""Many variants against one of them: a row each. Pure."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from magiqa.cores import allowed_cores
from magiqa.stats.bootstrap import bootstrap_many, count_clusters, interval, resample_counts
from magiqa.stats.correlation import point_many
from magiqa.stats.paired import bootstrap_p, holm


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
            resamples, ranked anew in each.
    """
    counts = resample_counts(len(y), clusters=clusters, resamples=resamples, seed=seed)
    inside, units = counts, count_clusters(clusters)
    if groups is not None and clusters is None:
        inside = resample_counts(len(y), groups=groups, resamples=resamples, seed=seed)
    chosen: dict[str, tuple[np.ndarray, np.ndarray | None]] = {"srcc": (counts, None), "plcc": (counts, None)}
    if groups is not None:
        chosen["srcc_within"] = (inside, groups)
    point = {s: point_many(s, matrix, y, g) for s, (_, g) in chosen.items()}
    with ThreadPoolExecutor(allowed_cores()) as executor:
        bands = {
            s: np.concatenate(
                list(executor.map(lambda x, s=s, c=c, g=g: bootstrap_many(s, x[None], y, c, g), matrix))
            )
            for s, (c, g) in chosen.items()
        }
    rows = []
    for v in range(len(matrix)):
        row: dict[str, Any] = {"n": len(y)}
        for s in ("srcc", "srcc_within", "plcc"):
            if s in chosen:
                row[s] = point[s][v]
                row[f"{s}_low"], row[f"{s}_high"] = interval(bands[s][v], clusters=units)
        for s, name in (("srcc", "diff"), ("srcc_within", "diff_within")):
            if s in chosen:
                differences = bands[s][v] - bands[s][reference]
                row[name] = point[s][v] - point[s][reference]
                row[f"{name}_low"], row[f"{name}_high"] = interval(differences, clusters=units)
                if s == "srcc":
                    row["p"] = float("nan") if v == reference else bootstrap_p(differences, units)
        rows.append(row)
    table = pd.DataFrame(rows)
    tested = table["p"].notna()
    table.insert(table.columns.get_loc("p") + 1, "p_holm", np.nan)
    if tested.any():
        table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy())
    return table
