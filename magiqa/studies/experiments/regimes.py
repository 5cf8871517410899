"""Cues by quality regime."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from magiqa.checked import Checked, Least
from magiqa.errors import UserError
from magiqa.report.words import SCORES, short_label
from magiqa.stats.arrays import bins
from magiqa.stats.sampled import stacked
from magiqa.studies.experiments.study import CUES, Study, Tables, at_once


@dataclass(frozen=True)
class Regimes(Checked, key="experiment"):
    """Paired differences between cues among images of low, middle and high MOS."""

    name: str = "regimes"
    bins: Annotated[int, Least(1)] = 3

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``regimes``: a row a pair of cues and bin."""
        matrix = study.cues()[list(CUES)].to_numpy().T
        parts = bins(study.y, self.bins)
        if min(map(len, parts)) < 3:
            raise UserError(f"experiment.bins={self.bins}: a bin holds under three images; use fewer bins")
        inside = [study.srcc(matrix, rows) for rows in parts]
        rows, gaps = [], []
        for a, b in (("q_sim", "q_mag"), ("q", "q_sim"), ("q", "q_mag")):
            i, j = CUES.index(a), CUES.index(b)
            for k, (part, agreement) in enumerate(zip(parts, inside, strict=True)):
                y = study.y[part]
                row = {"a": a, "b": b, "bin": k + 1, "label_from": y.min(), "label_to": y.max(), "n": len(y)}
                rows.append(row | {"srcc_a": agreement.values[i], "srcc_b": agreement.values[j]})
                gaps.append(agreement[[i]] - agreement[[j]])
        return {"regimes": study.tested(rows, stacked(gaps))}, [
            "SRCC falls inside a bin because the range is cut: compare cues inside one bin, never bins with each other"
        ]

    def captions(self, tables: Tables) -> dict[str, str]:
        """Return the caption of each figure."""
        return {
            "regimes": f"Differences in SRCC between cues inside {self.bins} bins of MOS. Bars: simultaneous 95 % "
            "intervals. Compare cues inside one bin: SRCC falls where the range is cut."
        }

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Draw differences by bin."""
        from magiqa.report.plots import dots

        table = tables["regimes"].sort_values("bin", kind="stable")
        label = short_label(record["dataset"]["label"])
        ends = zip(table["label_from"], table["label_to"], strict=True)
        names = [f"{label} {low:.3g} to {high:.3g}" for low, high in ends]
        series = table["a"].map(SCORES) + " minus " + table["b"].map(SCORES)
        dots(
            folder / "regimes", at_once(table.assign(name=names, series=series)), xlabel="Difference in SRCC"
        )
