"""The results that a report or paper is made of, and what was asked of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from magiqa.errors import UserError
from magiqa.package import expanded
from magiqa.report.external_metrics import compared_runs, external_runs
from magiqa.report.methods import measurements, primary, set_titles
from magiqa.report.words import set_key
from magiqa.runs.config import Style
from magiqa.runs.read import Run, Sheet, read


@dataclass(frozen=True)
class Asked:
    """The keys of `magiqa report` and `magiqa paper`.

    Args:
        statistics: columns of the main table; () means SRCC and PLCC after the logistic fit.
        metrics: CSVs of other programs' scores, a row each.
        names: display names by run. rows: methods of the main table in order; () shows all. last: the row to put last.
        published: published methods to show as rows, or a CSV of the user's own.
        only: kinds of exhibits for the paper's main document; () means its own choice.
        thumbnails: put small copies of images into the page.
    """

    statistics: Sequence[str] = ()
    metrics: Sequence[Path] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[str] = ()
    last: str = ""
    published: Sequence[str] = ()
    only: Sequence[str] = ()
    thumbnails: bool = True
    style: Style = field(default_factory=lambda: Style(width="column"))


@dataclass(frozen=True)
class Material:
    """Runs, other programs' scores as runs, and the tables of all other results."""

    runs: Sequence[Run]
    sheets: Sequence[Sheet]
    others: Sequence[Run]
    asked: Asked

    @classmethod
    def read(cls, folders: Sequence[Path], asked: Asked) -> "Material":
        """Read folders of results.

        Raises:
            UserError: a folder without results, or ``names`` holds a run that is not there.
        """
        runs, sheets = read([expanded(folder) for folder in folders])
        others = external_runs(runs, asked.metrics)
        others += compared_runs(runs, sheets, others)
        present = [run.name for run in runs] + [str(run.record["external"]["method"]) for run in others]
        for name in asked.names:
            if name not in present:
                raise UserError(f"names: there is no run {name}; the runs here are {', '.join(present)}")
        return cls(runs, sheets, others, asked)

    @cached_property
    def every_run(self) -> list[Run]:
        """Runs and other programs' scores."""
        return [*self.runs, *self.others]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Every statistic of every method on every set, a row each."""
        return measurements(self.every_run, self.asked.names)

    @cached_property
    def records(self) -> dict[str, Mapping[str, Any]]:
        """The records of runs by name."""
        return {run.name: run.record for run in self.every_run}

    @cached_property
    def titles(self) -> dict[str, str]:
        """The titles of data sets by their key."""
        return set_titles([run.record["dataset"] for run in self.every_run])

    @cached_property
    def leading(self) -> list[Run]:
        """The first run on each data set, one that fuses both cues before others."""
        firsts: dict[str, Run] = {}
        for run in sorted(self.runs, key=lambda run: primary(run.record) != "q"):
            firsts.setdefault(set_key(run.record["dataset"]), run)
        return list(firsts.values())
