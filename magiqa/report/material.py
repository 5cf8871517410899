"""The results of a report or paper, what was asked of it, and scores of other programs as runs beside ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.errors import UserError
from magiqa.package import expanded
from magiqa.report.methods import ablation_title, measurements, primary, set_titles, settings
from magiqa.report.words import backbone_name, set_key, set_name
from magiqa.runs.config import Style
from magiqa.runs.external_scores import EXTERNAL, Metric, check_direction, external_scores
from magiqa.runs.read import Run, Sheet, files_of, read, read_listed, read_table
from magiqa.runs.record import Bone, External
from magiqa.stats.agreement import agreement
from magiqa.stats.sampling import Sampling


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


def external_runs(runs: Sequence[Run], metrics: Sequence[Path]) -> list[Run]:
    """Other programs' scores as runs, on each set whose images they score.

    Raises:
        UserError: a CSV that scores the images of no set here.
    """
    bases = {set_key(run.record["dataset"]): run for run in reversed(runs)}
    out: list[Run] = []
    for file in metrics:
        metric, problems, added = Metric.of(file), [f"{file}: no run here to set it beside"], []
        for base in reversed(bases.values()):
            try:
                values, note = external_scores(metric, base.scores["image"].tolist())
            except UserError as error:
                problems.append(str(error))
                continue
            check_direction(metric, values, base.scores[base.label].to_numpy(float))
            name = metric.name if len(bases) == 1 else f"{metric.name} on {set_name(base.record['dataset'])}"
            added.append(_external(name, metric.name, base, values, note))
        if not added:
            raise UserError(problems[:2][-1])
        out += added
    return out


def _external(name: str, method: str, base: Run, values: np.ndarray, note: str) -> Run:
    scores = base.scores.assign(q=values)
    sampling = Sampling.of(scores, base.record["dataset"].get("cluster"))
    statistics = agreement(values, scores[base.label].to_numpy(float), sampling).rows()
    table = pd.DataFrame([{"score": "q", **row} for row in statistics])
    none = Bone(name="", label=None)
    record = replace(base.record, external=External(method=method, note=note), backbone=none, fits={})
    return replace(base, name=name, record=record, scores=scores, agreement=table, groups=None)


def compared_runs(runs: Sequence[Run], sheets: Sequence[Sheet], others: Sequence[Run] = ()) -> list[Run]:
    """Other programs' scores that comparisons hold, as runs on the set that they were compared on.

    Args:
        others: from `external_runs`, whose rows stand already.
    """
    done = {(str(r.record["external"]["method"]), set_key(r.record["dataset"])) for r in others}
    out: list[Run] = []
    for sheet in sheets:
        if sheet.record.command != "compare" or EXTERNAL not in files_of(sheet.record):
            continue
        table = read_table(
            sheet.file.parent / EXTERNAL, read_listed(sheet.file.parent, sheet.record, EXTERNAL)
        )
        notes = {str(m["name"]): str(m.get("note", "")) for m in sheet.record.get("methods") or ()}
        key, images = (
            set_key(sheet.record["dataset"]),
            table["image"].tolist(),
        )  # sets may share their images' names
        same = [
            r for r in runs if set_key(r.record["dataset"]) == key and r.scores["image"].tolist() == images
        ]
        for name in (str(name) for name in table.columns.drop("image") if same and (name, key) not in done):
            done.add((name, key))
            values = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
            out.append(_external(f"{name}-{sheet.result}", name, same[0], values, notes.get(name, "")))
    return out


def titled(sheets: Sequence[Sheet]) -> list[tuple[str, Sheet]]:
    """Return ablations with their titles; that of a second method, or of the same data again, names its folder."""
    methods, seen, out = dict[str, str](), set[tuple[str, ...]](), list[tuple[str, Sheet]]()
    for sheet in sheets:
        title, method = ablation_title(sheet.record["ablation"]), settings(sheet.record)
        place = title, set_name(sheet.record["dataset"]), backbone_name(sheet.record["backbone"])
        again = place in seen or methods.setdefault(title, method) != method
        seen.add(place)
        out.append((f"{title} [{sheet.result}]" if again else title, sheet))
    return out
