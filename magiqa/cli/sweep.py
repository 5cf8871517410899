"""The jobs of a command's ``-m``, here or in tasks: one that fails is told, and the next one runs."""

import json
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from magiqa.backbones.spec import Backbone
from magiqa.cli.given import Given
from magiqa.config.typed import split_literal
from magiqa.errors import UserError, one_line
from magiqa.runs.config import RunConfig
from magiqa.runs.launcher import Launcher

Failures = list[dict[str, str]]


def each_job(
    given: Given,
    final: Callable[[list[str]], list[str]],
    run: Callable[[list[str]], Any],
    tell: Callable[[Any], object] | None = None,
) -> tuple[list[Any], Failures] | None:
    """Run every job; what came of them, and those that failed with their errors. None: tasks are under way.

    Args:
        final: makes a job's overrides those that it runs with. run: is given them, here or in a task: a function that
            can be pickled. tell: is given what a task returned, since what it printed is in its log.
    """
    done: list[Any] = []
    failures: Failures = []
    every = given.configs.jobs(given.typed)
    launcher = given.configs.job([o for o in given.typed if o.startswith("launcher")]).launcher
    if launcher.cluster:
        return _launched(given, launcher, every, final, run, tell)
    for i, overrides in enumerate(every):
        print(f"[{i + 1}/{len(every)}] {' '.join(overrides)}", flush=True)
        try:
            done.append(run(final(overrides)))
        except Exception as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            _failed(failures, overrides, one_line(error))
    return done, failures


def _launched(
    given: Given,
    launcher: Launcher,
    every: list[list[str]],
    final: Callable[[list[str]], list[str]],
    run: Callable[[list[str]], Any],
    tell: Callable[[Any], object] | None,
) -> tuple[list[Any], Failures] | None:
    from magiqa.config.launch import Outcome, deal, launch, watch

    outcomes: dict[int, Outcome] = {}
    finals: dict[int, list[str]] = {}
    groups: dict[int, str] = {}
    jobs: list[RunConfig] = []
    for i, overrides in enumerate(every):
        try:
            typed = final(overrides)
            jobs.append(given.configs.job(typed))
            ready(jobs[-1])
            finals[i], groups[i] = typed, _features_of(jobs[-1])
        except Exception as error:
            outcomes[i] = Outcome(error=one_line(error))
    if not finals:
        raise UserError(f"no job can run: {next(iter(outcomes.values())).error}")
    items = list(finals)
    dealt = deal(items, [groups[i] for i in items], launcher.jobs)
    launched = launch(launcher, run, [[finals[i] for i in share] for share in dealt])
    print(f"{len(items)} jobs in {len(dealt)} tasks: {launched.ids}; logs in {launched.folder}/", flush=True)
    if not launcher.wait:
        print("the same command with launcher=none makes the tables once they are done")
        return None
    for share, found in zip(dealt, watch(launched, jobs[0].machine.cache_dir), strict=True):
        outcomes |= dict(zip(share, found, strict=True))
    done: list[Any] = []
    failures: Failures = []
    for i, overrides in enumerate(every):
        print(f"[{i + 1}/{len(every)}] {' '.join(overrides)}", flush=True)
        if (why := outcomes[i].error) is not None:
            _failed(failures, overrides, why)
            continue
        done.append(outcomes[i].value)
        if tell is not None:
            tell(outcomes[i].value)
    return done, failures


def _features_of(job: RunConfig) -> str:
    """What jobs that need the same features have in common."""
    config = {k: job.config.get(k) for k in ("dataset", "backbone", "views", "engine", "precision", "device")}
    return json.dumps(config, sort_keys=True, default=str)


def _failed(failures: Failures, overrides: list[str], error: str) -> None:
    failures.append({"job": " ".join(overrides), "error": error})
    print(f"magiqa: {error}", file=sys.stderr, flush=True)


def ready(job: RunConfig) -> None:
    """Read the labels and fetch the weights here: what is wrong is told once, and nodes may be without a network.

    Raises:
        UserError: a root, an annotation or weights that cannot be had.
    """
    if not job.source.bundle:
        job.source.dataset.load()
        _fetch(job.method.backbone)


@cache
def _fetch(backbone: Backbone) -> None:
    from magiqa.backbones.weights import load_weights

    load_weights(backbone)


def not_alone(job: RunConfig, command: str) -> None:
    """Refuse a launcher for a single job.

    Raises:
        UserError: there is nothing to share out.
    """
    if job.launcher.cluster:
        raise UserError(
            f"launcher={job.launcher.cluster}: {command} shares out the jobs of -m, and this is one; add -m, or "
            "fill the cache first with magiqa encode, which shares out the images"
        )


def out_of(given: Given) -> Path | None:
    """The folder that ``out=`` names."""
    out = split_literal(given.args)[1].get("out")
    return Path(out).expanduser() if out else None


def inside(out: Path | None, study: str, job: RunConfig, overrides: list[str]) -> list[str]:
    """The overrides of one job of a sweep, its results in a folder of its own inside ``out``."""
    if out is None:
        return overrides
    name = getattr(getattr(job, study), "name", study)
    return [*overrides, f"out={out / f'{name}-{job.name}'}"]
