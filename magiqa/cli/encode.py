"""Fill the feature cache and nothing else.

magiqa encode [GROUP=OPTION] [KEY=VALUE]
magiqa encode -m backbone=rn50,vit_b_32 dataset=koniq

launcher=slurm shares the images among launcher.jobs tasks of a job array, launcher=local among processes; part=I/N
encodes the I-th of N parts by hand. What was encoded before a stop stays; the same command goes on from there.

  magiqa encode dataset=koniq dataset.root=~/koniq10k backbone=rn50 launcher=slurm launcher.jobs=8
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from magiqa.cli.given import Given
from magiqa.cli.sweep import ready
from magiqa.config.compose import Configs
from magiqa.errors import UserError
from magiqa.runs.config import RunConfig


def run(given: Given) -> int:
    """Encode one job, or those of ``-m``: all are checked before the first begins."""
    every = given.configs.jobs(given.typed) if given.multirun else [given.typed]
    jobs = [given.configs.job(overrides) for overrides in every]
    if jobs[0].launcher.cluster:
        return _launched(given, every, jobs)
    for job in jobs:
        _tell(_encoded(job))
    return 0


def encode(config_dir: str | None, overrides: list[str]) -> dict[str, Any]:
    """One job's share in a task; what was done is told in its log too."""
    done = _encoded(Configs(config_dir).job(overrides))
    _tell(done)
    return done


def _launched(given: Given, every: list[list[str]], jobs: list[RunConfig]) -> int:
    from magiqa.config.launch import launch, watch

    launcher = jobs[0].launcher
    if any(job.source.part for job in jobs):
        raise UserError("part= and launcher= both share out the images: drop one of them")
    if any(job.source.bundle for job in jobs):
        raise UserError("launcher=: a bundle holds its features already; drop bundle= or launcher=")
    for job in jobs:
        ready(job)
    n = launcher.jobs
    shares = [[[*overrides, f"part={i}/{n}"] for overrides in every] for i in range(1, n + 1)]
    launched = launch(launcher, partial(encode, given.config_dir), shares)
    print(f"{n} tasks: {launched.ids}; logs in {launched.folder}/", flush=True)
    if not launcher.wait:
        print("the same command with launcher=none tells what they left to do")
        return 0
    outcomes = watch(launched, jobs[0].machine.cache_dir)
    for i, overrides in enumerate(every):
        done = [task[i].value for task in outcomes if task[i].error is None]
        if done:
            sums = {k: sum(d[k] for d in done) for k in ("images", "views", "new")}
            lists = {
                k: list(dict.fromkeys(x for d in done for x in d[k]))
                for k in ("skipped", "warnings", "engine")
            }
            _tell(done[0] | sums | lists)
        if len(done) < n:
            print(f"{n - len(done)} of {n} tasks failed: {' '.join(overrides)}", file=sys.stderr)
    failed = any(o.error for task in outcomes for o in task)
    if failed:
        print("what was encoded is cached: the same command goes on from there", file=sys.stderr)
    return 2 if failed else 0


def _encoded(job: RunConfig) -> dict[str, Any]:
    from magiqa.features.source import prepare
    from magiqa.runs.provenance import Clock

    clock = Clock()
    features = prepare(job, clock)
    record = features.record
    made = record["cache"].get("made_by", [])
    engine = " ".join(str(record["engine"][k]) for k in ("engine", "precision", "device"))
    others = [
        m for m in made if any(m[k] != record["engine"][k].partition(":")[0] for k in ("engine", "device"))
    ]
    return {
        "dataset": record["dataset"]["name"],
        "images": len(features.images),
        "views": record["views"]["count"],
        "new": record["cache"]["views_encoded"],
        "engine": [
            engine + "".join(f", {m['images']} images by {m['engine']} {m['device']}" for m in others)
        ],
        "folder": str(Path(job.machine.cache_dir).expanduser() / "features" / record["cache"]["key"]),
        "skipped": [one["reason"] for one in features.skipped],
        "warnings": clock.warnings,
    }


def _tell(done: dict[str, Any]) -> None:
    print(
        f"{done['dataset']}: {done['images']} images, {done['views']} views, {done['new']} of them new; "
        f"{'; '.join(done['engine'])}; {done['folder']}",
        flush=True,
    )
    for reason in done["skipped"]:
        print(f"left out: {reason}")
    for warning in done["warnings"]:
        print(f"warning: {warning}")
