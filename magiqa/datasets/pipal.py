"""PIPAL: ``Train_Label/*.txt``, images under ``Distortion_1..4/`` or ``Train_Dist/``.

Example (``Train_Label/A0001.txt``)::

    A0001_00_00.bmp,1520.0648

Names are reference_type_level. The validation images' scores are on another scale (0-1) and are not mixed in: only the
training part is read. Elo scores have no standard deviation.
"""

from dataclasses import dataclass

import pandas as pd

from magiqa.datasets.base import DataSet, Labels, NoAnnotation, name_parts, numbers, read_table
from magiqa.errors import UserError


@dataclass(frozen=True)
class Pipal(
    DataSet,
    name="pipal",
    title="PIPAL",
    folder="PIPAL",
    page="https://github.com/HaomingCai/PIPAL-dataset",
    count=23200,
    cluster="reference",
):
    """PIPAL (Gu et al., ECCV 2020), training part: 200 references x 116 distortions, Elo scores of 917-1836."""

    def load(self) -> Labels:
        """Read the labels. ``group`` is the distortion type by its published number."""
        root = self.folder_path()
        folders = [root / "Train_Label", root / "train" / "Train_Label", root]
        files = next((sorted(f.glob("A*.txt")) for f in folders if any(f.glob("A*.txt"))), [])
        if not files:
            raise NoAnnotation(
                f"{root}: annotation files Train_Label/*.txt are missing; put them there (from {self.page})"
            )
        base = files[0].parent
        frames = []
        for file in files:
            self.find_file(file)  # refuses an empty one
            part = read_table(file, ["name", "elo"], header=None, names=["name", "elo"], dtype=str)
            frames.append(part.assign(elo=numbers(file, part["elo"])))
        raw = pd.concat(frames, ignore_index=True)
        if raw["elo"].min() < 100:
            low = raw["name"][raw["elo"].idxmin()]
            raise UserError(
                f"{base}: the score of {low} is {raw['elo'].min():g}, not an Elo of 900 or more: labels of the "
                "validation part (0-1) are mixed in; keep Train_Label only"
            )
        parts = name_parts(base, raw["name"], r"^(A\d+)_(\d\d)_(\d\d)\.bmp$", "A0001_TT_LL.bmp")
        top = base.parent if base != root else root
        folders = [*sorted(top.glob("Distortion_[1-4]")), *sorted(top.glob("Train_Dist*"))]
        columns = {
            "image": raw["name"],
            "mos": raw["elo"],
            "group": "type " + parts[1],
            "level": parts[2].astype(int),
            "reference": parts[0],
        }
        notes = ["training part only: the validation part is scored on another scale"]
        return self.labels(base, folders, columns, recursive=True, variant="train", notes=notes)
