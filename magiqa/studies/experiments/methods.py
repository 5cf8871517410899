"""MA-CLIP beside its parts and CLIP-IQA, and its scores beside AGIQA-3K's two labels."""

from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any

import numpy as np

from magiqa.checked import Checked
from magiqa.datasets.base import occurrences
from magiqa.errors import UserError
from magiqa.report.words import SCORES
from magiqa.stats.correlation import srcc
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
            "similarity only (five pairs, windows and global)": ({}, "q_sim"),
            "magnitude only": ({}, "q_mag"),
            "MA-CLIP": ({}, "q"),
        }
        controls = study.features.controls
        matrix = np.vstack([study.scores(list(rows.values())), controls["laplacian"], controls["bytes"]])
        table = study.statistics(matrix, list(rows).index("MA-CLIP"))
        table.insert(0, "method", [*rows, "Laplacian variance (control)", "file bytes (control)"])
        frame = long(table, {"srcc": "pooled", "srcc_within": "mean within groups"}, name=table["method"])
        caption = "SRCC of CLIP-IQA, MA-CLIP, its cues and two controls. Bars: 95 % intervals."
        notes = [
            "difference: SRCC of the method minus that of MA-CLIP, on the same images",
            "each method has its own prompts, views, pooling and fusion",
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
        place = {frozenset(np.flatnonzero(cell).tolist()): i for i, cell in enumerate(cells)}
        steps, ends, weights = [], [], np.zeros((4, len(cells)))
        for factor, cell in product(range(3), cells):
            if not cell[factor]:
                before = frozenset(np.flatnonzero(cell).tolist())
                words = " + ".join(FACTORS[i] for i in sorted(before)) or "CLIP-IQA (one pair, whole image)"
                steps.append({"factor": FACTORS[factor], "added_to": words})
                ends.append((place[before | {factor}], place[before]))
        for order in permutations(range(3)):
            for k, factor in enumerate(order):
                weights[factor, place[frozenset(order[: k + 1])]] += 1 / 6
                weights[factor, place[frozenset(order[:k])]] -= 1 / 6
        weights[3, [-1, 0]] = 1, -1
        after, earlier = np.array(ends).T
        stepped = study.tested(steps, agreement[after] - agreement[earlier])
        shares = study.tested([{"factor": f} for f in (*FACTORS, "all three")], agreement.mix(weights))
        tables = {
            "cells": table,
            "steps": stepped,
            "shares": shares[["factor", "diff", "diff_low", "diff_high"]],
        }
        notes = [
            "steps: gain of a factor in SRCC, whatever else is on; shares: its mean over the six orders of adding them "
            "(Shapley), which sum to the whole gain",
            "prompts, views and fusion of a factor are those of MA-CLIP, else of CLIP-IQA",
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
        note = f"SRCC of the two labels with each other {both:+.4f}; difference: SRCC with quality minus alignment"
        frame = long(table, LABELS, name=table["score"].map(SCORES))
        return {"align": table}, [note], {"align": Figure(caption, frame, {"xlabel": "SRCC"})}
