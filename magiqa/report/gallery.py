"""The images on which a score and the label disagree most."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from magiqa.report.display_names import short_label
from magiqa.report.pictures import Pictures
from magiqa.runs.names import CUES
from magiqa.runs.read import Run


@dataclass(frozen=True)
class Shown:
    """An image of a gallery: its name, the places of its larger copy and of its map, and what stands below it."""

    image: str
    large: int | None
    map: int | None
    text: str
    gap: str


def disagreement(score: pd.Series, label: pd.Series) -> np.ndarray:
    """Rank of the score minus rank of the label, as shares of n: (N,) in [-1, 1]; above 0: the score is too high.

    Example:
        >>> disagreement(pd.Series([1.0, 2.0, 3.0]), pd.Series([3.0, 2.0, 1.0])).round(2).tolist()
        [-0.67, 0.0, 0.67]
    """
    return (score.rank(pct=True) - label.rank(pct=True)).fillna(0.0).to_numpy()


def gallery(run: Run, pictures: Pictures) -> Iterator[tuple[str, list[Shown]]]:
    """The images of largest disagreement in each direction, for each score: a title and images."""
    for score in reversed(CUES):
        gap = disagreement(run.scores[score], run.scores[run.label])
        order = np.argsort(gap, kind="stable")
        most = max(1, min(pictures.gallery, len(order) // 2))
        for side, rows in (("above", order[::-1][:most]), ("below", order[:most])):
            yield (
                f"{score} far {side} {short_label(run.label)}",
                [_shown(run, int(i), score, float(gap[i]), pictures) for i in rows],
            )


def _shown(run: Run, i: int, score: str, gap: float, pictures: Pictures) -> Shown:
    row = run.scores.iloc[i]
    text = f"{short_label(run.label)} {row[run.label]:.3g}, {score} {row[score]:.4g}"
    shown = pictures.large(run, i)
    overlay = None if shown is None else pictures.map(run, i, score)
    return Shown(str(row["image"]), shown, overlay, text, f"{100 * gap:+.0f} % of ranks")
