"""Scores that another program gave to a run's images: a CSV of names and scores."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from magiqa.datasets.base import read_csv
from magiqa.errors import UserError

# the names that programs give to the two columns (pyiqa writes the first of each)
IMAGES = ("image", "img_path", "image_path", "img_name", "image_name", "filename", "path")
SCORES = ("score", "scores", "quality", "pred", "prediction")


def external_scores(file: Path, images: Sequence[str]) -> tuple[np.ndarray, str]:
    """Scores (N,) of a CSV in the order of the images, higher = better, and what a reader must know.

    Images are found by their name, else by their base name where all base names of the run are unique.

    Raises:
        UserError: no such columns, an image scored twice or not at all, a score that is no finite number.
    """
    file = Path(file)
    header = read_csv(file, []).columns
    by, score = (next((n for n in names if n in header), names[0]) for names in (IMAGES, SCORES))
    table = read_csv(file, [by, score])
    values = pd.to_numeric(table[score], errors="coerce").to_numpy(float)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise UserError(
            f"{file}: the score of {table[by].iloc[bad[0]]} is {table[score].iloc[bad[0]]!r}, no finite number "
            f"({len(bad)} such rows); score these images"
        )
    theirs, ours, note = table[by].astype(str).tolist(), list(images), ""
    if not set(ours) <= set(theirs):
        short = [_base(name) for name in ours]
        if max(Counter(short).values(), default=0) == 1 and set(short) & {_base(t) for t in theirs}:
            theirs, ours = [_base(name) for name in theirs], short
            note = "matched by base names"
    wanted = set(ours)
    twice = [name for name, times in Counter(theirs).items() if times > 1 and name in wanted]
    if twice:
        raise UserError(
            f"{file}: scored twice: {twice[0]} (and {len(twice) - 1} more); keep one row an image"
        )
    place = dict(zip(theirs, values, strict=True))
    missing = [name for name in ours if name not in place]
    if missing:
        raise UserError(
            f"{file}: {len(missing)} of {len(ours)} images have no score (first {missing[0]}); score them all: a "
            "paired test needs the same images"
        )
    unused = len(theirs) - len(wanted)
    notes = [note, f"columns {by}, {score}" if (by, score) != ("image", "score") else ""]
    notes.append(f"{unused} rows of other images not used" if unused else "")
    return np.array([place[name] for name in ours]), "; ".join(filter(None, notes))


def _base(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name
