"""Cues by quality regime."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from magiqa.checked import Checked, Least
from magiqa.report.display_names import SCORES
from magiqa.report.verdicts import verdict
from magiqa.stats.paired import bins
from magiqa.studies.experiments.study import CUES, SIMULTANEOUS_WORDS, Study, Tables, at_once, tested_apart


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
        """What the figure shows."""
        table = tables["regimes"]
        names = [
            f"{SCORES[str(r.a)]} less {SCORES[str(r.b)]} in bin {r.bin}"
            for r in table.itertuples(index=False)
        ]
        return {
            "regimes": f"Differences in SRCC between cues inside {self.bins} bins of the label of about equal size, on "
            "the same resamples. Bars: 95 %, all rows at once. Bins are not compared with each other: SRCC falls where "
            f"the range is cut. {verdict(table, names, 'First cue less second', 'rows')}"
        }

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Differences by bin."""
        from magiqa.report.captions import figure_note
        from magiqa.report.plots import dots
        from magiqa.report.style import printed_width

        table = tables["regimes"]
        frame = (
            at_once(table)
            .assign(
                name=[
                    f"bin {k}: {a:.3g} to {b:.3g}"
                    for k, a, b in zip(table["bin"], table["label_from"], table["label_to"], strict=True)
                ],
                series=table["a"].map(SCORES) + " less " + table["b"].map(SCORES),
            )
            .sort_values("bin", kind="stable")
        )
        dots(
            folder / "regimes",
            frame,
            xlabel=f"difference in SRCC inside the bin, {SIMULTANEOUS_WORDS}",
            title="Cues by quality regime",
            note=figure_note(record)
            + " · SRCC across bins mostly measures the range: compare inside a bin only",
            width=printed_width(record),
        )
