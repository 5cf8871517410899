"""LIVE In the Wild (LIVE-C, CLIVE): three MATLAB files.

``Data/AllImages_release.mat``: 1169x1 cells of names (the first seven, ``t1.bmp`` to ``t7.bmp``, are practice images
under ``Images/trainingImages``); ``Data/AllMOS_release.mat`` and ``Data/AllStdDev_release.mat``: 1x1169 numbers.
The deviations are those of the raters' scores.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.checked import Checked
from magiqa.datasets.base import Every, ImageIndex, Labels, find_file, find_root, finish, numbers
from magiqa.errors import UserError
from magiqa.images.views import Resize

PAGE = "https://live.ece.utexas.edu/research/ChallengeDB/index.html"


def _mat(file: Path, key: str) -> np.ndarray:
    from scipy.io import loadmat

    try:
        content: dict[str, Any] = loadmat(file)
    except Exception as error:
        raise UserError(
            f"{file}: cannot be read ({error}); fetch the annotation file again from {PAGE}"
        ) from None
    if key not in content:
        found = ", ".join(k for k in content if not k.startswith("__"))
        raise UserError(f"{file}: no variable {key} (found {found}); is it the right annotation file?")
    return np.ravel(content[key])


@dataclass(frozen=True)
class Livec(Checked, key="dataset"):
    """LIVE-C (Ghadiyaram & Bovik, IEEE TIP 2016): 1,162 images, or 1,169 with the practice images.

    Args:
        practice: also take the seven practice images, as MA-CLIP does; CLIP-IQA and pyiqa leave them out.
    """

    root: str
    practice: bool = False
    resize: Resize | None = None
    every: Every = 1

    def load(self) -> Labels:
        """Read the labels."""
        root = find_root(self.root, PAGE)
        file = find_file(root, ["Data/AllMOS_release.mat", "AllMOS_release.mat"], PAGE)
        folder = file.parent
        cells = _mat(find_file(folder, ["AllImages_release.mat"], PAGE), "AllImages_release")
        names = [str(np.ravel(c)[0]) for c in cells]
        mos = numbers(file, _mat(file, "AllMOS_release"), "AllMOS_release")
        std_file = find_file(folder, ["AllStdDev_release.mat"], PAGE)
        std = numbers(std_file, _mat(std_file, "AllStdDev_release"), "AllStdDev_release")
        if not len(names) == len(mos) == len(std):
            raise UserError(
                f"{file}: {len(mos)} MOS for {len(names)} images and {len(std)} deviations; fetch the files again"
            )
        index = ImageIndex(
            [
                root / "Images",
                root / "images",
                root / "Images" / "trainingImages",
                root / "images" / "trainingImages",
            ]
        )
        table = pd.DataFrame(
            {"image": names, "path": [index.find(n) for n in names], "mos": mos, "mos_std": std}
        )
        practice = table["image"].str.fullmatch(r"t[1-7]\.bmp")
        if not self.practice:
            table = table[~practice]
        labels = Labels(
            name="livec",
            variant="practice" if self.practice else "",
            table=table,
            expected=1169 if self.practice else 1162,
            page=PAGE,
            layout=index.layout(root, file),
            notes=(f"{int(practice.sum())} practice images {'included' if self.practice else 'left out'}",),
        )
        return finish(labels, self.every, file)
