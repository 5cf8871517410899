"""LIVE In the Wild (LIVE-C, CLIVE): three MATLAB files.

``Data/AllImages_release.mat``: 1169x1 cells of names (the first seven, ``t1.bmp`` to ``t7.bmp``, are practice images
under ``Images/trainingImages``); ``Data/AllMOS_release.mat`` and ``Data/AllStdDev_release.mat``: 1x1169 numbers.
The deviations are those of the raters' scores.
"""

from dataclasses import dataclass

from magiqa.datasets.base import DataSet, Labels
from magiqa.datasets.image_index import ImageIndex
from magiqa.datasets.matlab import read_mat
from magiqa.errors import UserError


@dataclass(frozen=True)
class Livec(
    DataSet,
    name="livec",
    title="LIVE-C",
    folder="ChallengeDB_release",
    page="https://live.ece.utexas.edu/research/ChallengeDB/index.html",
    count=1162,
):
    """LIVE-C (Ghadiyaram & Bovik, IEEE TIP 2016): 1,162 images, or 1,169 with the practice images.

    Args:
        practice: also take the seven practice images, as MA-CLIP does; CLIP-IQA and pyiqa leave them out.
    """

    practice: bool = False

    def load(self) -> Labels:
        """Read the labels."""
        root = self.folder_path()
        file = self.find_file(root, "Data/AllMOS_release.mat", "AllMOS_release.mat")
        columns = {}
        for column, key in {"image": "AllImages", "mos": "AllMOS", "mos_std": "AllStdDev"}.items():
            source = self.find_file(file.parent, f"{key}_release.mat")
            columns[column] = read_mat(source, f"{key}_release")
        sizes = [len(values) for values in columns.values()]
        if len(set(sizes)) > 1:
            raise UserError(
                f"{file}: {sizes[1]} MOS for {sizes[0]} images and {sizes[2]} deviations; fetch the files again"
            )
        practice = columns["image"].str.fullmatch(r"t[1-7]\.bmp")
        notes = [f"{int(practice.sum())} practice images {'included' if self.practice else 'left out'}"]
        if not self.practice:
            columns = {column: values[~practice] for column, values in columns.items()}
        folders = [root / "Images", root / "images"]
        return self.labels(
            file,
            ImageIndex([*folders, *(f / "trainingImages" for f in folders)]),
            columns,
            variant="practice" if self.practice else "",
            count=1169 if self.practice else 1162,
            notes=notes,
        )
