"""AIGCIQA2023: ``DATA/MOS/mosz1.mat`` (quality), ``mosz2.mat`` (authenticity), ``mosz3.mat`` (correspondence).

Their order is that of ``pic-index.xlsx``: 2,400 rows of model and file name. Images lie in a folder for each model, or
numbered in this order (``Image/allimg/0.png``, ...).

Example (sheet's row)::

    Lafite   042-2.png

Traps: there are only 400 different file names, so that an image's name is the model and the file name. The first three
digits are the prompt. MOS is z-scored, 0-100. The set has no standard deviations.
"""

from dataclasses import dataclass
from typing import Any, Literal

from magiqa.datasets.base import DataSet, Labels, read_table
from magiqa.datasets.image_index import ImageIndex
from magiqa.datasets.matlab import read_mat
from magiqa.errors import UserError

FILES = {"quality": "mosz1.mat", "authenticity": "mosz2.mat", "correspondence": "mosz3.mat"}


@dataclass(frozen=True)
class Aigciqa2023(
    DataSet,
    name="aigciqa2023",
    title="AIGCIQA2023",
    folder="AIGCIQA2023",
    page="https://github.com/wangjiarui153/AIGCIQA2023",
    count=2400,
    cluster="prompt",
):
    """AIGCIQA2023 (Wang et al., 2023): 2,400 images of six generators, four for each of 100 prompts.

    Args:
        mos: the question that the raters answered.
    """

    mos: Literal["quality", "authenticity", "correspondence"] = "quality"

    def load(self) -> Labels:
        """Read the labels. ``group`` is the generator, ``prompt`` its number."""
        root = self.folder_path()
        name = FILES[self.mos]
        file = self.find_file(f"DATA/MOS/{name}", f"MOS/{name}", name)
        scores = read_mat(file, "MOSz")
        index = self.find_file("pic-index.xlsx", "DATA/pic-index.xlsx", "Image/pic-index.xlsx")
        raw = read_table(index, ["0", "1"], header=None).astype(str)
        raw = raw[raw["1"].str.fullmatch(r"\d{3}-\d+\.png")].reset_index(drop=True)
        if len(raw) != len(scores):
            raise UserError(
                f"{file}: {len(scores)} MOS for {len(raw)} images of {index.name}; fetch the files again"
            )
        names = raw["0"].str.strip() + "/" + raw["1"]
        columns: dict[str, Any] = {
            "image": names,
            "mos": scores,
            "group": raw["0"].str.strip(),
            "prompt": raw["1"].str[:3],
        }
        folders = [root / "Image", root / "Image" / "allimg", root / "allimg", root]
        images = ImageIndex(folders)
        if not any(images.find(name) for name in names[:50]):  # numbered in the order of the list
            columns["path"] = [images.find(f"{i}.png") for i in range(len(names))]
        return self.labels(file, folders, columns, variant="" if self.mos == "quality" else self.mos)
