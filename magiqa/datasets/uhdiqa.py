"""UHD-IQA: ``uhd-iqa-metadata.csv``, images under ``training/ validation/ test/``.

Example::

    image_name,quality_mos,set,orig_width,...
    "1.jpg",0.76,"training",5515,...

Images are about 3,840 pixels wide: some 460 windows each. The set has no standard deviations.
"""

from dataclasses import dataclass
from typing import Literal

from magiqa.datasets.base import DataSet, Labels, read_table


@dataclass(frozen=True)
class Uhdiqa(
    DataSet,
    name="uhdiqa",
    title="UHD-IQA",
    folder="UHD-IQA",
    page="https://datasets.vqa.mmsp-kn.de/archives/UHD-IQA/",
    count=6073,
    splits={"training": 4269, "validation": 904, "test": 900},
    licence="images CC0",
):
    """UHD-IQA (Hosu et al., 2024): 6,073 photos of high quality at some 8 megapixels.

    Args:
        split: ``all``, or an official one.
    """

    split: Literal["all", "training", "validation", "test"] = "all"

    def load(self) -> Labels:
        """Read the labels."""
        file = self.find_file("uhd-iqa-metadata.csv", "uhd-iqa-training-metadata.csv")
        raw = read_table(file, ["image_name", "quality_mos", "set"])
        return self.labels(
            file,
            [*self.splits, ""],
            {"image": raw["image_name"], "mos": raw["quality_mos"], "split": raw["set"]},
        )
