"""What brings the gain."""

from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.checked import Checked
from magiqa.studies.experiments.study import Study, Tables, difference_row, draw_dots, with_holm


@dataclass(frozen=True)
class Attribution(Checked, key="experiment"):
    """What brings the gain: one or five pairs, whole image, global view or windows too, each cue or both fused."""

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
        point, draws = study.draws(matrix)
        base = ("one pair", "whole image", "similarity")
        full = ("five pairs", "windows and global", "fused")
        names = ("five pairs", "windows and global", "magnitude (fused)")

        def at(on: frozenset[int]) -> int:
            c = tuple(full[i] if i in on else base[i] for i in range(3))
            return cells.index((c[0], c[1], c[2]))

        steps = []
        for factor in range(3):
            others = [i for i in range(3) if i != factor]
            for on in product((False, True), repeat=2):
                before = frozenset(o for o, used in zip(others, on, strict=True) if used)
                a, b = at(before | {factor}), at(before)
                steps.append(
                    {
                        "factor": names[factor],
                        "added_to": " + ".join(names[o] for o in sorted(before))
                        or "CLIP-IQA (one pair, whole image)",
                    }
                    | difference_row(study, point[a] - point[b], draws[a] - draws[b])
                )
        shares = []
        for factor in range(3):
            gains = []
            for order in permutations(range(3)):
                before = frozenset(order[: order.index(factor)])
                gains.append((at(before | {factor}), at(before)))
            value = float(np.mean([point[a] - point[b] for a, b in gains]))
            drawn = np.mean([draws[a] - draws[b] for a, b in gains], axis=0)
            shares.append({"factor": names[factor]} | difference_row(study, value, drawn, test=False))
        whole = (at(frozenset({0, 1, 2})), at(frozenset()))
        total = difference_row(
            study, point[whole[0]] - point[whole[1]], draws[whole[0]] - draws[whole[1]], test=False
        )
        shares.append({"factor": "all three"} | total)
        notes = [
            "steps: gain of a factor in SRCC, whatever else is on; shares: its mean over the six orders of adding them "
            "(Shapley), which sum to the whole gain",
            "factors are MA-CLIP's and CLIP-IQA's own, whatever views, fusion or pooling the command names",
        ]
        return {"cells": table, "steps": with_holm(steps), "shares": pd.DataFrame(shares)}, notes

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """The steps, by factor."""
        steps = tables["steps"]
        frame = steps.rename(columns={"diff": "value", "diff_low": "low", "diff_high": "high"})
        frame = frame.assign(name=steps["factor"] + ", added to " + steps["added_to"])
        draw_dots(
            folder, "attribution", frame, "gain in SRCC, paired 95 % interval", "What brings the gain", record
        )
