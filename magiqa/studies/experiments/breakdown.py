"""Cues by group and level."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.checked import Checked
from magiqa.stats.bootstrap import bootstrap_many, count_clusters, interval, resample_counts
from magiqa.stats.correlation import point_many
from magiqa.stats.paired import bootstrap_p
from magiqa.studies.experiments.study import CUES, Study, Tables, draw_dots, with_holm


@dataclass(frozen=True)
class Breakdown(Checked, key="experiment"):
    """Each cue inside each generator or distortion type, and level where there are levels."""

    name: str = "breakdown"

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``group`` (and ``level``): SRCC of each cue, and the paired difference of q and q_sim."""
        study.need("group")
        cues = study.cues()
        matrix, y, clusters = cues[list(CUES)].to_numpy().T, study.y, study.clusters
        out: Tables = {}
        for by in ("group", "level"):
            names = study.column(by)
            if names is None:
                continue
            rows = []
            for name in sorted(set(names), key=lambda v: (len(v), v) if by == "level" else (0, v)):
                at = np.flatnonzero(names == name)
                row: dict[str, Any] = {by: name, "n": len(at)}
                if len(at) >= 3:
                    inside = None if clusters is None else clusters[at]
                    units = count_clusters(inside)
                    counts = resample_counts(
                        len(at), inside, None, study.job.statistics.resamples, study.job.statistics.seed
                    )
                    point = point_many("srcc", matrix[:, at], y[at])
                    draws = bootstrap_many("srcc", matrix[:, at], y[at], counts)
                    for k, cue in enumerate(CUES):
                        row[cue] = point[k]
                        row[f"{cue}_low"], row[f"{cue}_high"] = interval(draws[k], clusters=units)
                    row["diff"] = point[2] - point[0]
                    row["diff_low"], row["diff_high"] = interval(draws[2] - draws[0], clusters=units)
                    row["p"] = bootstrap_p(draws[2] - draws[0], units)
                rows.append(row)
            out[by] = with_holm(rows) if any("p" in r for r in rows) else pd.DataFrame(rows)
        return out, ["SRCC inside each group; diff: q less q_sim; a group under 3 images has empty values"]

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """SRCC by group, a series a cue."""
        for by, table in tables.items():
            parts = [
                pd.DataFrame(
                    {
                        "name": table[by],
                        "value": table[c],
                        "low": table[f"{c}_low"],
                        "high": table[f"{c}_high"],
                        "series": c,
                    }
                )
                for c in CUES
                if c in table
            ]
            if parts:
                frame = pd.concat(parts, ignore_index=True).dropna(subset=["value"])
                label = record["dataset"]["label"]
                draw_dots(folder, f"by_{by}", frame, f"SRCC with {label}, 95 % interval", f"By {by}", record)
