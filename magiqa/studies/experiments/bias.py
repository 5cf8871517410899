"""Dependence of magnitude on content."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd

from magiqa.checked import Checked, Least
from magiqa.method.cues import BoxCox
from magiqa.scoring.shared_features import score_all
from magiqa.stats.arrays import NAN, members
from magiqa.stats.correlation import ranks, srcc
from magiqa.studies.experiments.study import Lacking, Study, Tables, check_distinct

CONTENT = {
    "reference": "reference images",
    "prompt": "prompts",
    "group": "groups (generators or distortion types)",
}


@dataclass(frozen=True)
class Bias(Checked, key="experiment"):
    """The distance between magnitudes of images of different content, before and after Box-Cox.

    Content is what images share: their reference or prompt; where no such thing is shared, the generator or
    distortion type. A distance is no proof of semantics: contents differ in quality too, and a label that holds raters'
    noise does not take all of it out.

    Args:
        permutations: of the groups' names, within each generator or distortion type where those cross content.
            smallest: groups of fewer images are left out.
    """

    name: str = "bias"
    lams: tuple[float, ...] = (1.0, 0.5, 0.0, -1.0)
    permutations: Annotated[int, Least(19)] = 99
    smallest: Annotated[int, Least(2)] = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_distinct("lams", self.lams)

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``bias``: mean Wasserstein distance between groups, in standard deviations, as is and given the label."""
        by, groups = _content(study)
        _, key, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        kept = sizes[key] >= self.smallest
        if len(set(groups[kept])) < 2:
            raise Lacking(
                f"dataset {study.features.labels.name}: fewer than two of its {CONTENT[by]} have {self.smallest} "
                "images; set experiment.smallest lower"
            )
        crossed = study.sampling.groups if by != "group" else None
        left_out = int(len(set(groups)) - len(set(groups[kept])))
        groups, y = groups[kept], study.y[kept]
        within = None if crossed is None else crossed[kept]
        like = alike(y, within)
        options: dict[str, Any] = {"permutations": self.permutations, "seed": study.job.statistics.seed}
        jobs, names = [], []
        for standardize, lam in product((True, False), self.lams):
            jobs.append(study.job.having(magnitude=BoxCox(float(lam), standardize)))
            what = "before Box-Cox" if lam == 1 else f"λ = {lam:g}"
            names.append((what, "standardized |f|" if standardize else "raw |f|"))
        matrix = score_all(jobs, study.clock, "q_mag", progress=study.progress)[1][:, kept]
        label_ranks = ranks(y) - (len(y) + 1) / 2
        rows = []
        for (what, kind), x in zip([*names, ("label", "the label itself")], [*matrix, y], strict=True):
            row: dict[str, Any] = {"by": by, "cue": what, "of": kind}
            row |= group_distance(x, groups, within=within, **options)
            if what != "label":
                # groups differ in quality too: what is left when the label's rank is regressed out
                own = ranks(x) - (len(x) + 1) / 2
                rest = own - label_ranks * (own @ label_ranks) / (label_ranks @ label_ranks)
                left = group_distance(rest, groups, within=like, **options)
                row |= {f"{name}_given_label": value for name, value in left.items()}
                row["srcc"] = srcc(x, y)
            rows.append(
                row | {"groups": len(set(groups)), "smallest": int(sizes[sizes >= self.smallest].min())}
            )
        return {"bias": pd.DataFrame(rows)}, [
            f"between {len(set(groups))} {CONTENT[by]}"
            + ("; no content is shared by images of this set" if by == "group" else ""),
            "lambda 1 is the plain mean; distances in standard deviations of all values; chance: groups shuffled"
            + ("" if within is None else " within each generator or distortion type")
            + ", given the label among images of like labels",
            f"p: share of {self.permutations} shuffles that lie as far apart; no smaller than "
            f"{1 / (self.permutations + 1):.3g}"
            + (f"; {left_out} groups of fewer than {self.smallest} images left out" if left_out else ""),
            "groups differ in the label too (its own row): a distance given the label is of what the label does not "
            "explain, quality's own noise included: no proof of semantics",
        ]

    def captions(self, tables: Tables) -> dict[str, str]:
        """Return the caption of each figure."""
        groups = CONTENT[str(tables["bias"]["by"].iloc[0])]
        return {
            "bias": f"Wasserstein distance between {groups} of MOS and of the magnitude cue, in standard "
            "deviations, beside its mean over shuffled names (by chance). Given MOS: of what the rank of MOS does not "
            "explain."
        }

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Draw distances and chance."""
        from magiqa.report.plots import dots

        table = tables["bias"]
        series = {
            "distance": "distance",
            "distance_given_label": "given MOS",
            "chance": "by chance",
            "chance_given_label": "by chance, given MOS",
        }
        frame = pd.concat(
            [table.assign(series=s, value=table[c]) for c, s in series.items()], ignore_index=True
        )
        frame = frame.dropna(subset=["value"]).assign(low=np.nan, high=np.nan)
        frame = frame.assign(name=frame["of"] + ", " + frame["cue"])
        groups = CONTENT[str(table["by"].iloc[0])]
        dots(folder / "bias", frame, xlabel=f"Wasserstein distance between {groups} (sd)")


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


def group_distance(
    values: Any, groups: Any, *, within: Any = None, permutations: int = 20, seed: int = 0
) -> dict[str, float]:
    """Return the Wasserstein distance between the distributions of values (N,) in groups (N,).

    Returns:
        ``distance``: the mean over all pairs of groups, in standard deviations of all values. ``chance``: its mean with
        the groups' names shuffled; the distance of finite samples is never 0. ``p``: one-sided, the share of shuffles
        that lie as far apart or farther; at least 1 / (permutations + 1).

    Args:
        within: (N,) names of what is crossed with the groups (each prompt drawn by each generator): names are then
            shuffled inside each of them only. Shuffled over all images, chance would hold the generators' differences
            too, which a crossed design spreads evenly over the groups: it came out above what was measured.
    """
    x, names = np.asarray(values, np.float64), np.asarray(groups)
    spread = float(x.std())
    _, key = np.unique(names, return_inverse=True)
    groups_of, sizes = key.max() + 1, np.bincount(key)
    if groups_of < 2 or spread == 0:
        return {"distance": NAN, "chance": NAN, "p": NAN}
    order = np.argsort(x, kind="stable")
    gaps = np.diff(x[order])
    # |F_a - F_b| summed over all pairs at a point: sorted, the k-th of G counts k times up and G - 1 - k times down
    signs = 2.0 * np.arange(groups_of) - (groups_of - 1)

    def distance(key: np.ndarray) -> float:
        part = key[order[:-1]]
        steps = np.zeros((len(part), groups_of))
        steps[np.arange(len(part)), part] = 1.0 / sizes[part]
        functions = np.sort(np.cumsum(steps, axis=0), axis=1)
        return float(gaps @ (functions @ signs) / (groups_of * (groups_of - 1) / 2) / spread)

    rng = np.random.default_rng(seed)
    strata = [np.arange(len(x))] if within is None else [rows for _, rows in members(within, len(x))]

    def shuffled() -> np.ndarray:
        out = key.copy()
        for rows in strata:
            out[rows] = key[rng.permutation(rows)]
        return out

    measured = distance(key)
    chance = np.array([distance(shuffled()) for _ in range(permutations)])
    reached = int((chance >= measured - 1e-12).sum())
    return {"distance": measured, "chance": float(chance.mean()), "p": (1 + reached) / (permutations + 1)}


def alike(labels: Any, within: Any = None, *, size: int = 5) -> np.ndarray:
    """Return numbers (N,) of strata of about `size` images of like labels (N,), inside each of `within` (N,).

    Names are shuffled inside them only, which keeps what a value owes to the label: its spread too, which a regression
    leaves in. With all images shuffled, 10 % of values that depend on the group by the label alone were called
    different.
    """
    y = np.asarray(labels, np.float64)
    out, used = np.empty(len(y), int), 0
    for rows in [np.arange(len(y))] if within is None else [rows for _, rows in members(within, len(y))]:
        parts = max(1, len(rows) // size)
        out[rows[np.argsort(y[rows], kind="stable")]] = used + np.arange(len(rows)) * parts // len(rows)
        used += parts
    return out
