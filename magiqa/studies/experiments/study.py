"""Experiments: the tables and figures of the paper's kind, and the controls that it lacks, on one data set.

An experiment is a config object with ``tables(study)``, which returns tables by name, notes, and figures by name. All
of them score through `magiqa.scoring`, so that features are encoded once and numbers equal those of single runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.errors import UserError
from magiqa.features.images import Features
from magiqa.features.source import prepare
from magiqa.method.presets import maclip
from magiqa.report.console import screen
from magiqa.report.methods import where
from magiqa.report.study_exhibits import study_table, table_title, worded
from magiqa.report.table import Table
from magiqa.report.words import backbone_name, capital, set_line, short_label
from magiqa.runs.config import RunConfig
from magiqa.runs.folder import ResultFolder
from magiqa.runs.read import written
from magiqa.runs.record import Clock, job_record
from magiqa.scoring.score import score, score_all
from magiqa.stats.paired import against, differences
from magiqa.stats.sampled import Sampled
from magiqa.stats.sampling import Sampling, column
from magiqa.studies.ablation import Compose, override, study_folder

Tables = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Figure:
    """A figure: its caption, and rows of a function of `magiqa.report.plots` with its options; or rows of pictures."""

    caption: str
    rows: Any
    options: Mapping[str, Any]
    kind: str = "dots"

    def draw(self, stem: Path) -> None:
        """Write the figure's files for a path without suffix."""
        from magiqa.report import image_rows, plots

        getattr(image_rows if self.kind == "image_rows" else plots, self.kind)(
            stem, self.rows, **self.options
        )


Findings = tuple[Tables, list[str], dict[str, Figure]]

CUES = ("q_sim", "q_mag", "q")


class Lacking(UserError):
    """Raised when a data set lacks a column that the experiment needs."""


def check_distinct(key: str, values: Sequence[Any]) -> None:
    """Refuse an empty list, and one that holds a value twice."""
    if not values or len(set(values)) < len(values):
        raise UserError(f"experiment.{key}={list(values)} must hold one value or more, each once")


@dataclass
class Study:
    """One data set and method, with the scores and statistics that experiments need."""

    job: RunConfig
    compose: Compose | None
    clock: Clock
    progress: bool = True

    @cached_property
    def features(self) -> Features:
        """The features of the job as configured."""
        return prepare(self.job, self.clock, progress=self.progress)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Data set, backbone and engine for the record; an experiment without a data set puts its own here."""
        return self.features.record

    @property
    def y(self) -> np.ndarray:
        """The label (N,)."""
        return self.features.table[self.features.labels.label].to_numpy(float)

    @property
    def label(self) -> str:
        """The label's name in figures."""
        return short_label(self.features.labels.label)

    @cached_property
    def sampling(self) -> Sampling:
        """Groups and clusters of the images."""
        return Sampling.of(self.features.table, self.features.labels.cluster)

    def column(self, name: str | None) -> np.ndarray | None:
        """Return a column of names, or None where the data set has none."""
        return column(self.features.table, name)

    def need(self, name: str) -> np.ndarray:
        """Return a column that an experiment cannot do without.

        Raises:
            Lacking: the data set has none.
        """
        names = self.column(name)
        if names is None:
            raise Lacking(
                f"dataset {self.features.labels.name} has no {name}, which this experiment needs; leave it out"
            )
        return names

    def as_maclip(self) -> None:
        """Make the job MA-CLIP's, whatever was configured."""
        self.from_images("windows, global views and whole images")
        if self.compose is None:
            raise UserError(
                "this experiment names options, which need the configs: run it by magiqa experiment"
            )
        compose = self.compose

        def pinned(more: list[str]) -> RunConfig:
            named = {o.partition("=")[0] for o in more}
            return compose([*(f"{k}={v}" for k, v in maclip().items() if k not in named), *more])

        self.compose, self.job = pinned, pinned([])

    def from_images(self, what: str) -> None:
        """Refuse a bundle, which holds the features of one set of views."""
        if self.job.source.bundle:
            raise UserError(
                f"experiment={self.job.experiment.name} needs features of {what}, bundle={self.job.source.bundle} does "
                "not hold them all; leave out bundle= and give the images and weights (dataset.root=DIR)"
            )

    def cues(self) -> pd.DataFrame:
        """Return q_sim, q_mag, q and w_sim of each image."""
        return score(self.features, self.job.method)

    def scores(self, rows: Sequence[tuple[Mapping[str, Any], str]]) -> np.ndarray:
        """Return scores (M, N) of rows of (overrides, score)."""
        jobs = [override(self.job, overrides, self.compose) for overrides, _ in rows]
        out = np.empty((len(rows), len(self.y)))
        for cue in CUES:
            these = [i for i, (_, score_name) in enumerate(rows) if score_name == cue]
            if these:
                out[these] = score_all([jobs[i] for i in these], self.clock, cue, progress=self.progress)[1]
        return out

    def statistics(self, matrix: np.ndarray, reference: int) -> pd.DataFrame:
        """Return a row a method, as in an ablation: SRCC with its tests first, then within groups, then PLCC."""
        table = against(matrix, self.y, reference, self.sampling, self.job.statistics.equivalence)
        return table[sorted(table, key=lambda name: 2 * ("plcc" in name) + ("within" in name))]

    def srcc(self, matrix: np.ndarray, rows: np.ndarray | None = None) -> Sampled:
        """Return SRCC of scores (M, n) with the label; rows: of some of the images, by position."""
        if rows is None:
            return self.sampling.statistic("srcc", matrix, self.y)
        return self.sampling.statistic("srcc", matrix[:, rows], self.y[rows], rows)

    def bands(self, statistic: Sampled) -> np.ndarray:
        """Return the intervals (M, 2) of correlations; NaN where there are too few images or clusters."""
        bands = statistic.correlation_intervals()
        return np.full_like(bands, np.nan) if self.sampling.too_few() else bands

    def tested(self, rows: Any, difference: Sampled) -> pd.DataFrame:
        """Return rows with their differences: interval and p of each alone, and of all of them at once."""
        tests = differences(difference, self.sampling.too_few(), self.job.statistics.equivalence)
        return pd.concat([pd.DataFrame(rows), tests], axis=1)


