"""Cues by quality regime."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from magiqa.checked import Checked, Least
from magiqa.report.words import SCORES, short_label
from magiqa.stats.paired import bins
from magiqa.studies.experiments.study import CUES, Study, Tables, at_once, tested_apart


@dataclass(frozen=True)
class Regimes(Checked, key="experiment"):
    """Which cue is better among low-, middle- and high-quality images: paired differences inside each bin."""

    name: str = "regimes"
    bins: Annotated[int, Least(1)] = 3

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``regimes``: a row a pair of cues and bin."""
        cues = study.cues()
        matrix = cues[list(CUES)].to_numpy().T
        parts = [
            (low, high, *study.inside(matrix, rows), len(rows))
            for low, high, rows in bins(study.y, self.bins)
        ]
        rows, values, drawn, units = [], [], [], []
        for a, b in (("q_sim", "q_mag"), ("q", "q_sim"), ("q", "q_mag")):
            i, j = CUES.index(a), CUES.index(b)
            for k, (low, high, point, draws, count, n) in enumerate(parts):
                rows.append(
                    {
                        "a": a,
                        "b": b,
                        "bin": k + 1,
                        "label_from": low,
                        "label_to": high,
                        "n": n,
                        "srcc_a": point[i],
                        "srcc_b": point[j],
                    }
                )
                values.append(point[i] - point[j])
                drawn.append(draws[i] - draws[j])
                units.append(count)
        return {"regimes": tested_apart(rows, values, drawn, units)}, [
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
