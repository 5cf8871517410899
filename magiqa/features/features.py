"""A data set's features, in the cache, with what they came from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from magiqa.datasets.base import Labels
from magiqa.features.cache import Shards
from magiqa.images.controls import CONTROLS
from magiqa.method.prompts import PromptSet


@dataclass
class Features:
    """Features of a data set's images, in the cache, with what they came from.

    Args:
        labels: with the rows of skipped images gone. cache: holds every image. images: sha256 a row.
        skipped: name and reason of each image left out. record: what the run's record says of all this.
        text: for a prompt set, its text features (T, D) and the logit scale.
    """

    labels: Labels
    table: pd.DataFrame
    cache: Shards
    images: list[str]
    skipped: list[dict[str, str]]
    record: dict[str, Any]
    text: Callable[[PromptSet], tuple[np.ndarray, float]]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the views that an image's rows are of, in their order."""
        return tuple(self.record["views"]["kinds"])

    @property
    def controls(self) -> pd.DataFrame:
        """Width, height, bytes and Laplacian variance a row."""
        values = np.stack([self.cache.entries[i].controls for i in self.images])
        return pd.DataFrame(values, columns=list(CONTROLS)).astype({c: int for c in CONTROLS[:3]})
