"""Cues by group and level."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magiqa.checked import Checked
from magiqa.report.words import AXES, group_name, short_label
from magiqa.stats.sampled import stacked
from magiqa.studies.experiments.study import CUES, Study, Tables, long


@dataclass(frozen=True)
class Breakdown(Checked, key="experiment"):
    """Each cue inside each generator or distortion type, and level where there are levels."""

    name: str = "breakdown"

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``group`` (and ``level``): SRCC of each cue, and the paired difference of q and q_sim."""
        study.need("group")
        matrix = study.cues()[list(CUES)].to_numpy().T
        out: Tables = {}
        for by in ("group", "level"):
            names = study.column(by)
            if names is None:
                continue
            rows, gains = [], []
            for name in sorted(set(names), key=lambda v: (len(v), v) if by == "level" else (0, v)):
                inside = np.flatnonzero(names == name)
                row: dict[str, Any] = {by: name, "n": len(inside)}
                agreement = study.srcc(matrix, inside)
                for cue, value, band in zip(CUES, agreement.values, study.bands(agreement), strict=True):
                    row[cue], (row[f"{cue}_low"], row[f"{cue}_high"]) = value, band
                gains.append(agreement[[2]] - agreement[[0]])
                rows.append(row)
            out[by] = study.tested(rows, stacked(gains))
        return out, [
            "SRCC inside each group; difference: fused score less similarity cue; a group under 3 images has empty "
            "values, one of fewer than 5 images or clusters no interval",
            "SRCC inside a group falls with the range of its labels: compare cues inside one group, never groups with "
            "each other",
        ]

    def captions(self, tables: Tables) -> dict[str, str]:
        """Return the caption of each figure."""
        return {
            f"by_{by}": f"SRCC inside each {by}. Bars: 95 % intervals. Compare cues inside one {by}: SRCC falls with "
            "the range of MOS."
            for by in tables
        }

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Draw SRCC by group, a series a cue."""
        from magiqa.report.plots import dots

        data = record["dataset"]
        for by, table in tables.items():
            names = [group_name(str(n), data) if by == "group" else str(n) for n in table[by]]
            frame = long(table, {c: AXES[c] for c in CUES}, name=names)
            dots(folder / f"by_{by}", frame, xlabel=f"SRCC with {short_label(data['label'])}")
