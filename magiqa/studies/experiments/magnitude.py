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
from magiqa.stats.bootstrap import bootstrap_partial, resample_counts
from magiqa.stats.correlation import partial_srcc
from magiqa.stats.selection import excess
from magiqa.studies.ablation import override
from magiqa.studies.experiments.study import (
    Study,
    Tables,
    check_distinct,
)


@dataclass(frozen=True)
class Magnitude(Checked, key="experiment"):
    """Each definition of magnitude against the label, beside its null: the untrained network and the controls."""

    name: str = "magnitude"
    seeds: tuple[Annotated[int, Least(0)], ...] = (0, 1, 2)
    definitions: tuple[str, ...] = ("boxcox", "boxcox_raw", "l1", "l2", "max", "std", "mean")
    resamples: Annotated[int, Least(20)] = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        check_distinct("seeds", self.seeds)
        check_distinct("definitions", self.definitions)

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``magnitude``: SRCC, partial SRCC given the controls, and the difference to the untrained network's."""
        study.from_images("untrained networks")
        job = study.job
        controls = study.features.controls
        pixels = (controls["width"] * controls["height"]).to_numpy(float)
        given = np.column_stack([controls["laplacian"], controls["bytes"], pixels])
        given = given[:, given.std(axis=0) > 0]
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
        extra = [("Laplacian variance", "control"), ("file bytes", "control")]
        rows = [controls["laplacian"].to_numpy(float), controls["bytes"].to_numpy(float)]
        if pixels.std() > 0:
            extra, rows = [*extra, ("pixels", "control")], [*rows, pixels]
        matrix, names = np.vstack([matrix, *rows]), [*names, *extra]
        point, draws = study.draws(matrix)
        first = next(iter(networks))
        index = {n: i for i, n in enumerate(names)}
        counts = resample_counts(
            len(study.y), study.sampling.clusters, None, self.resamples, job.statistics.seed
        )
        out = []
        for i, (definition, network) in enumerate(names):
            row: dict[str, Any] = {
                "definition": definition,
                "network": network,
                "n": len(study.y),
                "srcc": point[i],
            }
            row["srcc_low"], row["srcc_high"] = study.band(draws[i])
            if network != "control":
                row["partial"] = partial_srcc(matrix[i], study.y, given)
                again = bootstrap_partial(matrix[i], study.y, given, counts)
                row["partial_low"], row["partial_high"] = study.band(again)
            if network == first:
                null = [index[(definition, n)] for n in networks if n != first]
                found = excess(point[i], draws[i], point[null], draws[null], study.units)
                row |= {
                    "diff": found.value,
                    "diff_low": found.low,
                    "diff_high": found.high,
                    "withheld": found.withheld,
                }
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

        names = {
            "definition": "name",
            "network": "series",
            "srcc": "value",
            "srcc_low": "low",
            "srcc_high": "high",
        }
        frame = tables["magnitude"].rename(columns=names)
        frame["name"] = frame["name"].map(option_name)
        dots(folder / "magnitude", frame, xlabel=f"SRCC with {short_label(record['dataset']['label'])}")
