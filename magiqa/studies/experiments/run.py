"""An experiment, run: its tables, figures and record."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magiqa import __version__
from magiqa.errors import UserError
from magiqa.report.captions import describe
from magiqa.report.table import Table, number
from magiqa.runs.config import RunConfig
from magiqa.runs.folder import ResultFolder
from magiqa.runs.listed_files import written
from magiqa.runs.provenance import Clock, versions
from magiqa.studies.ablation import Compose
from magiqa.studies.experiments.study import Study, Tables


def folder_of(job: RunConfig, name: str) -> Path:
    """Where an experiment's results go."""
    if job.output.out:
        return Path(job.output.out).expanduser()
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
    tables, notes = experiment.tables(study)
    record: dict[str, Any] = {
        "magiqa": __version__,
        "command": "experiment",
        "name": f"{experiment.name}-{study.job.name}",
        "choices": study.job.choices,
        "changed": study.job.changed,
        "study": study.job.study,
        "config": study.job.config,
        **study.features.record,
        "experiment": {"name": experiment.name, "notes": notes},
        "versions": versions(study.job.config),
        "warnings": study.clock.warnings,
    }
    bands = getattr(experiment, "intervals", True)
    words = describe(record, varied=getattr(experiment, "varied", ()), intervals=bands)
    captions = {name: f"{text} {words}" for name, text in experiment.captions(tables).items()}
    record["experiment"]["captions"] = captions
    for name, table in tables.items():
        results.csv(name, table)
    results.record(record | {"seconds": study.clock.seconds})
    if study.job.output.figures:
        from magiqa.report.captioned_figures import Drawn, with_captions

        experiment.draw(results.figure_path(), tables, record)
        with_captions([Drawn(results.figure_path(f"{n}.png"), text) for n, text in captions.items()])
        results.record(record | {"seconds": study.clock.seconds})
    return tables, notes, record


def render(tables: Tables, notes: Sequence[str], record: dict[str, Any]) -> str:
    """Tables with their intervals in brackets, the notes below."""
    data, bone = record["dataset"], record["backbone"]
    label = f" ({bone['label']})" if bone["label"] else ""
    name = " ".join(filter(None, (data["name"], data["variant"])))
    lines = [
        f"experiment {record['experiment']['name']}: {name}, n={data['n']}, label {data['label']}; "
        f"{bone['name']}{label}"
        "; 95 % bootstrap intervals" + (f", resampled by {data['cluster']}" if data["cluster"] else "")
    ]
    for title, table in tables.items():
        sides = {f"{c}_{s}" for c in table for s in ("low", "high") if f"{c}_{s}" in table} | {
            "ci_low",
            "ci_high",
        }
        shown = [c for c in table if c not in sides]
        rows = [
            [
                number(row[c], row.get(f"{c}_low"), row.get(f"{c}_high"))
                if isinstance(row[c], float)
                else str(row[c])
                for c in shown
            ]
            for row in table.to_dict("records")
        ]
        lines += ["", title, Table.plain([str(c) for c in shown], rows).text()]
    return "\n".join([*lines, "", *notes, *(f"warning: {w}" for w in record["warnings"])])
