"""The raters' own noise."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from magiqa.checked import Checked, Least
from magiqa.errors import UserError
from magiqa.report.words import SCORES
from magiqa.stats.raters import krasula
from magiqa.studies.experiments.study import CUES, Study, Tables


@dataclass(frozen=True)
class Raters(Checked, key="experiment"):
    """The image pairs that raters tell apart, and the order that each method gives them.

    Args:
        ratings: how many ratings a label averages. 1 where the data set's standard deviation is the MOS's own error.
        level: of the test that tells two images apart; 0.90 two-sided is the threshold of Krasula et al.'s own code.
    """

    name: str = "raters"
    ratings: Annotated[float, Least(1)] | None = None
    level: float = 0.90

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.level < 1:
            raise UserError(f"experiment.level={self.level} must lie between 0 and 1")

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``pairs`` (Krasula et al.)."""
        study.need("mos_std")
        if self.ratings is None:
            raise UserError(
                "experiment.ratings is not set: add experiment.ratings=N, how many ratings a label averages"
            )
        std = study.features.table["mos_std"].to_numpy(float)
        cues = study.cues()
        controls = study.features.controls["laplacian"].to_numpy(float)
        rows = []
        for name, x in (*((c, cues[c].to_numpy()) for c in CUES), ("laplacian", controls)):
            found = krasula(
                x,
                study.y,
                std,
                self.ratings,
                study.sampling,
                seed=study.job.statistics.seed,
                level=self.level,
            )
            values = asdict(found)
            band = {f"ordered_rightly_{s}": values.pop(f"ci_{s}") for s in ("low", "high")}
            rows.append({"score": name} | values | band)
        return {"pairs": pd.DataFrame(rows)}, [
            f"{self.ratings} ratings a label; told apart at {self.level:g} two-sided"
        ]

    def captions(self, tables: Tables) -> dict[str, str]:
        """Return the caption of each figure."""
        return {
            "pairs": f"Share of image pairs that a score orders as raters do, among pairs that raters tell apart (p < "
            f"{self.level:g}, {self.ratings:g} ratings an image). No skill is 0.5. Bars: 95 % intervals."
        }

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Draw the share of pairs ordered rightly."""
        from magiqa.report.plots import dots

        t = tables["pairs"]
        frame = pd.DataFrame({
            "name": [SCORES.get(s, s) for s in t["score"]], "value": t["ordered_rightly"],
            "low": t["ordered_rightly_low"], "high": t["ordered_rightly_high"],
        })  # fmt: skip
        dots(folder / "pairs", frame, xlabel="Share of pairs ordered rightly", zero=0.5)
