"""CSIQ: ``csiq.DMOS.xlsx``, sheet ``all_by_image``, header in row 4; images under ``dst_imgs/<type>/``.

Example (sheet's columns)::

    image       dst_idx  dst_type  dst_lev  dmos_std  dmos
    artisanal   1        noise     1        0.0       0.0623      -> dst_imgs/awgn/artisanal.AWGN.1.png

``dmos`` is lower = better. Type names differ from the folders; the image ``1600`` may be read as a number.
``dmos_std`` is the standard deviation over the raters.
"""

from dataclasses import dataclass

from magiqa.datasets.base import DataSet, Labels, numbers, read_table
from magiqa.errors import UserError

FILE_TYPES = {
    "noise": "AWGN", "blur": "BLUR", "jpeg": "JPEG", "jpeg 2000": "jpeg2000", "contrast": "contrast",
    "fnoise": "fnoise",
}  # fmt: skip


@dataclass(frozen=True)
class Csiq(
    DataSet,
    name="csiq",
    title="CSIQ",
    folder="CSIQ",
    page="https://s2.smu.edu/~eclarson/csiq.html",
    count=866,
    cluster="reference",
    lower_is_better=True,
):
    """CSIQ (Larson & Chandler, 2010): 866 images, 30 references, 6 distortion types."""

    def load(self) -> Labels:
        """Read the labels. ``group`` is the distortion type; ``mos`` is minus DMOS."""
        file = self.find_file("csiq.DMOS.xlsx", "CSIQ/csiq.DMOS.xlsx")
        required = ["image", "dst_type", "dst_lev", "dmos_std", "dmos"]
        raw = read_table(file, required, sheet="all_by_image", header=3)
        types = raw["dst_type"].astype(str).str.strip().str.lower()
        unknown = sorted(set(types) - set(FILE_TYPES))
        if unknown:
            raise UserError(f"{file}: dst_type {unknown[0]!r} is not known: expected {', '.join(FILE_TYPES)}")
        references = [f"{v:g}" if isinstance(v, float) else str(v).strip() for v in raw["image"]]
        levels = numbers(file, raw["dst_lev"]).astype(int)
        columns = {
            "image": [
                f"{r}.{FILE_TYPES[t]}.{k}.png" for r, t, k in zip(references, types, levels, strict=True)
            ],
            "mos": raw["dmos"],
            "group": types,
            "level": levels,
            "reference": references,
            "mos_std": raw["dmos_std"],
        }
        return self.labels(file, [file.parent / "dst_imgs", file.parent], columns, recursive=True)
