"""Dependence of magnitude on content."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import f as f_distribution

from magiqa.checked import Checked
from magiqa.method.cues import BoxCox
from magiqa.scoring.score import score_all
from magiqa.stats.arrays import NAN
from magiqa.stats.correlation import ranks
from magiqa.studies.experiments.study import Figure, Findings, Study, check_distinct

CONTENT = {"reference": "reference images", "prompt": "prompts", "group": "groups"}


@dataclass(frozen=True)
class Bias(Checked, key="experiment"):
    """The share of magnitude's variance that lies between images of different content, before and after Box-Cox.

    Content is what images share: their reference or prompt; where no such thing is shared, the generator or
    distortion type. A share is no proof of semantics: contents differ in quality too, and a label that holds raters'
    noise does not take all of it out.
    """

    name: str = "bias"
    lams: tuple[float, ...] = (1.0, 0.5, 0.0, -1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_distinct("lams", self.lams)

    def tables(self, study: Study) -> Findings:
        """``bias``: the share of content in the variance of each cue's ranks, as is and given MOS, with its p."""
        by, content = _content(study)
        groups = study.sampling.groups if by != "group" else None
        jobs, names = [], []
        for standardized, lam in product((True, False), self.lams):
            jobs.append(study.job.having(magnitude=BoxCox(float(lam), standardized)))
            what = "before Box-Cox" if lam == 1 else f"λ = {lam:g}"
            names.append((what, "standardized |f|" if standardized else "raw |f|"))
        matrix = score_all(jobs, study.clock, "q_mag", progress=study.progress)[1]
        within = [] if groups is None else [groups]
        rows = []
        for (what, kind), x in zip([*names, (study.label, "itself")], [*matrix, study.y], strict=True):
            share, p = content_share(x, content, within)
            row: dict[str, Any] = {"by": by, "cue": what, "of": kind, "share": share, "p": p}
            if kind != "itself":
                row["share_given_label"], row["p_given_label"] = content_share(x, content, within, study.y)
            rows.append(row | {"contents": len(set(content)), "n": len(content)})
        table = pd.DataFrame(rows)
        series = {"share": "share", "share_given_label": f"given {study.label}"}
        parts = [table.assign(series=s, value=table[c], low=NAN, high=NAN) for c, s in series.items()]
        frame = pd.concat(parts, ignore_index=True).dropna(subset=["value"])
        caption = (
            f"Share of {CONTENT[by]} in the variance of ranks of the magnitude cue and of {study.label}, corrected for "
            f"chance. Given {study.label}: of what its rank does not explain."
        )
        figure = Figure(
            caption,
            frame.assign(name=frame["of"] + ", " + frame["cue"]),
            {"xlabel": f"Share of {CONTENT[by]}"},
        )
        notes = [
            f"between {len(set(content))} {CONTENT[by]}"
            + ("" if groups is None else ", inside each generator or distortion type")
            + ("; no content is shared by images of this set" if by == "group" else ""),
            "share: adjusted for chance, so 0 on average where content plays no role; p: F test",
            f"contents differ in {study.label} too (its own row), whose noise stays in: no proof of semantics",
        ]
        return {"bias": table}, notes, {"bias": figure}


def _content(study: Study) -> tuple[str, np.ndarray]:
    """Return the column that says what images show, where they share it (reference, prompt), else the groups.

    Raises:
        Lacking: the data set has none of these.
    """
    for name in ("reference", "prompt"):
        names = study.column(name)
        if names is not None and 1 < len(set(names)) <= len(names) / 2:
            return name, names
    return "group", study.need("group")


def content_share(
    values: Any, content: Any, within: Sequence[Any] = (), given: Any = None
) -> tuple[float, float]:
    """Return the share of variance of the ranks of values (N,) that content explains, and p of its F test.

    The share is partial ε² (Kelley 1935): 0 on average without a dependence, at most 1.

    Args:
        content: (N,) names. within: (N,) names of what is crossed with content. given: (N,) a number, whose rank is
            taken out first.

    Example:
        >>> share, p = content_share([1, 2, 3, 11, 12, 13], ["a", "a", "a", "b", "b", "b"])
        >>> round(share, 2), round(p, 3)
        (0.71, 0.021)
    """
    y = ranks(np.asarray(values, float))
    base = [np.ones(len(y)), *([] if given is None else [ranks(np.asarray(given, float))])]
    base += [column for names in within for column in pd.get_dummies(names, dtype=float).to_numpy().T]
    design = np.column_stack(base)
    before, rank = _left(design, y)
    after, full = _left(np.column_stack([design, pd.get_dummies(content, dtype=float)]), y)
    between, inside = full - rank, len(y) - full
    if between < 1 or inside < 1 or after <= 1e-12 * len(y):
        return NAN, NAN
    ratio = (before - after) / between / (after / inside)
    return float(1 - after / inside / (before / (len(y) - rank))), float(
        f_distribution.sf(ratio, between, inside)
    )


def _left(design: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    """Return the sum of squares that a linear model leaves, and its rank."""
    solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    return float(np.square(y - design @ solution).sum()), int(rank)
