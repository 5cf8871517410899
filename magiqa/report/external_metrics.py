"""Other programs' scores as runs: rows of the methods table beside ours."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from magiqa.errors import UserError
from magiqa.report.words import set_key, set_name
from magiqa.runs.external_scores import EXTERNAL, Metric, check_direction, external_scores
from magiqa.runs.read import Run, Sheet, files_of, read_listed, read_table
from magiqa.runs.record import Bone, External
from magiqa.stats.agreement import agreement
from magiqa.stats.sampling import Sampling


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
