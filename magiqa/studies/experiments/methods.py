"""MA-CLIP beside its parts and CLIP-IQA, with AGIQA-3K's two labels, and inside generators, levels and bins of MOS."""

from dataclasses import dataclass, replace
from itertools import compress, product
from typing import Annotated, Any

import numpy as np
import pandas as pd

from magiqa.checked import Checked, Least
from magiqa.datasets.base import occurrences
from magiqa.errors import UserError
from magiqa.report.table import interval
from magiqa.report.words import AXES, SCORES, group_name, group_word
from magiqa.stats.correlation import bins, is_constant, srcc
from magiqa.stats.sampled import stacked
from magiqa.studies.experiments.study import CUES, Figure, Findings, Lacking, Study, at_once, long

LABELS = {"mos_quality": "quality", "mos_align": "alignment to the prompt"}

FACTORS = ("five pairs", "windows and global", "magnitude (fused)")


@dataclass(frozen=True)
class Main(Checked, key="experiment"):
    """CLIP-IQA, magnitude only and MA-CLIP, with paired differences to MA-CLIP."""

    name: str = "main"

    def tables(self, study: Study) -> Findings:
        """``main``: a row a method."""
        study.as_maclip()
        rows: dict[str, tuple[dict[str, Any], str]] = {
            "CLIP-IQA (one pair, whole image)": ({"prompts": "clipiqa", "views": "whole"}, "q_sim"),
            "CLIP-IQA (five pairs, whole image)": ({"prompts": "maclip", "views": "whole"}, "q_sim"),
            "MA-CLIP, similarity cue": ({}, "q_sim"),
            "Magnitude cue": ({}, "q_mag"),
            "MA-CLIP": ({}, "q"),
        }
        controls = study.features.controls
        matrix = np.vstack([study.scores(list(rows.values())), controls["laplacian"], controls["bytes"]])
        table = study.statistics(matrix, list(rows).index("MA-CLIP"))
        table.insert(0, "method", [*rows, "Laplacian variance (control)", "File size (control)"])
        frame = long(table, {"srcc": "pooled", "srcc_within": "mean within groups"}, name=table["method"])
        caption = "SRCC of CLIP-IQA, MA-CLIP, its cues and two controls. Bars: 95 % intervals."
        notes = [
            "difference: SRCC of the method minus that of MA-CLIP",
        ]
        figure = Figure(caption, frame, {"xlabel": f"SRCC with {study.label}"})
        return {"main": table}, notes, {"main": figure}


@dataclass(frozen=True)
class Attribution(Checked, key="experiment"):
    """The share of each part in the gain over CLIP-IQA: five pairs, windows with the global view, fused magnitude."""

    name: str = "attribution"

    def tables(self, study: Study) -> Findings:
        """``cells``: all combinations; ``steps``: each factor's gain in every setting of the others; ``shares``."""
        study.as_maclip()
        cells = list(product((False, True), repeat=3))
        rows = [({"prompts": "maclip" if pairs else "clipiqa", "views": "maclip" if windows else "whole"},
                 "q" if fused else "q_sim") for pairs, windows, fused in cells]  # fmt: skip
        matrix = study.scores(rows)
        table = study.statistics(matrix, 0)
        for i, name in enumerate(FACTORS):
            table.insert(i, name, [cell[i] for cell in cells])
        agreement = study.srcc(matrix)
        steps, ends, weights = [], [], []
        for factor, (before, cell) in product(range(3), list(enumerate(cells))):
            if not cell[factor]:
                words = " + ".join(compress(FACTORS, cell)) or "CLIP-IQA (one pair, whole image)"
                steps.append({"factor": FACTORS[factor], "added_to": words})
                ends.append((before + (4, 2, 1)[factor], before))
                weight = (1 / 3, 1 / 6, 1 / 3)[sum(cell)]  # share of the orders in which this step occurs
                weights.append([weight * (row in (factor, 3)) for row in range(4)])
        after, earlier = np.array(ends).T
        gains = agreement[after] - agreement[earlier]
        stepped = study.tested(steps, gains)
        shares = study.tested(
            [{"factor": f} for f in (*FACTORS, "all three")], gains.mix(np.transpose(weights))
        )
        tables = {
            "cells": table,
            "steps": stepped,
            "shares": shares[["factor", "diff", "diff_low", "diff_high"]],
        }
        notes = [
            "cells: difference: from the first row, CLIP-IQA; ✓: as in MA-CLIP, –: as in CLIP-IQA",
            "steps: difference: SRCC with the factor minus SRCC without it",
            "shares: difference: mean gain over the six orders of adding the factors (Shapley value)",
        ]
        caption = (
            "Gain in SRCC of each factor of MA-CLIP, added to CLIP-IQA and the factors named. Bars: simultaneous 95 % "
            "intervals."
        )
        named = at_once(stepped.assign(name=stepped["factor"] + ", added to " + stepped["added_to"]))
        return tables, notes, {"attribution": Figure(caption, named, {"xlabel": "Gain in SRCC"})}


