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
from magiqa.stats.content import alike, group_distance
from magiqa.stats.correlation import point_many
from magiqa.stats.ranks import mid_ranks
from magiqa.studies.experiments.study import Lacking, Study, Tables, check_distinct

BIAS = {
    "reference": ("reference images", "Distance between contents"),
    "prompt": ("prompts", "Distance between contents"),
    "group": ("groups (generators or distortion types)", "Distance between groups"),
}


@dataclass(frozen=True)
class Bias(Checked, key="experiment"):
    """How far apart the magnitudes of images of different content lie, before and after Box-Cox.

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
        by, groups = study.content()
        _, at, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        kept = sizes[at] >= self.smallest
        if len(set(groups[kept])) < 2:
            raise Lacking(
                f"dataset {study.features.labels.name}: fewer than two of its {BIAS[by][0]} have {self.smallest} "
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
        ranks = mid_ranks(y) - (len(y) + 1) / 2
        rows = []
        for (what, kind), x in zip([*names, ("label", "the label itself")], [*matrix, y], strict=True):
            found = group_distance(x, groups, within=within, **options)
            row = {
                "by": by,
                "cue": what,
                "of": kind,
                "distance": found.distance,
                "chance": found.chance,
                "p": found.p,
            }
            if what != "label":
                # groups differ in quality too: what is left when the label's rank is regressed out
                own = mid_ranks(x) - (len(x) + 1) / 2
                rest = own - ranks * (own @ ranks) / (ranks @ ranks)
                left = group_distance(rest, groups, within=like, **options)
                row |= {
                    "distance_given_label": left.distance,
                    "chance_given_label": left.chance,
                    "p_given_label": left.p,
                }
                row["srcc"] = point_many("srcc", x[None], y)[0]
            rows.append(
                row | {"groups": len(set(groups)), "smallest": int(sizes[sizes >= self.smallest].min())}
            )
        return {"bias": pd.DataFrame(rows)}, [
            f"between {len(set(groups))} {BIAS[by][0]}"
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
        groups = BIAS[str(tables["bias"]["by"].iloc[0])][0]
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
        groups = BIAS[str(table["by"].iloc[0])][0]
        dots(folder / "bias", frame, xlabel=f"Wasserstein distance between {groups} (sd)")
