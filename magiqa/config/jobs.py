"""The jobs of a command's ``-m``, here or in tasks: the error of one that fails is printed, and the next one runs."""

import json
import os
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from magiqa.backbones.spec import Backbone
from magiqa.config.arguments import Arguments
from magiqa.config.compose import Configs
from magiqa.config.launch import Outcome, deal, launch, watch
from magiqa.config.typed import split_literal
from magiqa.errors import UserError, one_line
from magiqa.package import expanded
from magiqa.runs.config import RunConfig

Failures = list[dict[str, str]]


Work = Callable[[Any, list[str]], Any]  # takes the configs and a job's overrides


def run_sweep(
    arguments: Arguments, prepare: Callable[[list[str]], list[str]], work: Work, show: Callable[[Any], object]
) -> tuple[list[Any], Failures] | None:
    """Run every job, and return the results and the errors of those that failed; None while tasks are under way.

    Args:
        prepare: makes the overrides that a job runs with. work: does a job, here or in a task; it can be pickled.
        show: prints a result.
    """
    every = arguments.configs.jobs(arguments.only_overrides)
    launcher = arguments.configs.job([o for o in arguments.typed if o.startswith("launcher")]).launcher
    run = partial(run_job, work, arguments.config_dir)
    outcomes = (_outcome(run, prepare, overrides) for overrides in every)
    if launcher.cluster:
        launched = _launched(arguments, every, prepare, run)
        if launched is None:
            return None
        outcomes = (outcome for outcome in launched)
    results: list[Any] = []
    failures: Failures = []
    for i, overrides in enumerate(every):
        print(f"[{i + 1}/{len(every)}] {' '.join(overrides)}", flush=True)
        outcome = next(outcomes)
        if outcome.error is None:
            results.append(outcome.value)
            show(outcome.value)
        else:
            failures.append({"job": " ".join(overrides), "error": outcome.error})
            print(f"magiqa: {outcome.error}", file=sys.stderr, flush=True)
    return results, failures


def run_job(work: Work, config_dir: str | None, overrides: list[str]) -> Any:
    """Do one job, in a process that has only its words."""
    return work(Configs(config_dir), overrides)


def _outcome(
    run: Callable[[list[str]], Any], prepare: Callable[[list[str]], list[str]], overrides: list[str]
) -> Outcome:
    try:
        return Outcome(run(prepare(overrides)))
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        return Outcome(error=one_line(error))


def _launched(
    arguments: Arguments,
    every: list[list[str]],
    prepare: Callable[[list[str]], list[str]],
    run: Callable[[list[str]], Any],
) -> list[Outcome] | None:
    checked = [_outcome(partial(_checked, arguments), prepare, overrides) for overrides in every]
    ready = [i for i, outcome in enumerate(checked) if outcome.error is None]
    if not ready:
        raise UserError(f"no job can run: {checked[0].error}")
    jobs = [checked[i].value[1] for i in ready]
    shares = deal(ready, list(map(_features_of, jobs)), jobs[0].launcher.jobs)
    launched = launch(jobs[0].launcher, run, [[checked[i].value[0] for i in share] for share in shares])
    print(f"{len(jobs)} jobs in {len(shares)} tasks: {launched.ids}; logs in {launched.folder}/", flush=True)
    if not jobs[0].launcher.wait:
        print("the same command with launcher=none makes the tables once they are done")
        return None
    for share, outcomes in zip(shares, watch(launched, jobs[0].machine.cache_dir), strict=True):
        for i, outcome in zip(share, outcomes, strict=True):
            checked[i] = outcome
    return checked


def _checked(arguments: Arguments, overrides: list[str]) -> tuple[list[str], RunConfig]:
    job = arguments.configs.job(overrides)
    fetch(job)
    return overrides, job


def _features_of(job: RunConfig) -> str:
    """Return what jobs that need the same features have in common."""
    config = {k: job.config.get(k) for k in ("dataset", "backbone", "views", "engine", "precision", "device")}
    return json.dumps(config, sort_keys=True, default=str)


def fetch(job: RunConfig) -> None:
    """Read the labels and fetch the weights: an error is shown once, and nodes may be without a network.

    Raises:
        UserError: a root, an annotation or weights that cannot be had.
    """
    if not job.source.bundle:
        job.source.dataset.load()
        _fetch_weights(job.method.backbone)


@cache
def _fetch_weights(backbone: Backbone) -> None:
    from magiqa.backbones.weights import load_weights

    load_weights(backbone)


def single_job(arguments: Arguments) -> RunConfig:
    """Return the job of a command without ``-m``.

    Raises:
        UserError: a launcher, which would have nothing to share out.
    """
    job = arguments.configs.job(arguments.only_overrides)
    if job.launcher.cluster:
        raise UserError(
            f"launcher={job.launcher.cluster}: {arguments.command} shares out the jobs of -m, and this is one; add -m, "
            "or fill the cache first with magiqa encode, which shares out the images"
        )
    return job


def out_folder(arguments: Arguments) -> Path | None:
    """Return the folder that ``out=`` names."""
    out = split_literal(arguments.typed)[1].get("out")
    return expanded(out) if out else None


def inside(arguments: Arguments, study: str) -> Callable[[list[str]], list[str]]:
    """Return a function that gives each job of a sweep a folder of its own inside ``out``."""
    out = out_folder(arguments)

    def prepare(overrides: list[str]) -> list[str]:
        if out is None:
            return overrides
        job = arguments.configs.job(overrides)
        name = getattr(getattr(job, study), "name", study)
        return [*overrides, f"out={out}/{name}-{job.name}"]

    return prepare
