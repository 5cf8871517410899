"""PIPAL: ``Train_Label/*.txt``, images under ``Distortion_1..4/`` or ``Train_Dist/``.

Example (``Train_Label/A0001.txt``)::

    A0001_00_00.bmp,1520.0648

Names are reference_type_level. The validation images' scores are on another scale (0-1) and are not mixed in: only the
training part is read. Elo scores have no standard deviation.
"""

from dataclasses import dataclass

import pandas as pd

from magiqa.checked import Checked
from magiqa.datasets.base import Every, ImageIndex, Labels, find_root, finish, name_parts, numbers, read_table
from magiqa.errors import UserError
from magiqa.images.views import Resize

PAGE = "https://github.com/HaomingCai/PIPAL-dataset"


@dataclass(frozen=True)
class Pipal(Checked, key="dataset"):
    """PIPAL (Gu et al., ECCV 2020), training part: 200 references x 116 distortions, Elo scores of 917-1836."""

    root: str
    resize: Resize | None = None
    every: Every = 1

    def load(self) -> Labels:
        """Read the labels. ``group`` is the distortion type by its published number."""
        root = find_root(self.root, PAGE)
        folders = [root / "Train_Label", root / "train" / "Train_Label", root]
        files = next((sorted(f.glob("A*.txt")) for f in folders if any(f.glob("A*.txt"))), [])
        if not files:
            raise UserError(
                f"{root}: annotation files Train_Label/*.txt are missing; put them there (from {PAGE})"
            )
        base = files[0].parent
        columns = ["name", "elo"]
        frames = []
        for file in files:
            if file.stat().st_size == 0:
                raise UserError(f"{file}: the annotation file is empty; fetch it again (from {PAGE})")
            part = read_table(file, lambda f: pd.read_csv(f, header=None, names=columns, dtype=str), columns)
            frames.append(part.assign(elo=numbers(file, part["elo"], "elo")))
        raw = pd.concat(frames, ignore_index=True)
        if raw["elo"].min() < 100:
            low = raw["name"][raw["elo"].idxmin()]
            raise UserError(
                f"{base}: the score of {low} is {raw['elo'].min():g}, not an Elo of 900 or more: labels of the "
                "validation part (0-1) are mixed in; keep Train_Label only"
            )
        names = raw["name"].astype(str)
        parts = name_parts(base, names, r"^(A\d+)_(\d\d)_(\d\d)\.bmp$", "A0001_TT_LL.bmp")
        top = base.parent if base != root else root
        index = ImageIndex(
            [
                *(top / f"Distortion_{i}" for i in range(1, 5)),
                top / "Train_Dist",
                *sorted(top.glob("Train_Dist*")),
            ],
            recursive=True,
        )
        table = pd.DataFrame(
            {
                "image": names,
                "path": [index.find(n) for n in names],
                "mos": raw["elo"],
                "group": "type " + parts[1],
                "level": parts[2].astype(int),
                "reference": parts[0],
            }
        )
        labels = Labels(
            name="pipal",
            variant="train",
            table=table,
            cluster="reference",
            expected=23200,
            page=PAGE,
            layout=index.layout(root, base),
            notes=("training part only: the validation part is scored on another scale",),
        )
        return finish(labels, self.every, base)
