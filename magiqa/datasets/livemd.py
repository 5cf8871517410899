"""LIVE-MD (multiply distorted): two parts, each with ``Imagelists.mat`` and ``Scores.mat``.

``Part 1/blurjpeg/`` holds blur then JPEG, ``Part 2/blurnoise/`` blur then noise; references lie beside the distorted
images. ``Imagelists.mat``: ``distimgs`` (225 names), ``refimgs`` (15), ``ref4dist`` (1-based). ``Scores.mat``:
``DMOSscores`` (1x225).

Traps: DMOS is lower = better. Both parts show the same 15 scenes, which are the references here: by path there would
be 30. 45 images that are only blurred stand in both parts, with different DMOS. The set has no standard deviations.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from magiqa.datasets.base import DataSet, Labels
from magiqa.datasets.image_index import ImageIndex
from magiqa.datasets.matlab import read_mat
from magiqa.errors import UserError

PARTS = {1: "blurjpeg", 2: "blurnoise"}


@dataclass(frozen=True)
class Livemd(
    DataSet,
    name="livemd",
    title="LIVE-MD",
    folder="LIVEmultidistortiondatabase",
    page="https://live.ece.utexas.edu/research/quality/",
    count=450,
    cluster="reference",
    lower_is_better=True,
):
    """LIVE-MD (Jayaraman et al., 2012): 450 images of 15 scenes, distorted twice."""

    def load(self) -> Labels:
        """Read the labels. ``group`` is the kind of distortion, ``reference`` the scene."""
        root = self.folder_path()
        frames = []
        for number, kind in PARTS.items():
            parts = [f"{outer}Part{gap}{number}" for outer in ("", "To_Release/") for gap in (" ", "_", "")]
            file = self.find_file(root, *(f"{part}/Scores.mat" for part in parts))
            frames.append(self._part(file, kind))
        table = pd.concat(frames, ignore_index=True)
        columns = {**table, "mos": table["mos"].rename("DMOSscores")}
        return self.labels(file, ImageIndex([file.parent.parent]), columns)

    def _part(self, file: Path, kind: str) -> pd.DataFrame:
        """Return one part's rows."""
        lists = self.find_file(file.parent, "Imagelists.mat")
        names, scenes, numbers = (read_mat(lists, key) for key in ("distimgs", "refimgs", "ref4dist"))
        scores = read_mat(file, "DMOSscores")
        if not len(names) == len(scores) == len(numbers) or not numbers.between(1, len(scenes)).all():
            raise UserError(f"{file}: {len(scores)} scores for {len(names)} images; fetch the files again")
        return pd.DataFrame(
            {
                "image": f"{file.parent.name}/{kind}/" + names,
                "mos": scores,
                "group": kind,
                "reference": [scenes[int(n) - 1].rpartition(".")[0] for n in numbers],
            }
        )
