"""The sets of the LIVE laboratory, whose labels are MATLAB vectors: LIVE, LIVE-MD, LIVE-C.

LIVE, release 2: MATLAB vectors of 982 values, images under ``jp2k/ jpeg/ wn/ gblur/ fastfading/``.

The vectors hold the images of the five folders in this order (227, 233, 174, 174, 174 files ``img1.bmp``,
``img2.bmp``, ...). ``orgs`` is 1 for the 203 rows that are references: 779 distorted images are left.

Traps: there are two label files. ``dmos_realigned.mat`` (``dmos_new``, ``dmos_std``) is used by hyperIQA, ARNIQA and
LIQE, ``dmos.mat`` (``dmos``) by pyiqa and Q-Align; they rank-correlate at 0.957 only. DMOS is lower = better.
``dmos_std`` is the standard deviation of the raters' realigned scores.

LIVE-MD (multiply distorted): two parts, each with ``Imagelists.mat`` and ``Scores.mat``.

``Part 1/blurjpeg/`` holds blur then JPEG, ``Part 2/blurnoise/`` blur then noise; references lie beside the distorted
images. ``Imagelists.mat``: ``distimgs`` (225 names), ``refimgs`` (15), ``ref4dist`` (1-based). ``Scores.mat``:
``DMOSscores`` (1x225).

Traps: DMOS is lower = better. Both parts show the same 15 scenes, which are the references here: by path there would
be 30. 45 images that are only blurred stand in both parts, with different DMOS. The set has no standard deviations.

LIVE In the Wild (LIVE-C, CLIVE): three MATLAB files.

``Data/AllImages_release.mat``: 1169x1 cells of names (the first seven, ``t1.bmp`` to ``t7.bmp``, are practice images
under ``Images/trainingImages``); ``Data/AllMOS_release.mat`` and ``Data/AllStdDev_release.mat``: 1x1169 numbers.
The deviations are those of the raters' scores.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from magiqa.datasets.base import DataSet, Labels
from magiqa.datasets.matlab import read_mat
from magiqa.errors import UserError

TYPES = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
PARTS = {1: "blurjpeg", 2: "blurnoise"}


@dataclass(frozen=True)
class Live(
    DataSet,
    name="live",
    title="LIVE",
    folder="databaserelease2",
    page="https://live.ece.utexas.edu/research/quality/subjective.htm",
    count=779,
    cluster="reference",
    lower_is_better=True,
    licence="free, with its notice",
):
    """LIVE release 2 (Sheikh et al., IEEE TIP 2006): 779 distorted images of 29 references, five distortion types.

    Args:
        dmos: the label file: ``realigned`` (dmos_realigned.mat) or ``original`` (dmos.mat).
    """

    dmos: Literal["realigned", "original"] = "realigned"

    def load(self) -> Labels:
        """Read the labels. ``group`` is the distortion type; references are left out."""
        name = "dmos_realigned.mat" if self.dmos == "realigned" else "dmos.mat"
        file = self.find_file(name, f"{self.folder}/{name}")
        keys = ["dmos_new", "dmos"] if self.dmos == "realigned" else ["dmos"]
        columns: dict[str, Any] = {
            "image": pd.Series([f"{kind}/img{i + 1}.bmp" for kind, n in TYPES.items() for i in range(n)]),
            "mos": read_mat(file, *keys),
            "group": pd.Series([kind for kind, n in TYPES.items() for _ in range(n)]),
            "reference": read_mat(self.find_file(file.parent / "refnames_all.mat"), "refnames_all"),
        }
        if self.dmos == "realigned":
            columns["mos_std"] = read_mat(file, "dmos_std")
        references = read_mat(file, "orgs")
        total = sum(TYPES.values())
        _check_lengths(file, total, references, *columns.values())
        columns = {column: values[references == 0] for column, values in columns.items()}
        return self.labels(
            file,
            [file.parent],
            columns,
            variant="" if self.dmos == "realigned" else "original",
            notes=[
                f"labels: {columns['mos'].name} of {file.name}; {int((references != 0).sum())} references left out"
            ],
        )


@dataclass(frozen=True)
class Livemd(
    DataSet,
    name="livemd",
    title="LIVE-MD",
    folder="LIVEmultidistortiondatabase",
    page="https://live.ece.utexas.edu/research/quality/",
    count=450,
    cluster="reference",
    lower_is_better=True,
):
    """LIVE-MD (Jayaraman et al., 2012): 450 images of 15 scenes, distorted twice."""

    def load(self) -> Labels:
        """Read the labels. ``group`` is the kind of distortion, ``reference`` the scene."""
        frames = []
        for number, kind in PARTS.items():
            parts = [f"{outer}Part{gap}{number}" for outer in ("", "To_Release/") for gap in (" ", "_", "")]
            file = self.find_file(*(f"{part}/Scores.mat" for part in parts))
            frames.append(self._part(file, kind))
        table = pd.concat(frames, ignore_index=True)
        columns = {**table, "mos": table["mos"].rename("DMOSscores")}
        return self.labels(file, [file.parent.parent], columns)

    def _part(self, file: Path, kind: str) -> pd.DataFrame:
        """Return one part's rows."""
        lists = self.find_file(file.parent / "Imagelists.mat")
        names, scenes, numbers = (read_mat(lists, key) for key in ("distimgs", "refimgs", "ref4dist"))
        scores = read_mat(file, "DMOSscores")
        _check_lengths(file, len(names), scores, numbers[numbers.between(1, len(scenes))])
        return pd.DataFrame(
            {
                "image": f"{file.parent.name}/{kind}/" + names,
                "mos": scores,
                "group": kind,
                "reference": [scenes[int(n) - 1].rpartition(".")[0] for n in numbers],
            }
        )


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
        file = self.find_file("Data/AllMOS_release.mat", "AllMOS_release.mat")
        columns = {}
        for column, key in {"image": "AllImages", "mos": "AllMOS", "mos_std": "AllStdDev"}.items():
            source = self.find_file(file.parent / f"{key}_release.mat")
            columns[column] = read_mat(source, f"{key}_release")
        _check_lengths(file, len(columns["image"]), *columns.values())
        practice = columns["image"].str.fullmatch(r"t[1-7]\.bmp")
        notes = [f"{int(practice.sum())} practice images {'included' if self.practice else 'left out'}"]
        if not self.practice:
            columns = {column: values[~practice] for column, values in columns.items()}
        return self.labels(
            file,
            ["Images", "images", "Images/trainingImages", "images/trainingImages"],
            columns,
            variant="practice" if self.practice else "",
            count=1169 if self.practice else 1162,
            notes=notes,
        )


def _check_lengths(file: Path, count: int, *columns: pd.Series) -> None:
    for values in columns:
        if len(values) != count:
            raise UserError(f"{file}: {len(values)} {values.name}, expected {count}; fetch the files again")
