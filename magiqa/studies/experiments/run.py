"""An experiment, run: its tables, figures and record."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magiqa import __version__
from magiqa.errors import UserError
from magiqa.report.table import Table, number
from magiqa.runs.config import Job
from magiqa.runs.folder import make_folder, write_csv, writing
from magiqa.runs.record import Clock, versions
from magiqa.studies.ablation import Compose
from magiqa.studies.experiments.study import Study, Tables


def folder_of(job: Job, name: str) -> Path:
    """Where an experiment's results go."""
    if job.out:
        return Path(job.out).expanduser()
    return Path("results/experiments") / f"{name}-{job.name}"


def run(job: Job, compose: Compose | None = None, *, progress: bool = True) -> str:
    """Run ``job.experiment``: tables as CSV, figures, ``record.json``; returns what to print.

    Raises:
        UserError: no experiment chosen; what the data set lacks.
    """
    experiment = job.experiment
    if experiment is None:
        raise UserError("experiment is not set: add experiment=NAME, one of the options that --help lists")
    study = Study(job, compose, Clock(), progress)
    folder = folder_of(job, experiment.name)
    make_folder(folder, f"experiment experiment={experiment.name}")
    tables, notes = experiment.tables(study)
    files = [f"{name}.csv" for name in tables]
    make_folder(folder, files=files)
    record = {
        "magiqa": __version__,
        "command": "experiment",
        "name": f"{experiment.name}-{job.name}",
        "choices": study.job.choices,
        "config": study.job.config,
        **study.features.record,
        "experiment": {"name": experiment.name, "notes": notes},
        "versions": versions(),
        "warnings": study.clock.warnings,
    }
    with writing(folder, files) as write:
        for name, table in tables.items():
            write_csv(table, folder / f"{name}.csv")
        write(record | {"seconds": study.clock.seconds})
        if job.figures:
            (folder / "figures").mkdir(exist_ok=True)
            experiment.draw(folder / "figures", tables, record)
            write(record | {"seconds": study.clock.seconds})
    return render(tables, notes, record) + f"\n\n{folder}/: {', '.join(f'{n}.csv' for n in tables)}"


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
