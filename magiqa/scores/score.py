"""Features and a method in, scores of each image out."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import pandas as pd

from magiqa.errors import UserError
from magiqa.method.cues import similarity
from magiqa.method.pooling import pool
from magiqa.method.prompts import PromptSet
from magiqa.runs.config import Fusion, Magnitude


class Rows(Protocol):
    """Where features of images lie: the cache on disk, a bundle, or memory."""

    def blocks(self, images: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Owner (M,), the position in ``images`` of each row, and the rows (M, D)."""
        ...


class Scorable(Protocol):
    """What scoring asks of features: the images' names in ``table`` and identities, their rows, the text's."""

    @property
    def table(self) -> pd.DataFrame:
        """A row an image; the column ``image`` has its name."""
        ...

    @property
    def images(self) -> list[str]:
        """The identity of each row."""
        ...

    @property
    def cache(self) -> Rows:
        """Holds every image."""
        ...

    def text(self, prompts: PromptSet, /) -> tuple[np.ndarray, float]:
        """Embeddings (P, 2, D) and the logit scale."""
        ...


def score_views(
    features: Scorable, prompts: PromptSet, magnitude: Magnitude
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Cues of every view, in blocks: owner (M,), similarity of each pair (M, P), magnitude (M,)."""
    text, scale = features.text(prompts)
    for owner, rows in features.cache.blocks(features.images):
        yield owner, similarity(rows, text, scale), magnitude(rows)


def score(
    features: Scorable, prompts: PromptSet, magnitude: Magnitude, fusion: Fusion, pooling: str = "mean"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of each image, and of each view.

    Returns:
        (N rows: q_sim, q_mag, q, w_sim, pooled over the image's views, in the order of the table), and
        (a row a view: position, view, q_sim, q_mag, q, w_sim, pair_0, pair_1, ...).
    """
    blocks = []
    for owner, pairs, mag in score_views(features, prompts, magnitude):
        sim = pairs.mean(axis=1)
        q, w = fusion(sim, mag)
        if not np.isfinite(q).all():
            image = features.table["image"].iloc[owner[np.flatnonzero(~np.isfinite(q))[0]]]
            raise UserError(
                f"{image}: its score is NaN or infinite; choose a magnitude.lam or fusion.alpha nearer to 0"
            )
        block = pd.DataFrame({"position": owner, "q_sim": sim, "q_mag": mag, "q": q, "w_sim": w})
        blocks.append(pd.concat([block, pd.DataFrame(pairs).add_prefix("pair_")], axis=1))
    views = pd.concat(blocks, ignore_index=True).sort_values("position", kind="stable", ignore_index=True)
    views.insert(1, "view", views.groupby("position").cumcount())
    cues = views.groupby("position")[["q_sim", "q_mag", "q", "w_sim"]]
    if pooling == "mean":
        return cues.mean().reset_index(drop=True), views
    pooled = cues.agg(lambda v: pool(v.to_numpy(), pooling))
    return pooled.reset_index(drop=True), views
