"""SPAQ: ``Annotations/MOS and Image attribute scores.xlsx``, images under ``TestImage/``.

Example (sheet's columns)::

    Image name   MOS    Brightness  Colorfulness  Contrast  Noisiness  Sharpness
    00001.jpg    46.5   62.33       ...

The set has no standard deviations.
"""

from dataclasses import dataclass

import pandas as pd

from magiqa.checked import Checked
from magiqa.datasets.base import Every, ImageIndex, Labels, find_file, find_root, finish, numbers, read_table
from magiqa.datasets.excel import read_excel
from magiqa.images.views import Resize

PAGE = "https://github.com/h4nwei/SPAQ"
FILES = ("MOS and Image attribute scores.xlsx", "MOS_and_Image_attribute_scores.xlsx")

VARIANTS = {"squash 448 bicubic": "", "short_side 448 bilinear": "448short", "short_side 512 bicubic": "512"}


@dataclass(frozen=True)
class Spaq(Checked, key="dataset"):
    """SPAQ (Fang et al., CVPR 2020): 11,125 smartphone photos. Used with four different resizes: see ``resize``."""

    root: str
    resize: Resize | None = None
    every: Every = 1

    def load(self) -> Labels:
        """Read the labels."""
        root = find_root(self.root, PAGE)
        candidates = [f"{folder}{name}" for folder in ("Annotations/", "") for name in FILES]
        file = find_file(root, candidates, PAGE)
        raw = read_table(file, read_excel, ["Image name", "MOS"])
        names = raw["Image name"].astype(str)
        index = ImageIndex([root / "TestImage", root / "Dataset" / "TestImage", root / "Dataset", root])
        table = pd.DataFrame(
            {"image": names, "path": [index.find(n) for n in names], "mos": numbers(file, raw["MOS"], "MOS")}
        )
        size = "native"
        if self.resize is not None:
            size = f"{self.resize.mode} {self.resize.size} {self.resize.filter}"
        labels = Labels(
            name="spaq",
            variant=VARIANTS.get(size, size.replace(" ", "_")),
            table=table,
            expected=11125,
            page=PAGE,
            layout=index.layout(root, file),
            notes=(f"images resized: {size}",),
        )
        return finish(labels, self.every, file)
