"""The weights that fusion gives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from magiqa.checked import Checked, Least
from magiqa.errors import UserError
from magiqa.stats.arrays import bins
from magiqa.studies.experiments.study import Study, Tables, long


@dataclass(frozen=True)
class Weights(Checked, key="experiment"):
    """The weight that fusion gives to similarity, over the label."""

    name: str = "weights"
    bins: Annotated[int, Least(1)] = 10

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``weights``: mean w_sim, q_sim and q_mag in bins of the label."""
        cues, y = study.cues(), study.y
        if cues["w_sim"].isna().any():
            raise UserError("fusion: this one has no weights; use fusion=adaptive")
        rows = []
        for k, inside in enumerate(bins(y, self.bins)):
            if not len(inside):
                continue
            row: dict[str, Any] = {"bin": k + 1, "label": y[inside].mean(), "n": len(inside)}
            for name in ("w_sim", "q_sim", "q_mag"):
                mean = study.sampling.mean(cues[name].to_numpy(), inside)
                row[name] = mean.values[0]
                ((row[f"{name}_low"], row[f"{name}_high"]),) = mean.intervals()
            rows.append(row)
        agreement = study.srcc(cues["w_sim"].to_numpy()[None])
        ((low, high),) = study.bands(agreement)
        return {"weights": pd.DataFrame(rows)}, [
            f"SRCC of the weight of similarity with the label {agreement.values[0]:+.4f} [{low:+.3f}, {high:+.3f}]; "
            "the magnitude's weight is 1 less that"
        ]

    def captions(self, tables: Tables) -> dict[str, str]:
        """Return the caption of each figure."""
        count = len(tables["weights"])
        return {
            "weights": f"Mean weight of similarity and mean cues in {count} bins of MOS. Bands: 95 % intervals."
        }

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Draw the weight of similarity and the cues over MOS."""
        from magiqa.report.plots import curves
        from magiqa.report.words import AXES, short_label

        table = tables["weights"]
        series = {c: AXES.get(c, "Weight of similarity") for c in ("q_sim", "q_mag", "w_sim")}
        label = short_label(record["dataset"]["label"])
        curves(folder / "weights", long(table, series, x=table["label"]), xlabel=label, ylabel="Mean")
