"""Attribution of the gain to prompt pairs, views and cues."""

from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np

from magiqa.checked import Checked
from magiqa.studies.experiments.study import Study, Tables, at_once


@dataclass(frozen=True)
class Attribution(Checked, key="experiment"):
    """The share of each part in the gain: one or five pairs, whole image, global view, windows, each cue, fusion."""

    name: str = "attribution"

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``cells``: all combinations; ``steps``: each factor's gain in every setting of the others; ``shares``."""
        study.as_maclip()
        pairs = {"one pair": "clipiqa", "five pairs": "maclip"}
        views = {"whole image": "whole", "global view": "global", "windows and global": "maclip"}
        cues = {"similarity": "q_sim", "magnitude": "q_mag", "fused": "q"}
        cells = list(product(pairs, views, cues))
        rows = [({"prompts": pairs[p], "views": views[v]}, cues[c]) for p, v, c in cells]
        matrix = study.scores(rows)
        table = study.statistics(matrix, cells.index(("one pair", "whole image", "similarity")))
        for i, column in enumerate(("prompts", "views", "cue")):
            table.insert(i, column, [cell[i] for cell in cells])
        agreement = study.srcc(matrix)
        base = ("one pair", "whole image", "similarity")
        full = ("five pairs", "windows and global", "fused")
        names = ("five pairs", "windows and global", "magnitude (fused)")

        def at(on: frozenset[int]) -> int:
            c = tuple(full[i] if i in on else base[i] for i in range(3))
            return cells.index((c[0], c[1], c[2]))

        steps: list[dict[str, str]] = []
        ends = []
        for factor in range(3):
            others = [i for i in range(3) if i != factor]
            for on in product((False, True), repeat=2):
                before = frozenset(o for o, used in zip(others, on, strict=True) if used)
                added_to = " + ".join(names[o] for o in sorted(before)) or "CLIP-IQA (one pair, whole image)"
                steps.append({"factor": names[factor], "added_to": added_to})
                ends.append((at(before | {factor}), at(before)))
        after, before_ = np.array(ends).T
        stepped = study.tested(steps, agreement[after] - agreement[before_])
        shares, weights = [], np.zeros((4, len(cells)))
        for factor in range(3):
            for order in permutations(range(3)):
                before = frozenset(order[: order.index(factor)])
                weights[factor, at(before | {factor})] += 1 / 6
                weights[factor, at(before)] -= 1 / 6
            shares.append({"factor": names[factor]})
        weights[3, at(frozenset({0, 1, 2}))], weights[3, at(frozenset())] = 1, -1
        shares.append({"factor": "all three"})
        shared = study.tested(shares, agreement.mix(weights))[["factor", "diff", "diff_low", "diff_high"]]
        notes = [
            "steps: gain of a factor in SRCC, whatever else is on; shares: its mean over the six orders of adding them "
            "(Shapley), which sum to the whole gain",
            "factors are MA-CLIP's and CLIP-IQA's own, whatever views, fusion or pooling the command names",
        ]
        return {"cells": table, "steps": stepped, "shares": shared}, notes

    def captions(self, tables: Tables) -> dict[str, str]:
        """Return the caption of each figure."""
        return {
            "attribution": "Gain in SRCC of each factor of MA-CLIP, added to CLIP-IQA and the factors named. Bars: "
            "simultaneous 95 % intervals."
        }

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Draw the gain of each step."""
        from magiqa.report.plots import dots

        steps = tables["steps"]
        names = [f"{f}, added to {a}" for f, a in zip(steps["factor"], steps["added_to"], strict=True)]
        dots(folder / "attribution", at_once(steps.assign(name=names)), xlabel="Gain in SRCC")
