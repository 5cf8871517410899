"""Scores that another program gave to a run's images: a CSV of names and scores."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from magiqa.datasets.columns import Columns
from magiqa.datasets.containers import Container
from magiqa.errors import UserError, some

# of a comparison's folder: these scores in the order of the images, a column each
EXTERNAL = "external/scores.csv"
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
    correlation = spearmanr(values, y)
    if not metric.direction and correlation.statistic < 0 and correlation.pvalue < 0.05:
        word = f"{metric.file}{metric.choice}"
        raise UserError(
            f"{word}: SRCC with MOS is {correlation.statistic:.3f}, so lower values seem better; type {word}:lower, or "
            f"{word}:higher if higher values are meant to be better"
        )


def external_scores(metric: Metric, images: Sequence[str]) -> tuple[np.ndarray, str]:
    """Return the scores (N,) of a CSV in the order of the images, higher = better, and a note for readers.

    The CSV has a header with a column of images, and the metric's column, one of `SCORES` or one other column; or no
    header, and two columns. Images are found by their name, else by their base name where all base names of the run
    are unique. Scores of which lower is better are negated.

    Raises:
        UserError: no such columns, an image scored twice or not at all, a score that is no finite number.
    """
    file = metric.file
    names, scores, told = _read(metric)
    values = pd.to_numeric(scores, errors="coerce").to_numpy(float)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise UserError(
            f"{file}: the score of {names.iloc[bad[0]]} is {scores.iloc[bad[0]]!r}, no finite number "
            f"({len(bad)} such rows); score these images"
        )
    theirs, ours = names.tolist(), list(images)
    notes = [told]
    if metric.direction == "lower":
        values = -values
        notes.append("negated: lower is better")
    short = [_base(name) for name in ours]
    if not set(ours) <= set(theirs) and len(set(short)) == len(short) and {*short} & {*map(_base, theirs)}:
        theirs, ours = [_base(name) for name in theirs], short
        notes.insert(0, "matched by base names")
    times = Counter(theirs)
    twice = [name for name in dict.fromkeys(ours) if times[name] > 1]
    if twice:
        raise UserError(
            f"{file}: scored twice: {twice[0]} (and {len(twice) - 1} more); keep one row an image"
        )
    missing = [name for name in ours if name not in times]
    if missing:
        raise UserError(
            f"{file}: {len(missing)} of {len(ours)} images have no score (first {missing[0]}); score them all: a "
            "paired test needs the same images"
        )
    if unused := len(theirs) - len(set(ours)):
        notes.append(f"{unused} rows of other images not used")
    place = dict(zip(theirs, values, strict=True))
    return np.array([place[name] for name in ours]), "; ".join(filter(None, notes))


def _read(metric: Metric) -> tuple[pd.Series, pd.Series, str]:
    """Return the images' names, the scores, and a note on the columns.

    Raises:
        UserError: no such column, or several where none was typed.
    """
    file = metric.file
    columns = Columns(file, Container().read(file), keys=False)
    names = columns.images(None)
    others = [name for name in columns.table if name != names.name]
    score = metric.column or next((n for n in SCORES if n in others), others[0] if len(others) == 1 else "")
    if score not in others:
        choice = f"choose a column of it, such as {file}:{others[0]}" if others else "add a column of scores"
        raise UserError(f"{file}{metric.choice}: {choice}; it has {some(others)}")
    return names, columns.table[score], "" if columns.headed else "no header: images, then scores"


def _base(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name
