"""Cues inside parts of a data set: generators, levels, and bins of MOS."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd

from magiqa.checked import Checked, Least
from magiqa.errors import UserError
from magiqa.report.table import interval
from magiqa.report.words import AXES, SCORES, group_name, group_word
from magiqa.stats.arrays import bins, is_constant
from magiqa.stats.sampled import stacked
from magiqa.studies.experiments.study import CUES, Figure, Findings, Study, at_once, long


@dataclass(frozen=True)
class Breakdown(Checked, key="experiment"):
    """Each cue inside each generator or distortion type, and level where there are levels."""

    name: str = "breakdown"

    def tables(self, study: Study) -> Findings:
        """``group`` (and ``level``): SRCC of each cue, and the paired difference of q and q_sim."""
        study.need("group")
        matrix = study.cues()[list(CUES)].to_numpy().T
        data = study.features.record["dataset"]
        tables, figures, notes = {}, {}, []
        for by in ("group", "level"):
            names = study.column(by)
            if names is None:
                continue
            order = sorted(set(names), key=lambda v: (len(v), v) if by == "level" else (0, v))
            parts = {name: np.flatnonzero(names == name) for name in order}
            inside = [study.srcc(matrix, rows) for rows in parts.values()]
            columns: dict[str, Any] = {by: order, "n": [len(rows) for rows in parts.values()]}
            for k, cue in enumerate(CUES):
                columns[cue] = [a.values[k] for a in inside]
                columns[f"{cue}_low"], columns[f"{cue}_high"] = np.array(
                    [study.bands(a)[k] for a in inside]
                ).T
            tables[by] = study.tested(columns, stacked([a[[2]] - a[[0]] for a in inside]))
            shown = [group_name(name, data) if by == "group" else f"Level {name}" for name in order]
            alike = [
                name for name, rows in zip(shown, parts.values(), strict=True) if is_constant(study.y[rows])
            ]
            notes += (
                [f"{', '.join(alike)}: all images have one {study.label}, so SRCC is undefined"]
                if alike
                else []
            )
            word = group_word(data) if by == "group" else by
            caption = (
                f"SRCC inside each {word}. Bars: 95 % intervals. Compare cues inside one {word}: SRCC falls with the "
                f"range of {study.label}."
            )
            frame = long(tables[by], {c: AXES[c] for c in CUES}, name=shown)
            figures[f"by_{by}"] = Figure(caption, frame, {"xlabel": f"SRCC with {study.label}"})
        notes += [
            "difference: fused score minus similarity cue; a row of under 3 images has empty values, one of fewer than "
            "5 images or clusters no interval",
            f"SRCC falls with the range of {study.label}: compare cues inside one row, never rows with each other",
        ]
        return tables, notes, figures


@dataclass(frozen=True)
class Regimes(Checked, key="experiment"):
    """Paired differences between cues among images of low, middle and high MOS."""

    name: str = "regimes"
    bins: Annotated[int, Least(1)] = 3

    def tables(self, study: Study) -> Findings:
        """``regimes``: a row a pair of cues and bin."""
        matrix = study.cues()[list(CUES)].to_numpy().T
        parts = bins(study.y, self.bins)
        if min(map(len, parts)) < 3:
            raise UserError(f"experiment.bins={self.bins}: a bin holds under three images; use fewer bins")
        rows, gaps = [], []
        for k, part in enumerate(parts):
            y, agreement = study.y[part], study.srcc(matrix, part)
            for a, b in (("q_sim", "q_mag"), ("q", "q_sim"), ("q", "q_mag")):
                one, two = agreement[[CUES.index(a)]], agreement[[CUES.index(b)]]
                row = {"a": a, "b": b, "bin": k + 1, "label_from": y.min(), "label_to": y.max(), "n": len(y)}
                rows.append(row | {"srcc_a": one.values[0], "srcc_b": two.values[0]})
                gaps.append(one - two)
        table = study.tested(rows, stacked(gaps))
        ends = zip(table["label_from"], table["label_to"], strict=True)
        frame = table.assign(
            name=[f"{study.label} {low:.3g} to {high:.3g}" for low, high in ends],
            series=table["a"].map(SCORES) + " minus " + table["b"].map(SCORES),
        )
        caption = (
            f"Differences in SRCC between cues inside {self.bins} bins of {study.label}. Bars: simultaneous 95 % "
            "intervals. Compare cues inside one bin: SRCC falls where the range is cut."
        )
        note = "SRCC falls where the range is cut: compare cues inside one bin, never bins with each other"
        figure = Figure(caption, at_once(frame), {"xlabel": "Difference in SRCC"})
        return {"regimes": table}, [note], {"regimes": figure}


@dataclass(frozen=True)
class Weights(Checked, key="experiment"):
    """The weight that fusion gives to similarity, over the label."""

    name: str = "weights"
    bins: Annotated[int, Least(1)] = 10

    def tables(self, study: Study) -> Findings:
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
        agreement, table = study.srcc(cues["w_sim"].to_numpy()[None]), pd.DataFrame(rows)
        ((low, high),) = study.bands(agreement)
        note = (
            f"SRCC of the weight of similarity with {study.label} {agreement.values[0]:+.4f} "
            f"{interval(low, high, '+.3f')}; the weight of magnitude is 1 minus that"
        )
        caption = f"Mean weight of similarity and cues in {len(table)} bins of {study.label}. Bands: 95 % intervals."
        series = {c: AXES.get(c, "Weight of similarity") for c in ("q_sim", "q_mag", "w_sim")}
        options = {"xlabel": study.label, "ylabel": "Mean"}
        figure = Figure(caption, long(table, series, x=table["label"]), options, "curves")
        return {"weights": table}, [note], {"weights": figure}
