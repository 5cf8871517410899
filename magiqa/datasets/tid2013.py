"""TID2013: ``mos_with_names.txt`` and ``mos_std.txt``, images under ``distorted_images/``.

Example::

    5.51429 I01_01_1.bmp

Names differ in case from the files (``I01_...``, ``i25_...``, ``.BMP``). The deviations are probably those
of the MOS itself, not of the raters: their mean is 0.13 on a scale of 0-9.

TID2008: as TID2013, with 17 of its 24 distortion types and four levels.

Example (``mos_with_names.txt``)::

    5.9706 I01_01_1.bmp

The deviations in ``mos_std.txt`` are probably those of the MOS itself: they reach 0.30 on a scale of 0-9.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from magiqa.datasets.base import DataSet, Labels, look_up, name_parts, numbers, read_table
from magiqa.errors import UserError

TYPES = (
    "additive gaussian noise", "additive noise in color", "spatially correlated noise", "masked noise",
    "high frequency noise", "impulse noise", "quantization noise", "gaussian blur", "image denoising", "jpeg",
    "jpeg2000", "jpeg transmission errors", "jpeg2000 transmission errors", "non-eccentricity pattern noise",
    "local block-wise distortions", "mean shift", "contrast change", "change of color saturation",
    "multiplicative gaussian noise", "comfort noise", "lossy compression of noisy images",
    "color quantization with dither", "chromatic aberrations", "sparse sampling and reconstruction",
)  # fmt: skip


@dataclass(frozen=True)
class Tid2013(
    DataSet,
    name="tid2013",
    title="TID2013",
    folder="tid2013",
    page="https://www.ponomarenko.info/tid2013.htm",
    count=3000,
    cluster="reference",
):
    """TID2013 (Ponomarenko et al., 2015): 25 references x 24 distortion types x 5 levels."""

    types: ClassVar[int] = 24  # of TYPES, which TID2008 and TID2013 number alike
    levels: ClassVar[int] = 5

    def load(self) -> Labels:
        """Read the labels. ``group`` is the distortion type."""
        file = self.find_file("mos_with_names.txt", f"{self.folder}/mos_with_names.txt")
        plain: dict[str, Any] = {"sep": r"\s+", "header": None, "dtype": str}
        raw = read_table(file, ["mos", "name"], names=["mos", "name"], **plain)
        form = f"I01_TT_L.bmp (TT 01-{self.types}, L 1-{self.levels})"
        parts = name_parts(file, raw["name"], r"(?i)^(I\d\d)_(\d\d)_(\d)\.bmp$", form)
        types, levels = parts[1].astype(int), parts[2].astype(int)
        bad = ~(types.between(1, self.types) & levels.between(1, self.levels))
        if bad.any():
            raise UserError(
                f"{file}: {raw['name'][bad].iloc[0]!r} is not of the form {form}; is it the right annotation file?"
            )
        columns: dict[str, Any] = {
            "image": raw["name"],
            "mos": raw["mos"],
            "group": [TYPES[t - 1] for t in types],
            "level": levels,
            "reference": parts[0].str.upper(),
        }
        notes = []
        if look_up(file.parent, "mos_std.txt"):
            std_file = self.find_file(file.parent / "mos_std.txt")
            std = read_table(std_file, ["std"], names=["std"], usecols=[0], **plain)
            if len(std) != len(raw):
                raise UserError(f"{std_file}: {len(std)} deviations for {len(raw)} images; fetch it again")
            columns["mos_std"] = numbers(std_file, std["std"])
        else:
            notes = ["mos_std.txt is not there: no MOS standard deviations"]
        return self.labels(file, [file.parent / "distorted_images", file.parent], columns, notes=notes)


@dataclass(frozen=True)
class Tid2008(
    Tid2013,
    name="tid2008",
    title="TID2008",
    folder="tid2008",
    page="https://www.ponomarenko.info/tid2008.htm",
    count=1700,
    types=17,
    levels=4,
):
    """TID2008 (Ponomarenko et al., 2009): 25 references x 17 distortion types x 4 levels."""
