"""The paper's main table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magiqa.checked import Checked
from magiqa.report.words import short_label
from magiqa.studies.experiments.study import Study, Tables, long


@dataclass(frozen=True)
class Main(Checked, key="experiment"):
    """CLIP-IQA, magnitude only and MA-CLIP, with paired differences to MA-CLIP."""

    name: str = "main"

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``main``: a row a method."""
        study.as_maclip()
        paper: dict[str, Any] = {}
        rows: dict[str, tuple[dict[str, Any], str]] = {
            "CLIP-IQA (one pair, whole image)": ({"prompts": "clipiqa", "views": "whole"}, "q_sim"),
            "CLIP-IQA (five pairs, whole image)": ({"prompts": "maclip", "views": "whole"}, "q_sim"),
            "similarity only (five pairs, windows and global)": (paper, "q_sim"),
            "magnitude only": (paper, "q_mag"),
            "MA-CLIP": (paper, "q"),
        }
        matrix = study.scores(list(rows.values()))
        controls = study.features.controls
        names = [*rows, "Laplacian variance (control)", "file bytes (control)"]
        matrix = np.vstack([matrix, controls["laplacian"], controls["bytes"]])
        table = study.statistics(matrix, list(rows).index("MA-CLIP"))
        table.insert(0, "method", names)
        return {"main": table}, [
            "diff: method less MA-CLIP, on the same images",
            "methods have their own options and parameters, whatever views, fusion or pooling the command names",
        ]

    def captions(self, tables: Tables) -> dict[str, str]:
        """Return the caption of each figure."""
        return {"main": "SRCC of CLIP-IQA, MA-CLIP, its cues and two controls. Bars: 95 % intervals."}

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Draw SRCC of each method."""
        from magiqa.report.plots import dots

        series = {"srcc": "pooled", "srcc_within": "mean within groups"}
        frame = long(tables["main"], series, name=tables["main"]["method"])
        dots(folder / "main", frame, xlabel=f"SRCC with {short_label(record['dataset']['label'])}")
