"""SPAQ: ``Annotations/MOS and Image attribute scores.xlsx``, images under ``TestImage/``.

Example (sheet's columns)::

    Image name   MOS    Brightness  Colorfulness  Contrast  Noisiness  Sharpness
    00001.jpg    46.5   62.33       ...

The set has no standard deviations.
"""

from dataclasses import dataclass

from magiqa.datasets.base import DataSet, Labels, read_table

FILES = ("MOS and Image attribute scores.xlsx", "MOS_and_Image_attribute_scores.xlsx")
VARIANTS = {"squash 448 bicubic": "", "short_side 448 bilinear": "448short", "short_side 512 bicubic": "512"}


@dataclass(frozen=True)
class Spaq(
    DataSet,
    name="spaq",
    title="SPAQ",
    folder="SPAQ",
    page="https://github.com/h4nwei/SPAQ",
    count=11125,
):
    """SPAQ (Fang et al., CVPR 2020): 11,125 smartphone photos. Used with four different resizes: see ``resize``."""

    def load(self) -> Labels:
        """Read the labels."""
        file = self.find_file(*(f"{folder}{name}" for folder in ("Annotations/", "") for name in FILES))
        raw = read_table(file, ["Image name", "MOS"])
        size = "native"
        if self.resize is not None:
            size = f"{self.resize.mode} {self.resize.size} {self.resize.filter}"
        return self.labels(
            file,
            ["TestImage", "Dataset/TestImage", "Dataset", ""],
            {"image": raw["Image name"], "mos": raw["MOS"]},
            variant=VARIANTS.get(size, size.replace(" ", "_")),
            notes=[f"images resized: {size}"],
        )
