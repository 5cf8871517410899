"""A linear fusion for reference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from magiqa.checked import Checked, Least
from magiqa.report.words import short_label
from magiqa.stats.selection import crossval_linear
from magiqa.studies.experiments.study import Study, Tables, srcc_dots


@dataclass(frozen=True)
class Linear(Checked, key="experiment"):
    """A cross-validated linear fusion of the two cues, for reference: fitted on labels, and no ceiling."""

    name: str = "linear"
    folds: Annotated[int, Least(2)] = 10

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``linear``: the fusion as configured, both cues and the linear fusion, with paired differences."""
        cues = study.cues()
        fitted = crossval_linear(
            cues[["q_sim", "q_mag"]].to_numpy(),
            study.y,
            folds=self.folds,
            clusters=study.sampling.clusters,
            seed=study.job.statistics.seed,
        )
        names = ["fused (as configured)", "similarity", "magnitude", "linear, cross-validated"]
        matrix = np.stack([cues["q"], cues["q_sim"], cues["q_mag"], fitted.scores])
        table = study.statistics(matrix, 0)
        table.insert(0, "method", names)
        inside = (
            "left-out folds hold too few images for an SRCC of their own"
            if np.isnan(fitted.srcc)
            else f"mean SRCC inside left-out folds {fitted.srcc:.4f}"
        )
        return {"linear": table}, [
            "linear: a reference, no ceiling: skewed cues fuse better otherwise; scored without the folds' constants; "
            "its interval holds the fitted weights fixed",
            f"linear: fitted on the labels of {self.folds - 1} of {self.folds} folds, so not training-free; "
            f"{inside}; weights of standardized cues {fitted.weights[0]:+.3f} (similarity), "
            f"{fitted.weights[1]:+.3f} (magnitude)",
        ]

    def captions(self, tables: Tables) -> dict[str, str]:
        """Return the caption of each figure."""
        return {
            "linear": "SRCC of the fused score, of each cue, and of a linear fusion fitted on MOS of the other folds "
            f"({self.folds} folds; not training-free). Bars: 95 % intervals."
        }

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Draw SRCC of each method."""
        from magiqa.report.plots import dots

        label = short_label(record["dataset"]["label"])
        dots(
            folder / "linear",
            srcc_dots(tables["linear"], tables["linear"]["method"]),
            xlabel=f"SRCC with {label}",
        )
