"""An experiment, run: its tables, figures and record."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magiqa.errors import UserError
from magiqa.package import expanded
from magiqa.report.console import screen
from magiqa.report.methods import where
from magiqa.report.table import Table, frame_table
from magiqa.report.words import backbone_name, set_line
from magiqa.runs.config import RunConfig
from magiqa.runs.folder import ResultFolder
from magiqa.runs.read import written
from magiqa.runs.record import Clock, job_record
from magiqa.studies.ablation import Compose
from magiqa.studies.experiments.study import Study, Tables


def folder_of(job: RunConfig, name: str) -> Path:
    """Return the folder of an experiment's results."""
    if job.output.out:
        return expanded(job.output.out)
    return Path("results/experiments") / f"{name}-{job.name}"


def run(job: RunConfig, compose: Compose | None = None, *, progress: bool = True) -> str:
    """Run ``job.experiment``: tables as CSV, figures, ``record.json``; returns what to print.

    Raises:
        UserError: no experiment chosen; what the data set lacks.
    """
    experiment = job.experiment
    if experiment is None:
        raise UserError("experiment is not set: add experiment=NAME, one of the options that --help lists")
    study = Study(job, compose, Clock(), progress)
    folder = folder_of(job, experiment.name)
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
    captions = {name: f"{figure.caption} {where(record)}" for name, figure in figures.items()}
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
        blocks += ["", title, frame_table(table)]
    return screen(head, [*blocks, "", *notes], record["warnings"])
