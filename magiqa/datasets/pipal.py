"""PIPAL: ``Train_Label/*.txt``, images under ``Distortion_1..4/`` or ``Train_Dist/``.

Example (``Train_Label/A0001.txt``)::

    A0001_00_00.bmp,1520.0648

The validation images' scores are on another scale (0-1) and are not mixed in: only the training part is read.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from magiqa.datasets.base import ImageIndex, Labels, find_root, finish, numbers, read_table
from magiqa.errors import UserError

if TYPE_CHECKING:
    from magiqa.views import Resize

PAGE = "https://github.com/HaomingCai/PIPAL-dataset"
TYPES = (
    "traditional distortion", "traditional super-resolution", "PSNR-oriented super-resolution",
    "kernel mismatch super-resolution", "GAN-based super-resolution", "denoising", "super-resolution and denoising",
)  # fmt: skip


@dataclass(frozen=True)
class Pipal:
    """PIPAL (Gu et al., ECCV 2020), training part: 200 references x 116 distortions, Elo scores of 917-1836."""

    root: str
    resize: "Resize | None" = None
    every: int = 1

    def load(self) -> Labels:
        """Read the labels. ``group`` is the distortion type."""
        root = find_root(self.root, PAGE)
        folders = [root / "Train_Label", root / "train" / "Train_Label", root]
        files = next((sorted(f.glob("*.txt")) for f in folders if any(f.glob("A*.txt"))), [])
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
        parts = names.str.extract(r"^(A\d+)_(\d\d)_(\d\d)\.")
        if parts.isna().any(axis=None) or not parts[1].astype(int).between(0, len(TYPES) - 1).all():
            bad = names[parts.isna().any(axis=1)].tolist() or names.tolist()
            raise UserError(f"{base}: {bad[0]!r} is not of the form A0001_TT_LL.bmp, TT 00-06; is it PIPAL?")
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
                "group": [TYPES[int(t)] for t in parts[1]],
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
