"""AGIQA-3K: ``data.csv``, images flat beside it.

Example::

    name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align
    AttnGAN_normal_000.jpg,statue of a man,,,,0.965602553,0.223270101,0.40889324,0.615607722

``mos_std`` is the standard deviation of the raters' scores.
"""

import re
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from magiqa.checked import Checked
from magiqa.datasets.base import Every, ImageIndex, Labels, find_file, find_root, finish, numbers, read_table
from magiqa.images.views import Resize

PAGE = "https://github.com/lcysyzxdxc/AGIQA-3k-Database"


@dataclass(frozen=True)
class Agiqa3k(Checked, key="dataset"):
    """AGIQA-3K (Li et al., arXiv:2306.04717): 2,982 images of ten generator variants.

    Args:
        label_column: ``mos_quality`` (perceptual quality) or ``mos_align`` (fit to the prompt).
    """

    root: str
    label_column: Literal["mos_quality", "mos_align"] = "mos_quality"
    resize: Resize | None = None
    every: Every = 1

    def load(self) -> Labels:
        """Read the labels. ``group`` is the generator: the name without its number."""
        root = find_root(self.root, PAGE)
        file = find_file(root, ["data.csv"], PAGE)
        std = self.label_column.replace("mos", "std")
        raw = read_table(file, pd.read_csv, ["name", "prompt", self.label_column, std])
        index = ImageIndex([root, root / "AGIQA-3K", root / "images"])
        names = raw["name"].astype(str)
        table = pd.DataFrame(
            {
                "image": names,
                "path": [index.find(n) for n in names],
                "mos": numbers(file, raw[self.label_column], self.label_column),
                "group": [re.sub(r"_\d+\.\w+$", "", n) for n in names],
                "prompt": raw["prompt"].astype(str),
                "mos_std": numbers(file, raw[std], std),
            }
        )
        labels = Labels(
            name="agiqa3k",
            variant="" if self.label_column == "mos_quality" else "align",
            table=table,
            cluster="prompt",
            expected=2982,
            page=PAGE,
            layout=index.layout(root, file),
            notes=()
            if self.label_column == "mos_quality"
            else ("mos is mos_align: fit to the prompt, not quality",),
        )
        return finish(labels, self.every, file)
