"""AGIQA-3K: ``data.csv``, images flat beside it.

Example::

    name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align
    AttnGAN_normal_000.jpg,statue of a man,,,,0.965602553,0.223270101,0.40889324,0.615607722

``mos_std`` is the standard deviation of the raters' scores.
"""

from dataclasses import dataclass
from typing import Literal

from magiqa.datasets.base import DataSet, Labels, read_table


@dataclass(frozen=True)
class Agiqa3k(
    DataSet,
    name="agiqa3k",
    title="AGIQA-3K",
    folder="AGIQA-3K",
    page="https://github.com/lcysyzxdxc/AGIQA-3k-Database",
    count=2982,
    cluster="prompt",
    licence="MIT",
):
    """AGIQA-3K (Li et al., arXiv:2306.04717): 2,982 images of ten generator variants.

    Args:
        label_column: ``mos_quality`` (perceptual quality) or ``mos_align`` (fit to the prompt).
    """

    label_column: Literal["mos_quality", "mos_align"] = "mos_quality"

    def load(self) -> Labels:
        """Read the labels. ``group`` is the generator: the name without its number."""
        file = self.find_file("data.csv")
        std = self.label_column.replace("mos", "std")
        raw = read_table(file, ["name", "prompt", self.label_column, std])
        columns = {
            "image": raw["name"],
            "mos": raw[self.label_column],
            "group": raw["name"].astype(str).str.replace(r"_\d+\.\w+$", "", regex=True),
            "prompt": raw["prompt"].astype(str),
            "mos_std": raw[std],
        }
        align = self.label_column == "mos_align"
        return self.labels(
            file,
            ["", "AGIQA-3K", "images", "img"],
            columns,
            variant="align" if align else "",
            notes=["mos is mos_align: fit to the prompt, not quality"] if align else [],
        )
