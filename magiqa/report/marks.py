"""Ranks within each column of the main table, and which methods may be its best."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from magiqa.datasets.base import occurrences
from magiqa.report.material import Material
from magiqa.report.words import LOWER_IS_BETTER
from magiqa.runs.names import CONTROLS
from magiqa.runs.read import Run
from magiqa.stats.family import SIGNIFICANCE
from magiqa.stats.paired import against_best
from magiqa.stats.sampling import TESTED, WITHIN, Sampling

UNTESTED = "‡"


def marks(material: Material, rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``rank, p_best, in_best_set, untested`` of each run, score and statistic; controls do not compete.

    Values that print alike have the same rank. A test is on the images of the best method.
    """
    by_name = {run.name: run for run in material.every_run}
    out = []
    for (_, statistic), part in rows[~rows["score"].isin(list(CONTROLS))].groupby(
        ["dataset", "statistic"], sort=False
    ):
        lower = statistic in LOWER_IS_BETTER
        part = part[part["value"].notna()]
        if statistic == WITHIN:  # a score that is defined in some groups only does not compete
            part = part[part["n"] == part["n"].max()]
        part = part.sort_values("value", ascending=lower, kind="stable")
        if not len(part):
            continue
        entries = part[["run", "score", "statistic"]].copy()
        entries["rank"] = part["value"].round(3).rank(method="min", ascending=lower)
        if len(set(part["value"].round(3))) == 1:
            entries["rank"] = np.nan
        best = by_name[str(part["run"].iloc[0])]
        scores = [_on_images_of(best, by_name[r], s) for r, s in zip(part["run"], part["score"], strict=True)]
        p = _p_best(best, str(statistic), scores)
        entries["p_best"], entries["untested"] = p, ~np.isfinite(p) & (len(part) > 1)
        entries["in_best_set"] = np.nan_to_num(p) >= SIGNIFICANCE
        if not entries["in_best_set"].iloc[1:].any():  # nothing to mark beside the best itself
            entries["in_best_set"] = False
        out.append(entries)
    table = pd.concat(out, ignore_index=True)
    return table.astype({"untested": object, "in_best_set": object})


def _p_best(best: Run, statistic: str, scores: Sequence[np.ndarray | None]) -> np.ndarray:
    """Return p of the hypothesis that a method is as good as the best (M,), NaN where it is not tested."""
    out = np.full(len(scores), np.nan)
    usable = {
        k: values for k, values in enumerate(scores) if values is not None and np.isfinite(values).all()
    }
    if statistic in TESTED and len(usable) > 1:
        sampling = Sampling.of(best.scores, best.record["dataset"].get("cluster"))
        matrix, y = np.stack(list(usable.values())), best.scores[best.label].to_numpy(float)
        out[list(usable)] = against_best(matrix, y, statistic, sampling)[0]
    return out


def _on_images_of(best: Run, run: Run, score: str) -> np.ndarray | None:
    """Return a run's score in the order of another's images; None where images or labels differ."""
    mine, theirs = (r.scores.set_index(pd.Index(occurrences(r.scores["image"]))) for r in (run, best))
    if set(mine.index) != set(theirs.index) or run.label != best.label:
        return None
    mine = mine.loc[theirs.index]
    return mine[score].to_numpy(float) if np.array_equal(mine[run.label], theirs[best.label]) else None
