"""Fill the feature cache and nothing else.

magiqa encode [GROUP=OPTION] [KEY=VALUE]
magiqa encode -m backbone=rn50,vit_b_32 dataset=koniq

launcher=slurm shares the images among launcher.jobs tasks of a job array,
launcher=local among processes; part=I/N encodes one of N parts by hand. What
was encoded before a stop stays: the same command goes on from there.

Example:
  magiqa encode dataset=koniq backbone=rn50 launcher=slurm launcher.jobs=8

More: docs/cluster.md
"""

import sys
from functools import partial
from typing import Any

from magiqa.config.arguments import Arguments
from magiqa.errors import UserError

TASK = "evaluate on ratings"
KEYS = ("dataset", "backbone", "views", "launcher", "part", "cache_dir", "device", "precision")


def run(arguments: Arguments) -> int:
    """Encode one job, or those of ``-m``: all are checked before the first begins."""
    typed = arguments.only_overrides
    every = arguments.configs.jobs(typed) if arguments.sweep else [typed]
    jobs = [arguments.configs.job(overrides) for overrides in every]
    if jobs[0].launcher.cluster:
        return _launched(arguments, every, jobs)
    for overrides in every:
        print(work(arguments.configs, overrides), flush=True)
    return 0


def work(configs: Any, overrides: list[str]) -> str:
    """Encode one job, or one part of it, and return what came of it in words."""
    from magiqa.features.source import prepare
    from magiqa.runs.record import Clock

    clock = Clock()
    features = prepare(configs.job(overrides), clock)
    record = features.record
    own = record["engine"]
    lines = [
        f"{record['dataset']['name']}: {len(features.images)} images, {record['views']['count']} views, "
        f"{record['cache']['views_encoded']} of them new; {own['engine']} {own['precision']} {own['device']}; "
        f"features/{record['cache']['key']} of the cache"
    ]
    lines += [f"left out: {skipped['reason']}" for skipped in record["dataset"]["skipped"]]
    return "\n".join([*lines, *(f"note: {warning}" for warning in clock.warnings)])


def _task(config_dir: str | None, overrides: list[str]) -> str:
    """Encode one part in a process that has only its words."""
    from magiqa.config.compose import Configs

    return work(Configs(config_dir), overrides)


def _launched(arguments: Arguments, every: list[list[str]], jobs: list[Any]) -> int:
    from magiqa.backbones.weights import load_weights
    from magiqa.config.launch import launch, watch

    launcher = jobs[0].launcher
    if any(job.source.part for job in jobs):
        raise UserError("part= and launcher= both share out the images: drop one of them")
    if any(job.source.bundle for job in jobs):
        raise UserError("launcher=: a bundle holds its features already; drop bundle= or launcher=")
    for job in jobs:  # an error is shown once, and nodes may be without a network
        job.source.dataset.load()
    for backbone in {job.method.backbone for job in jobs}:
        load_weights(backbone)
    n = launcher.jobs
    shares = [[[*overrides, f"part={i}/{n}"] for overrides in every] for i in range(1, n + 1)]
    launched = launch(launcher, partial(_task, arguments.config_dir), shares)
    print(f"{n} tasks: {launched.ids}; logs in {launched.folder}/", flush=True)
    if not launcher.wait:
        print("the same command with launcher=none encodes what they left to do")
        return 0
    outcomes = watch(launched, jobs[0].machine.cache_dir)
    print(
        "\n".join(
            f"part {i + 1}/{n} of {o.value}" for i, task in enumerate(outcomes) for o in task if not o.error
        )
    )
    failed = sum(any(o.error for o in task) for task in outcomes)
    if failed:
        print(
            f"{failed} of {n} tasks failed; what was encoded is cached: run the same command again",
            file=sys.stderr,
        )
    return 2 if failed else 0
