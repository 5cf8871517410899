"""Cues by quality regime."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from magiqa.checked import Checked, Least
from magiqa.stats.paired import bins
from magiqa.studies.experiments.study import CUES, Study, Tables, tested_apart


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

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Differences by bin."""
        from magiqa.report.captions import caption
        from magiqa.report.plots import dots

        table = tables["regimes"]
        frame = table.rename(columns={"diff": "value", "diff_low": "low", "diff_high": "high"})
        frame = frame.assign(
            name=[
                f"bin {k}: {a:.3g} to {b:.3g}"
                for k, a, b in zip(table["bin"], table["label_from"], table["label_to"], strict=True)
            ],
            series=table["a"] + " - " + table["b"],
        ).sort_values("bin", kind="stable")
        dots(
            folder / "regimes",
            frame,
            xlabel="difference in SRCC inside the bin, paired 95 % interval",
            title="Cues by quality regime",
            note=caption(record) + " · SRCC across bins mostly measures the range: compare inside a bin only",
        )
