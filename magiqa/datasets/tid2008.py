"""TID2008: as TID2013, with 17 of its 24 distortion types and four levels.

Example (``mos_with_names.txt``)::

    5.9706 I01_01_1.bmp

The deviations in ``mos_std.txt`` are probably those of the MOS itself: they reach 0.30 on a scale of 0-9.
"""

from dataclasses import dataclass

from magiqa.datasets.tid2013 import Tid2013


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
