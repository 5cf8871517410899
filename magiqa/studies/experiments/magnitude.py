"""Magnitude and its null."""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd

from magiqa.checked import Checked, Least
from magiqa.errors import UserError
from magiqa.report.words import option_name, short_label
from magiqa.scoring.shared_features import score_all
from magiqa.stats.arrays import NAN
from magiqa.stats.family import freedom, quantile, standard_error
from magiqa.stats.sampled import Sampled
from magiqa.studies.ablation import override
from magiqa.studies.experiments.study import (
    Study,
    Tables,
    check_distinct,
    long,
)


@dataclass(frozen=True)
class Magnitude(Checked, key="experiment"):
    """Each definition of magnitude against the label, beside its null: the untrained network and the controls."""

    name: str = "magnitude"
    seeds: tuple[Annotated[int, Least(0)], ...] = (0, 1, 2)
    definitions: tuple[str, ...] = ("boxcox", "boxcox_raw", "l1", "l2", "max", "std", "mean")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_distinct("seeds", self.seeds)
        check_distinct("definitions", self.definitions)

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``magnitude``: SRCC, partial SRCC given the controls, and the difference to the untrained network's."""
        study.from_images("untrained networks")
        job = study.job
        table = study.features.controls
        controls = {
            "Laplacian variance": table["laplacian"].to_numpy(float),
            "file bytes": table["bytes"].to_numpy(float),
            "pixels": (table["width"] * table["height"]).to_numpy(float),
        }
        bone = job.method.backbone
        untrained = [
            replace(bone, pretrained=None, checkpoint=None, label=None, untrained=s) for s in self.seeds
        ]
        if bone.untrained in self.seeds:
            raise UserError(
                f"experiment.seeds: {bone.untrained} is the network that is compared with them (backbone.untrained); "
                "use other seeds"
            )
        networks = {bone.shown_label or "as given": job} | {
            f"untrained, seed {s}": job.having(backbone=b) for s, b in zip(self.seeds, untrained, strict=True)
        }
        definitions = {
            d: override(job, {"magnitude": d}, study.compose).method.magnitude for d in self.definitions
        }
        names, jobs = [], []
        for (network, made), (definition, cue) in product(networks.items(), definitions.items()):
            names.append((definition, network))
            jobs.append(made.having(magnitude=cue))
        matrix = score_all(jobs, study.clock, "q_mag", progress=study.progress)[1]
        controls = {name: x for name, x in controls.items() if x.std() > 0}
        given = np.column_stack(list(controls.values()))
        matrix, names = np.vstack([matrix, given.T]), [*names, *((name, "control") for name in controls)]
        agreement = study.srcc(matrix)
        bands = study.bands(agreement)
        first = next(iter(networks))
        index = {n: i for i, n in enumerate(names)}
        out = []
        for i, (definition, network) in enumerate(names):
            row: dict[str, Any] = {
                "definition": definition,
                "network": network,
                "n": len(study.y),
                "srcc": agreement.values[i],
            }
            row["srcc_low"], row["srcc_high"] = bands[i]
            if network != "control":
                partial = study.sampling.partial(matrix[i], study.y, given)
                row["partial"] = partial.values[0]
                ((row["partial_low"], row["partial_high"]),) = study.bands(partial)
            if network == first:
                null = [index[(definition, n)] for n in networks if n != first]
                row |= excess(agreement[[i]], agreement[null], study.sampling.too_few())
            out.append(row)
        return {"magnitude": pd.DataFrame(out)}, [
            "partial: SRCC with Laplacian variance, file bytes and pixels (where they vary) partialled out",
            f"diff: SRCC less the mean SRCC of {len(self.seeds)} untrained networks, signed; its interval holds for "
            "other seeds too",
        ]

    def captions(self, tables: Tables) -> dict[str, str]:
        """Return the caption of each figure."""
        return {
            "magnitude": "SRCC of the magnitude cue by its definition, for the backbone, for untrained networks of its "
            "shape, and of controls. Bars: 95 % intervals."
        }

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Draw SRCC of each definition, a series a network."""
        from magiqa.report.plots import dots

        table = tables["magnitude"]
        frame = long(table, {"srcc": ""}, name=table["definition"].map(option_name)).assign(
            series=table["network"]
        )
        dots(folder / "magnitude", frame, xlabel=f"SRCC with {short_label(record['dataset']['label'])}")


def excess(method: Sampled, nulls: Sampled, few: str = "") -> dict[str, Any]:
    """Return a statistic less its mean over untrained networks of S seeds, signed, with a 95 % interval.

    The seeds are a sample: their spread is part of the variance, beside that of the images. Degrees of freedom by
    Satterthwaite.

    Args:
        method: of one row. nulls: of S rows, on the same images. few: the reason why there is no interval.
    """
    seeds = len(nulls.values)
    difference = method - nulls.mix(np.full((1, seeds), 1 / seeds))
    value, sampled = float(difference.values[0]), float(standard_error(difference.parts)[0]) ** 2
    row = {"diff": value, "diff_low": NAN, "diff_high": NAN, "withheld": few}
    if not few and seeds < 2:
        row["withheld"] = "one seed: nothing says how seeds differ"
    elif not few:
        between = float(np.var(nulls.values, ddof=1)) / seeds
        below = sampled**2 / float(freedom(difference.parts)[0]) + between**2 / (seeds - 1)
        if not below > 0:
            return row | {"withheld": "never differs"}
        half = float(quantile(np.array((sampled + between) ** 2 / below))) * float(np.sqrt(sampled + between))
        row |= {"diff_low": value - half, "diff_high": value + half}
    return row
