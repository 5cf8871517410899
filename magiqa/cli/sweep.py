"""The jobs of a command's ``-m``, one after the other: one that fails is told, and the next one runs."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from magiqa.cli.given import Given
from magiqa.config.paths import split_literal
from magiqa.config.sweep import sweep_jobs
from magiqa.errors import one_line
from magiqa.runs.config import Job


def each_job(given: Given, run: Callable[[list[str]], Any]) -> tuple[list[Any], list[dict[str, str]]]:
    """Run every job; what came of them, and those that failed with their errors.

    Args:
        run: is given a job's overrides.
    """
    done, failures = [], []
    jobs = sweep_jobs(given.typed)
    for i, overrides in enumerate(jobs):
        print(f"[{i + 1}/{len(jobs)}] {' '.join(overrides)}", flush=True)
        try:
            done.append(run(overrides))
        except Exception as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            failures.append({"job": " ".join(overrides), "error": one_line(error)})
            print(f"magiqa: {failures[-1]['error']}", file=sys.stderr, flush=True)
    return done, failures


def out_of(given: Given) -> Path | None:
    """The folder that ``out=`` names."""
    out = split_literal(given.args)[1].get("out")
    return Path(out).expanduser() if out else None


def inside(out: Path | None, study: str, job: Job, overrides: list[str]) -> list[str]:
    """The overrides of one job of a sweep, its results in a folder of its own inside ``out``."""
    if out is None:
        return overrides
    name = getattr(getattr(job, study), "name", study)
    return [*overrides, f"out={out / f'{name}-{job.name}'}"]