@dataclass(frozen=True)
class Align(Checked, key="experiment"):
    """AGIQA-3K's two labels: perceptual quality, and fit to the prompt."""

    name: str = "align"

    def tables(self, study: Study) -> Findings:
        """``align``: SRCC of each score with both labels, and the paired difference."""
        if study.features.labels.name != "agiqa3k":
            raise Lacking(
                f"dataset {study.features.labels.name} has no mos_align; use dataset=agiqa3k dataset.root=DIR"
            )
        if study.job.source.bundle:
            raise UserError(
                "experiment=align needs the data set's own annotation, a bundle holds one label only"
            )
        images, y = occurrences(study.features.table["image"]), {}
        for c in LABELS:
            table = replace(study.job.source.dataset, label_column=c).load().table
            mos = dict(zip(occurrences(table["image"]), table["mos"], strict=True))
            y[c] = np.array([mos[image] for image in images], float)
        scores = study.cues()[list(CUES)].assign(laplacian=study.features.controls["laplacian"])
        matrix = scores.to_numpy(float).T
        agreement = {c: study.sampling.statistic("srcc", matrix, v) for c, v in y.items()}
        columns = {"score": list(scores), "n": len(images)}
        for c, a in agreement.items():
            columns |= {c: a.values, f"{c}_low": study.bands(a)[:, 0], f"{c}_high": study.bands(a)[:, 1]}
        table = study.tested(columns, agreement["mos_quality"] - agreement["mos_align"])
        caption = (
            "SRCC with the MOS of quality and with the MOS of alignment to the prompt. Bars: 95 % intervals."
        )
        both = srcc(y["mos_quality"], y["mos_align"])
        note = f"difference: SRCC with quality minus SRCC with alignment; SRCC of the two kinds of MOS: {both:.3f}"
        frame = long(table, LABELS, name=table["score"].map(SCORES))
        return {"align": table}, [note], {"align": Figure(caption, frame, {"xlabel": "SRCC"})}


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
            every = {name: np.flatnonzero(names == name) for name in order}
            parts = {name: rows for name, rows in every.items() if not is_constant(study.y[rows])}
            alike = ", ".join(name for name in order if name not in parts)
            notes += [f"{by}: {by} {alike} is left out, where all images have one {study.label}"] * bool(
                alike
            )
            order = list(parts)
            inside = [study.srcc(matrix, rows) for rows in parts.values()]
            columns: dict[str, Any] = {by: order, "n": [len(rows) for rows in parts.values()]}
            for k, cue in enumerate(CUES):
                columns[cue] = [a.values[k] for a in inside]
                columns[f"{cue}_low"], columns[f"{cue}_high"] = np.array(
                    [study.bands(a)[k] for a in inside]
                ).T
            tables[by] = study.tested(columns, stacked([a[[2]] - a[[0]] for a in inside]))
            shown = [group_name(name, data) if by == "group" else f"Level {name}" for name in order]
            word = group_word(data) if by == "group" else by
            caption = (
                f"SRCC inside each {word}. Bars: 95 % intervals. Compare cues inside one {word}: SRCC falls with the "
                f"range of {study.label}."
            )
            frame = long(tables[by], {c: AXES[c] for c in CUES}, name=shown)
            figures[f"by_{by}"] = Figure(caption, frame, {"xlabel": f"SRCC with {study.label}"})
        notes += [
            f"difference: {SCORES['q']} minus similarity cue",
            f"SRCC falls with the range of {study.label}: compare the scores of a row, not rows",
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
        note = f"difference: A minus B; SRCC falls with the range of {study.label}: compare scores in a bin, not bins"
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
            f"SRCC of the weight of similarity with {study.label}: {agreement.values[0]:.3f} "
            f"{interval(low, high)}; the weight of magnitude is 1 minus that of similarity"
        )
        caption = f"Mean cues and weight of similarity in {len(table)} bins of {study.label}. Bands: 95 % intervals."
        series = {c: AXES.get(c, "Weight of similarity") for c in ("q_sim", "q_mag", "w_sim")}
        options = {"xlabel": study.label, "ylabel": "Mean cue or weight"}
        figure = Figure(caption, long(table, series, x=table["label"]), options, "curves")
        return {"weights": table}, [note], {"weights": figure}
