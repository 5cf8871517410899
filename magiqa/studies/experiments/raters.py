"""The raters' own noise."""

from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import pandas as pd

from magiqa.checked import Checked, Least
from magiqa.errors import UserError
from magiqa.report.words import SCORES
from magiqa.stats.raters import krasula
from magiqa.studies.experiments.study import CUES, Figure, Findings, Lacking, Study, long


@dataclass(frozen=True)
class Raters(Checked, key="experiment"):
    """The image pairs that raters tell apart, and the order that each method gives them.

    Args:
        ratings: how many ratings a label averages. 1 where the data set's standard deviation is the MOS's own error.
            Not needed where the data set has a column ``ratings``, the number of each image.
        level: of the test that tells two images apart; 0.90 two-sided is the threshold of Krasula et al.'s own code.
    """

    name: str = "raters"
    ratings: Annotated[float, Least(1)] | None = None
    level: float = 0.90

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.level < 1:
            raise UserError(f"experiment.level={self.level} must lie between 0 and 1")

    def tables(self, study: Study) -> Findings:
        """``pairs`` (Krasula et al.)."""
        study.need("mos_std")
        table, ratings = study.features.table, self.ratings
        if ratings is None:
            if "ratings" not in table:
                raise Lacking(
                    "experiment.ratings is not set: add experiment.ratings=N, how many ratings a label averages"
                )
            ratings = table["ratings"].to_numpy(float)
        std = table["mos_std"].to_numpy(float)
        many = " to ".join(f"{n:g}" for n in sorted({np.min(ratings), np.max(ratings)}))
        scores = study.cues()[list(CUES)].assign(
            laplacian=study.features.controls["laplacian"].to_numpy(float)
        )
        seed, rows = study.job.statistics.seed, []
        for name, x in scores.items():
            pairs = krasula(x, study.y, std, ratings, study.sampling, seed=seed, level=self.level)
            rows.append({"score": name} | asdict(pairs))
        bounds = {f"ci_{side}": f"ordered_rightly_{side}" for side in ("low", "high")}
        table = pd.DataFrame(rows).rename(columns=bounds)
        caption = (
            "Share of image pairs that a score orders as raters do, among pairs that raters tell apart "
            f"(p < {1 - self.level:.2g}, {many} ratings). No skill is 0.5. Bars: 95 % intervals."
        )
        frame = long(table, {"ordered_rightly": ""}, name=table["score"].map(SCORES)).drop(columns="series")
        options = {"xlabel": "Share of pairs ordered rightly", "zero": 0.5}
        note = f"{many} ratings an image; told apart at {self.level:g} two-sided"
        return {"pairs": table}, [note], {"pairs": Figure(caption, frame, options)}
