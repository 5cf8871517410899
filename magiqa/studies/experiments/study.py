"""Experiments: the tables and figures of the paper's kind, and the controls that it lacks, on one data set.

An experiment is a config object with ``tables(study)``, which returns tables by name and notes, and ``draw``. All of
them score through `magiqa.ablation`, so that features are encoded once and numbers equal those of single runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from magiqa.errors import UserError
from magiqa.features.features import Features
from magiqa.features.source import prepare
from magiqa.runs.config import RunConfig
from magiqa.runs.provenance import Clock
from magiqa.scoring.score import score
from magiqa.scoring.shared_features import score_all
from magiqa.stats.paired import against, differences
from magiqa.stats.sampled import Sampled
from magiqa.stats.sampling import Sampling, column
from magiqa.studies.ablation import Compose, override

Tables = dict[str, pd.DataFrame]

CUES = ("q_sim", "q_mag", "q")

# the paper's method, in the overrides of a job
MACLIP = (
    "prompts=maclip",
    "views=maclip",
    "magnitude=boxcox",
    "fusion=adaptive",
    "pooling=mean",
    "backbone.positional_embedding=drop",
)


class Lacking(UserError):
    """The data set has not what an experiment is about."""


def check_distinct(key: str, values: Sequence[Any]) -> None:
    """Check a list that must hold something, and nothing twice.

    Raises:
        UserError: it does not.
    """
    if not values or len(set(values)) < len(values):
        raise UserError(f"experiment.{key}={list(values)} must hold one value or more, each once")


@dataclass
class Study:
    """One data set and method, and what experiments ask of it."""

    job: RunConfig
    compose: Compose | None
    clock: Clock
    progress: bool = True
    _features: Features | None = None

    @property
    def features(self) -> Features:
        """Of the job as configured."""
        if self._features is None:
            self._features = prepare(self.job, self.clock, progress=self.progress)
        return self._features

    @property
    def y(self) -> np.ndarray:
        """The label (N,)."""
        return self.features.table[self.features.labels.label].to_numpy(float)

    @cached_property
    def sampling(self) -> Sampling:
        """Groups and clusters of the images."""
        return Sampling.of(self.features.table, self.features.labels.cluster)

    def column(self, name: str | None) -> np.ndarray | None:
        """A column of names, or None where the data set has none."""
        return column(self.features.table, name)

    def need(self, name: str) -> np.ndarray:
        """A column that an experiment cannot do without.

        Raises:
            Lacking: the data set has none.
        """
        found = self.column(name)
        if found is None:
            raise Lacking(
                f"dataset {self.features.labels.name} has no {name}, which this experiment needs; leave it out"
            )
        return found

    def as_maclip(self) -> None:
        """From now on the job is MA-CLIP's, whatever was configured.

        Raises:
            UserError: it was told to run from a bundle, which holds the features of one set of views.
        """
        self.from_images("windows, global views and whole images")
        if self.compose is None:
            raise UserError(
                "this experiment names options, which need the configs: run it by magiqa experiment"
            )
        compose = self.compose

        def pinned(more: list[str]) -> RunConfig:
            named = {o.partition("=")[0] for o in more}
            return compose([*(o for o in MACLIP if o.partition("=")[0] not in named), *more])

        self.compose, self.job = pinned, pinned([])

    def from_images(self, what: str) -> None:
        """Refuse a bundle.

        Raises:
            UserError: it was told to run from one.
        """
        if self.job.source.bundle:
            raise UserError(
                f"experiment={self.job.experiment.name} needs features of {what}, bundle={self.job.source.bundle} does "
                "not hold them all; leave out bundle= and give the images and weights (dataset.root=DIR)"
            )

    def cues(self) -> pd.DataFrame:
        """q_sim, q_mag, q and w_sim of each image."""
        return score(self.features, self.job.method)

    def scores(self, rows: Sequence[tuple[Mapping[str, Any], str]]) -> np.ndarray:
        """Scores (M, N) of rows of (overrides, score)."""
        jobs = [override(self.job, overrides, self.compose) for overrides, _ in rows]
        out = np.empty((len(rows), len(self.y)))
        for one in CUES:
            at = [i for i, (_, s) in enumerate(rows) if s == one]
            if at:
                out[at] = score_all([jobs[i] for i in at], self.clock, one, progress=self.progress)[1]
        return out

    def statistics(self, matrix: np.ndarray, reference: int) -> pd.DataFrame:
        """Return a row a method, as in an ablation."""
        return against(matrix, self.y, reference, self.sampling, self.job.statistics.equivalence)

    def srcc(self, matrix: np.ndarray, rows: np.ndarray | None = None) -> Sampled:
        """Return SRCC of scores (M, n) with the label; rows: of some of the images, by position."""
        if rows is None:
            return self.sampling.statistic("srcc", matrix, self.y)
        return self.sampling.statistic("srcc", matrix[:, rows], self.y[rows], rows)

    def bands(self, statistic: Sampled) -> np.ndarray:
        """Return the intervals (M, 2) of correlations; NaN where there are too few images or clusters."""
        bands = statistic.correlation_intervals()
        return np.full_like(bands, np.nan) if self.sampling.too_few() else bands

    def tested(self, rows: Sequence[Mapping[str, Any]], difference: Sampled) -> pd.DataFrame:
        """Return rows with their differences: interval and p of each alone, and of all of them at once."""
        tests = differences(difference, self.sampling.too_few(), self.job.statistics.equivalence)
        return pd.concat([pd.DataFrame(list(rows)), tests], axis=1)


def at_once(table: pd.DataFrame) -> pd.DataFrame:
    """The differences of a table of `tested`, with the intervals that hold for all rows at once: the printed p's."""
    return table.assign(
        value=table["diff"], low=table["ci_simultaneous_low"], high=table["ci_simultaneous_high"]
    )


def srcc_dots(table: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    """Pooled and within-group SRCC as the rows of a dot plot."""
    parts = [("srcc", "pooled"), ("srcc_within", "mean within groups")]
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "name": names,
                    "value": table[s],
                    "low": table[f"{s}_low"],
                    "high": table[f"{s}_high"],
                    "series": series,
                }
            )
            for s, series in parts
            if s in table
        ],
        ignore_index=True,
    )
