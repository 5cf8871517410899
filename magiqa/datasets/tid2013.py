"""TID2013: ``mos_with_names.txt`` and ``mos_std.txt``, images under ``distorted_images/``.

Example::

    5.51429 I01_01_1.bmp

Names differ in case from the files (``I01_...``, ``i25_...``, ``.BMP``). The deviations are probably those
of the MOS itself, not of the raters: their mean is 0.13 on a scale of 0-9.
"""

from dataclasses import dataclass

import pandas as pd

from magiqa.checked import Checked
from magiqa.datasets.base import (
    Every,
    ImageIndex,
    Labels,
    find_file,
    find_root,
    finish,
    has_file,
    name_parts,
    numbers,
    read_table,
)
from magiqa.errors import UserError
from magiqa.images.views import Resize

PAGE = "https://www.ponomarenko.info/tid2013.htm"
TYPES = (
    "additive gaussian noise", "additive noise in color", "spatially correlated noise", "masked noise",
    "high frequency noise", "impulse noise", "quantization noise", "gaussian blur", "image denoising", "jpeg",
    "jpeg2000", "jpeg transmission errors", "jpeg2000 transmission errors", "non-eccentricity pattern noise",
    "local block-wise distortions", "mean shift", "contrast change", "change of color saturation",
    "multiplicative gaussian noise", "comfort noise", "lossy compression of noisy images",
    "color quantization with dither", "chromatic aberrations", "sparse sampling and reconstruction",
)  # fmt: skip


@dataclass(frozen=True)
class Tid2013(Checked, key="dataset"):
    """TID2013 (Ponomarenko et al., 2015): 25 references x 24 distortion types x 5 levels."""

    root: str
    resize: Resize | None = None
    every: Every = 1

    def load(self) -> Labels:
        """Read the labels. ``group`` is the distortion type."""
        root = find_root(self.root, PAGE)
        file = find_file(root, ["mos_with_names.txt", "tid2013/mos_with_names.txt"], PAGE)
        raw = read_table(
            file,
            lambda f: pd.read_csv(f, sep=r"\s+", header=None, names=["mos", "name"], dtype=str),
            ["mos", "name"],
        )
        names = raw["name"].astype(str)
        pattern = r"(?i)^(I\d\d)_(0[1-9]|1\d|2[0-4])_([1-5])\.bmp$"
        parts = name_parts(file, names, pattern, "I01_TT_L.bmp (TT 01-24, L 1-5)")
        index = ImageIndex([file.parent / "distorted_images", file.parent])
        table = pd.DataFrame(
            {
                "image": names,
                "path": [index.find(n) for n in names],
                "mos": numbers(file, raw["mos"], "mos"),
                "group": [TYPES[int(t) - 1] for t in parts[1]],
                "level": parts[2].astype(int),
                "reference": parts[0].str.upper(),
            }
        )
        notes: tuple[str, ...] = ()
        if has_file(file.parent, "mos_std.txt"):
            std_file = find_file(file.parent, ["mos_std.txt"])
            std = read_table(
                std_file,
                lambda f: pd.read_csv(f, sep=r"\s+", header=None, names=["std"], usecols=[0]),
                ["std"],
            )
            if len(std) != len(table):
                raise UserError(f"{std_file}: {len(std)} deviations for {len(table)} images; fetch it again")
            table["mos_std"] = numbers(std_file, std["std"], "std")
        else:
            notes = ("mos_std.txt is not there: no MOS standard deviations",)
        labels = Labels(
            name="tid2013",
            table=table,
            cluster="reference",
            expected=3000,
            page=PAGE,
            layout=index.layout(root, file),
            notes=notes,
        )
        return finish(labels, self.every, file)
