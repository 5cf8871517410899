"""AGIQA-3K's two labels."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from magiqa.checked import Checked
from magiqa.datasets.base import occurrences
from magiqa.errors import UserError
from magiqa.report.words import SCORES
from magiqa.stats.correlation import srcc
from magiqa.studies.experiments.study import (
    CUES,
    Lacking,
    Study,
    Tables,
    long,
)

LABELS = {"mos_quality": "quality", "mos_align": "alignment to the prompt"}


@dataclass(frozen=True)
class Align(Checked, key="experiment"):
    """AGIQA-3K's two labels: perceptual quality, and fit to the prompt."""

    name: str = "align"

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``align``: SRCC of each score with both labels, and the paired difference."""
        if study.features.labels.name != "agiqa3k":
            raise Lacking(
                f"dataset {study.features.labels.name} has no mos_align; use dataset=agiqa3k dataset.root=DIR"
            )
        if study.job.source.bundle:
            raise UserError(
                "experiment=align needs the data set's own annotation, a bundle holds one label only"
            )
        images, y = occurrences(study.features.table["image"]), {}
        for c in LABELS:
            table = replace(study.job.source.dataset, label_column=c).load().table
            mos = dict(zip(occurrences(table["image"]), table["mos"], strict=True))
            y[c] = np.array([mos[image] for image in images], float)
        scores = {**study.cues()[list(CUES)], "laplacian": study.features.controls["laplacian"]}
        matrix = np.stack([np.asarray(v, float) for v in scores.values()])
        agreement = {c: study.sampling.statistic("srcc", matrix, v) for c, v in y.items()}
        bands = {c: study.bands(a) for c, a in agreement.items()}
        rows = []
        for i, name in enumerate(scores):
            row: dict[str, Any] = {"score": name, "n": len(images)}
            for c in y:
                row[c], (row[f"{c}_low"], row[f"{c}_high"]) = agreement[c].values[i], bands[c][i]
            rows.append(row)
        table = study.tested(rows, agreement["mos_quality"] - agreement["mos_align"])
        with_each_other = srcc(y["mos_quality"], y["mos_align"])
        return {"align": table}, [
            f"SRCC of the two labels with each other {with_each_other:+.4f}; diff: quality less align"
        ]

    def captions(self, tables: Tables) -> dict[str, str]:
        """Return the caption of each figure."""
        return {
            "align": "SRCC with the MOS of quality and with the MOS of alignment to the prompt. Bars: 95 % intervals."
        }

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Draw SRCC with both MOS."""
        from magiqa.report.plots import dots

        names = tables["align"]["score"].map(SCORES)
        dots(folder / "align", long(tables["align"], LABELS, name=names), xlabel="SRCC")
