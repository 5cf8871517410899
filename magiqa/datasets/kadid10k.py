"""KADID-10k: ``dmos.csv``, images (and the 81 references) under ``images/``.

Example::

    dist_img,ref_img,dmos,var
    I01_01_01.png,I01.png,4.57,0.496

Despite its name ``dmos`` is higher = better, and ``var`` is the standard deviation of the raters' grades. With ``var``
as a deviation, 98.6 % of the rows give a whole sum of 30 squared grades; as a variance, 10 % do.
"""

from dataclasses import dataclass

from magiqa.datasets.base import DataSet, Labels, name_parts, read_table

TYPES = (
    "gaussian blur", "lens blur", "motion blur", "color diffusion", "color shift", "color quantization",
    "color saturation 1", "color saturation 2", "jpeg2000", "jpeg", "white noise", "white noise color",
    "impulse noise", "multiplicative noise", "denoise", "brighten", "darken", "mean shift", "jitter",
    "non-eccentricity patch", "pixelate", "quantization", "color block", "high sharpen", "contrast change",
)  # fmt: skip


@dataclass(frozen=True)
class Kadid10k(
    DataSet,
    name="kadid10k",
    title="KADID-10k",
    folder="kadid10k",
    page="http://database.mmsp-kn.de/kadid-10k-database.html",
    count=10125,
    cluster="reference",
):
    """KADID-10k (Lin et al., QoMEX 2019): 81 references x 25 distortion types x 5 levels."""

    def load(self) -> Labels:
        """Read the labels. ``group`` is the distortion type."""
        file = self.find_file("dmos.csv", "kadid10k/dmos.csv")
        raw = read_table(file, ["dist_img", "ref_img", "dmos", "var"])
        pattern = r"^I\d\d_(0[1-9]|1\d|2[0-5])_(0[1-5])\.png$"
        parts = name_parts(file, raw["dist_img"].astype(str), pattern, "I01_TT_LL.png (TT 01-25, LL 01-05)")
        columns = {
            "image": raw["dist_img"],
            "mos": raw["dmos"],
            "group": [TYPES[int(t) - 1] for t in parts[0]],
            "level": parts[1].astype(int),
            "reference": raw["ref_img"].astype(str),
            "mos_std": raw["var"],
            "ratings": 30,
        }
        notes = [
            "dmos is higher = better despite its name: taken as it is",
            "var is a standard deviation despite its name: taken as it is",
        ]
        return self.labels(file, [file.parent / "images", file.parent], columns, notes=notes)
