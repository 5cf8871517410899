"""Other programs' scores as runs: rows of the methods table beside ours."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from magiqa.errors import UserError
from magiqa.report.words import set_key, set_name
from magiqa.runs.external_scores import EXTERNAL, Metric, check_direction, external_scores
from magiqa.runs.read import Run, Sheet, files_of, read_listed
from magiqa.runs.record import Bone, External
from magiqa.stats.agreement import agreement
from magiqa.stats.sampling import Sampling


def external_runs(runs: Sequence[Run], metrics: Sequence[Path]) -> list[Run]:
    """Other programs' scores as runs, on each set whose images they score.

    Raises:
        UserError: a CSV that scores the images of no set here.
    """
    bases: dict[str, Run] = {}
    for run in runs:
        bases.setdefault(set_key(run.record["dataset"]), run)
    out: list[Run] = []
    for file in metrics:
        metric = Metric.of(file)
        problems, before = [], len(out)
        for base in bases.values():
            try:
                values, note = external_scores(metric, base.scores["image"].tolist())
            except UserError as error:
                problems.append(str(error))
                continue
            check_direction(metric, values, base.scores[base.label].to_numpy(float))
            name = metric.name if len(bases) == 1 else f"{metric.name} on {set_name(base.record['dataset'])}"
            out.append(_external(name, metric.name, base, values, note))
        if len(out) == before:
            raise UserError(problems[0] if problems else f"{file}: no run here to set it beside")
    return out


def _external(name: str, method: str, base: Run, values: np.ndarray, note: str) -> Run:
    scores = base.scores.assign(q=values)
    y = scores[base.label].to_numpy(float)
    sampling = Sampling.of(scores, base.record["dataset"].get("cluster"))
    table = pd.DataFrame([{"score": "q", **row} for row in agreement(values, y, sampling).rows()])
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
        if sheet.record.get("command") != "compare" or EXTERNAL not in files_of(sheet.record):
            continue
        data = read_listed(sheet.file.parent, sheet.record, EXTERNAL)
        table = pd.read_csv(io.BytesIO(data), dtype={"image": str}, keep_default_na=False)
        notes = {str(m["name"]): str(m.get("note", "")) for m in sheet.record.get("methods") or ()}
        where, images = (
            set_key(sheet.record["dataset"]),
            table["image"].tolist(),
        )  # sets may share their images' names
        for base in [
            r for r in runs if set_key(r.record["dataset"]) == where and r.scores["image"].tolist() == images
        ][:1]:
            for name in (str(n) for n in table.columns if n != "image" and (n, where) not in done):
                done.add((name, where))
                values = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
                out.append(_external(f"{name}-{sheet.result}", name, base, values, notes.get(name, "")))
    return out
