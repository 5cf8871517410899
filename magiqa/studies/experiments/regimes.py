"""Cues by quality regime."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from magiqa.checked import Checked, Least
from magiqa.stats.paired import regimes
from magiqa.studies.experiments.study import Study, Tables, with_holm


@dataclass(frozen=True)
class Regimes(Checked, key="experiment"):
    """Which cue is better among low-, middle- and high-quality images: paired differences inside each bin."""

    name: str = "regimes"
    bins: Annotated[int, Least(1)] = 3

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``regimes``: a row a pair of cues and bin."""
        cues = study.cues()
        rows = []
        for a, b in (("q_sim", "q_mag"), ("q", "q_sim"), ("q", "q_mag")):
            found = regimes(
                cues[a],
                cues[b],
                study.y,
                bins=self.bins,
                clusters=study.clusters,
                resamples=study.job.statistics.resamples,
                seed=study.job.statistics.seed,
            )
            for k, regime in enumerate(found):
                t = regime.test
                rows.append(
                    {
                        "a": a,
                        "b": b,
                        "bin": k + 1,
                        "label_from": regime.low,
                        "label_to": regime.high,
                        "n": t.n,
                        "srcc_a": t.a,
                        "srcc_b": t.b,
                        "diff": t.diff,
                        "diff_low": t.ci_low,
                        "diff_high": t.ci_high,
                        "p": t.p,
                    }
                )
        return {"regimes": with_holm(rows)}, [
            "SRCC falls inside a bin because the range is cut: compare cues inside one bin, never bins with each other"
        ]

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Differences by bin."""
        from magiqa.report.plots import caption, dots

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
