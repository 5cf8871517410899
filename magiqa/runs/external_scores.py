"""Scores that another program gave to a run's images: a CSV of names and scores."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from magiqa.datasets.base import read_csv, read_table
from magiqa.errors import UserError

# the names that programs give to the two columns; pyiqa's inference script writes none, name and score a line
IMAGES = ("image", "img_path", "image_path", "img_name", "image_name", "filename", "path")
EXTERNAL = (
    "external/scores.csv"  # of a comparison's folder: these scores in the order of the images, a column each
)

SCORES = ("score", "scores", "quality", "pred", "prediction")


DIRECTIONS = ("lower", "higher")


@dataclass(frozen=True)
class Metric:
    """A metric in a CSV of another program: ``FILE``, ``FILE:COLUMN``, ``FILE:lower`` or ``FILE:COLUMN:lower``.

    Args:
        direction: ``lower`` or ``higher`` is better; empty where it was not typed.
    """

    file: Path
    column: str = ""
    direction: str = ""

    @classmethod
    def of(cls, word: str | Path) -> "Metric":
        """Read a word of the command line.

        Example:
            >>> Metric.of("all.csv:niqe:lower").choice, Metric.of("musiq.csv").choice
            (':niqe:lower', '')
        """
        file, end, rest = str(word).partition(".csv:")
        if not end or Path(word).exists():
            return cls(Path(word))
        parts = rest.split(":")
        direction = parts.pop() if parts[-1] in DIRECTIONS else ""
        return cls(Path(f"{file}.csv"), ":".join(parts), direction)

    @property
    def name(self) -> str:
        """The column that was typed, else the file's name."""
        return self.column or self.file.stem

    @property
    def choice(self) -> str:
        """The part of the word behind the file."""
        return "".join(f":{part}" for part in (self.column, self.direction) if part)


def check_direction(metric: Metric, values: np.ndarray, y: np.ndarray) -> None:
    """Check that a metric is not taken the wrong way round.

    Raises:
        UserError: its SRCC is significantly negative, and its direction was not typed.
    """
    found = spearmanr(values, y)
    if not metric.direction and found.statistic < 0 and found.pvalue < 0.05:
        word = f"{metric.file}{metric.choice}"
        raise UserError(
            f"{word}: SRCC with MOS is {found.statistic:.3f}, so lower values seem better; type {word}:lower, or "
            f"{word}:higher if higher values are meant to be better"
        )


def external_scores(metric: Metric, images: Sequence[str]) -> tuple[np.ndarray, str]:
    """Return the scores (N,) of a CSV in the order of the images, higher = better, and a note for readers.

    The CSV has a header with one of `IMAGES`, and the metric's column, one of `SCORES` or one other column; or no
    header, and two columns. Images are found by their name, else by their base name where all base names of the run
    are unique. Scores of which lower is better are negated.

    Raises:
        UserError: no such columns, an image scored twice or not at all, a score that is no finite number.
    """
    file = metric.file
    table, by, score, told = _read(metric)
    values = pd.to_numeric(table[score], errors="coerce").to_numpy(float)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise UserError(
            f"{file}: the score of {table[by].iloc[bad[0]]} is {table[score].iloc[bad[0]]!r}, no finite number "
            f"({len(bad)} such rows); score these images"
        )
    if metric.direction == "lower":
        values, told = -values, "; ".join(filter(None, (told, "negated: lower is better")))
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
    notes = [note, told]
    notes.append(f"{unused} rows of other images not used" if unused else "")
    return np.array([place[name] for name in ours]), "; ".join(filter(None, notes))


def _read(metric: Metric) -> tuple[pd.DataFrame, str, str, str]:
    """Return the table, its columns of images and scores, and a note on them.

    Raises:
        UserError: no such column, or several where none was typed.
    """
    file = metric.file
    if (sep := _without_header(file)) is not None:

        def read(file: Path) -> pd.DataFrame:
            names = ["image", "score"]
            return pd.read_csv(file, sep=sep, header=None, names=names, dtype=str, keep_default_na=False)

        return read_table(file, read, ["image", "score"]), "image", "score", "no header: images, then scores"
    header = [str(name) for name in read_csv(file, []).columns]
    by = next((n for n in IMAGES if n in header), IMAGES[0])
    others = [n for n in header if n != by]
    score = metric.column or next((n for n in SCORES if n in header), others[0] if len(others) == 1 else "")
    if by in header and score not in header and others:
        raise UserError(
            f"{file}{metric.choice}: choose a column of it, such as {file}:{others[0]}; it has {', '.join(others[:8])}"
        )
    return read_csv(file, [by, score or SCORES[0]]), by, score or SCORES[0], ""


def _without_header(file: Path) -> str | None:
    """The separator of a file of two columns, the second numbers from the first line on; None: it has a header."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            first = lines.readline(10_000)
        sep = "\t" if "\t" in first else ","
        (cells,) = csv.reader([first], delimiter=sep)
        return sep if len(cells) == 2 and np.isfinite(float(cells[1])) else None
    except (OSError, ValueError, csv.Error):
        return None


def _base(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name