def at_once(table: pd.DataFrame) -> pd.DataFrame:
    """Return the differences of a table with the intervals that hold for all rows at once, as rows of a dot plot."""
    return table.assign(
        value=table["diff"], low=table["ci_simultaneous_low"], high=table["ci_simultaneous_high"]
    )


def long(table: pd.DataFrame, series: Mapping[str, str], **columns: Any) -> pd.DataFrame:
    """Return columns of a table with their intervals as rows of a plot: value, low, high, series and other columns.

    Args:
        series: the name of the series by column; columns that the table lacks are left out.
    """
    parts = [
        pd.DataFrame(
            {
                **columns,
                "value": table[c],
                "low": table.get(f"{c}_low", np.nan),
                "high": table.get(f"{c}_high", np.nan),
                "series": name,
            }
        )
        for c, name in series.items()
        if c in table
    ]
    return pd.concat(parts, ignore_index=True).dropna(subset=["value"])


def run(job: RunConfig, compose: Compose | None = None, *, progress: bool = True) -> str:
    """Run ``job.experiment``: tables as CSV, figures, ``record.json``; returns what to print.

    Raises:
        UserError: no experiment chosen; what the data set lacks.
    """
    experiment = job.experiment
    if experiment is None:
        raise UserError("experiment is not set: add experiment=NAME, one of the options that --help lists")
    study = Study(job, compose, Clock(), progress)
    folder = study_folder(job, "experiments", experiment.name)
    with ResultFolder(folder, f"experiment experiment={experiment.name}") as results:
        tables, notes, record = _run(study, experiment, results)
    return render(tables, notes, record) + f"\n\n{written(folder)}"


def _run(
    study: Study, experiment: Any, results: ResultFolder
) -> tuple[Tables, Sequence[str], dict[str, Any]]:
    tables, notes, figures = experiment.tables(study)
    record: dict[str, Any] = {
        **job_record(study.job, "experiment", study.clock, f"{experiment.name}-{study.job.name}"),
        **study.facts,
        "experiment": {"name": experiment.name, "notes": notes},
    }
    captions = {name: worded(f"{figure.caption} {where(record)}", record) for name, figure in figures.items()}
    record["experiment"]["captions"] = captions
    for name, table in tables.items():
        results.csv(name, table)
    if study.job.output.figures and figures:
        from magiqa.report.exhibit import write_captions
        from magiqa.report.style import styled

        with results.drawing(record) as folder, styled(study.job.output.style):
            for name, figure in figures.items():
                figure.draw(folder / name)
            write_captions(folder, captions)
    results.record(record)
    return tables, notes, record


def render(tables: Tables, notes: Sequence[str], record: dict[str, Any]) -> str:
    """Return what ``magiqa experiment`` prints: its tables, then its notes."""
    data, name = record["dataset"], record["experiment"]["name"]
    place = record["engine"].get("machine", "")
    if data:
        place = f"{set_line(data)}; {backbone_name(record['backbone'])}; [95 % interval]"
        place += f", by {data['cluster']}" if data["cluster"] else ""
    head = [f"experiment {name}: {place}"]
    blocks: list[Table | str] = []
    for title, table in tables.items():
        blocks += ["", table_title(record, title), study_table(table, record)]
    return screen(head, [*blocks, "", *(capital(worded(note, record)) for note in notes)], record["warnings"])
