"""Images of a data set with their scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd

from magiqa.checked import Checked, Least
from magiqa.errors import UserError
from magiqa.report.image_rows import Tile
from magiqa.report.words import AXES
from magiqa.scorer.scorer import Scorer
from magiqa.studies.experiments.study import CUES, Figure, Findings, Study

TWO = 2  # images that a cue overrates, and as many that it underrates


@dataclass(frozen=True)
class Teaser(Checked, key="experiment"):
    """Images from the best score to the worst, the largest disagreements of each cue with MOS, and maps of the cues.

    Args:
        images: those of the row and the maps, by their names or base names; () takes even steps of the score.
        count: of images in the row, where none are named. stride: of the maps' windows, in pixels.
    """

    name: str = "teaser"
    images: tuple[str, ...] = ()
    count: Annotated[int, Least(2)] = 5
    stride: Annotated[int, Least(1)] = 32

    def tables(self, study: Study) -> Findings:
        """``teaser``: the images of each figure, with their scores and their ranks as percentiles."""
        study.from_images("image files")
        frame = pd.concat([study.features.table["image"], study.cues()[list(CUES)]], axis=1)
        label = study.features.labels.label
        frame[label] = study.y
        ranks = 100 * frame[[*CUES, label]].rank(pct=True)
        frame = frame.join(ranks.add_prefix("rank_"))
        parts = [frame.loc[self._row(frame)].assign(figure="teaser", cue="q")]
        clusters = study.sampling.clusters
        frame["content"] = frame["image"] if clusters is None else clusters
        for cue in CUES:
            order = (
                (frame[f"rank_{cue}"] - frame[f"rank_{label}"])
                .sort_values(ascending=False, kind="stable")
                .index
            )
            for some in (order, order[::-1]):
                rows = frame.loc[some].drop_duplicates("content").head(TWO)
                parts.append(rows.assign(figure="disagreements", cue=cue))
        table = pd.concat(parts, ignore_index=True).drop(columns="content", errors="ignore")
        note = "ranks are percentiles; disagreements: two images that a cue overrates, then two that it underrates"
        return {"teaser": table}, [note], self._figures(study, table)

    def _row(self, frame: pd.DataFrame) -> Sequence[int]:
        """Return the rows of the images from the highest score to the lowest."""
        order = frame["q"].sort_values(ascending=False, kind="stable").index
        if not self.images:
            return [order[i] for i in np.linspace(0, len(order) - 1, self.count).round().astype(int)]
        names = [{name, Path(name).name} for name in frame["image"]]
        for name in self.images:
            if not any(name in some for some in names):
                raise UserError(
                    f"experiment.images: {name} is no image of the data set; use names of its scores.csv"
                )
        return [i for i in order if names[i] & set(self.images)]

    def _figures(self, study: Study, table: pd.DataFrame) -> dict[str, Figure]:
        """Return the row, the disagreements and the maps."""
        paths = dict(zip(study.features.table["image"], study.features.table["path"], strict=True))
        row, label = table[table["figure"] == "teaser"], study.features.labels.label
        tiles = [
            Tile(paths[r["image"]], f"Score {r['q']:.2f}\n{study.label} {r[label]:.2f}")
            for r in row.to_dict("records")
        ]
        figures = {
            "teaser": Figure(
                "Images from the highest predicted score to the lowest.", {"": tiles}, {}, "image_rows"
            )
        }
        rows: dict[str, list[Tile]] = {}
        for r in table[table["figure"] == "disagreements"].to_dict("records"):
            words = f"Cue {r['rank_' + r['cue']]:.0f} %, {study.label} {r[f'rank_{label}']:.0f} %"
            rows.setdefault(AXES[r["cue"]], []).append(Tile(paths[r["image"]], words))
        if not study.job.output.figures:
            return {}
        caption = (
            f"Images on which a cue and {study.label} disagree most: two that the cue overrates and two that it "
            "underrates. Numbers: percentiles of rank."
        )
        figures["disagreements"] = Figure(caption, rows, {}, "image_rows")
        some = [paths[image] for image in row["image"]]
        maps = Scorer.of(study.job, cache_dir=study.job.machine.cache_dir).heatmap(some, stride=self.stride)
        rows = {"Image": [Tile(path) for path in some]}
        for cue in ("q_sim", "q_mag"):
            rows[AXES[cue]] = [Tile(path, map=m[cue]) for path, m in zip(some, maps, strict=True)]
        caption = (
            f"Cues of windows at stride {self.stride}, which is for display (scores use stride "
            f"{study.job.method.views.stride}), over the image in light gray. A row has one scale of colors."
        )
        return figures | {"maps": Figure(caption, rows, {}, "image_rows")}
