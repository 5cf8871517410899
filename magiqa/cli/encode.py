"""Fill the feature cache and nothing else.

magiqa encode [GROUP=OPTION] [KEY=VALUE]
magiqa encode -m backbone=rn50,vit_b_32 dataset=koniq

launcher=slurm shares the images among launcher.jobs tasks of a job array,
launcher=local among processes; part=I/N encodes one of N parts by hand. What
was encoded before a stop stays: the same command goes on from there.

Example:
  magiqa encode dataset=koniq backbone=rn50 launcher=slurm launcher.jobs=8
"""

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from magiqa.config.arguments import Arguments
from magiqa.errors import UserError

if TYPE_CHECKING:
    from magiqa.runs.config import RunConfig

TASK = "evaluate on ratings"
KEYS = ("dataset", "backbone", "views", "launcher", "part", "cache_dir", "device", "precision")


def run(arguments: Arguments) -> int:
    """Encode one job, or those of ``-m``: all are checked before the first begins."""
    typed = arguments.only_overrides
    every = arguments.configs.jobs(typed) if arguments.sweep else [typed]
    jobs = [arguments.configs.job(overrides) for overrides in every]
    if jobs[0].launcher.cluster:
        return _launched(arguments, every, jobs)
    for job in jobs:
        _show(_encoded(job))
    return 0


def encode(config_dir: str | None, overrides: list[str]) -> dict[str, Any]:
    """Do one job's share in a task, and print it into the task's log too."""
    from magiqa.config.compose import Configs

    encoded = _encoded(Configs(config_dir).job(overrides))
    _show(encoded)
    return encoded


def _launched(arguments: Arguments, every: list[list[str]], jobs: "list[RunConfig]") -> int:
    from magiqa.config.jobs import fetch
    from magiqa.config.launch import launch, watch

    launcher = jobs[0].launcher
    if any(job.source.part for job in jobs):
        raise UserError("part= and launcher= both share out the images: drop one of them")
    if any(job.source.bundle for job in jobs):
        raise UserError("launcher=: a bundle holds its features already; drop bundle= or launcher=")
    for job in jobs:
        fetch(job)
    n = launcher.jobs
    shares = [[[*overrides, f"part={i}/{n}"] for overrides in every] for i in range(1, n + 1)]
    launched = launch(launcher, partial(encode, arguments.config_dir), shares)
    print(f"{n} tasks: {launched.ids}; logs in {launched.folder}/", flush=True)
    if not launcher.wait:
        print("the same command with launcher=none encodes what they left to do")
        return 0
    outcomes = watch(launched, jobs[0].machine.cache_dir)
    failed = False
    for i, overrides in enumerate(every):
        parts = [task[i].value for task in outcomes if task[i].error is None]
        if parts:
            sums = {k: sum(part[k] for part in parts) for k in ("images", "views", "new")}
            lists = {
                k: list(dict.fromkeys(x for part in parts for x in part[k]))
                for k in ("skipped", "warnings", "engine")
            }
            _show(parts[0] | sums | lists)
        if len(parts) < n:
            failed = True
            print(f"{n - len(parts)} of {n} tasks failed: {' '.join(overrides)}", file=sys.stderr)
    if failed:
        print("what was encoded is cached: the same command goes on from there", file=sys.stderr)
    return 2 if failed else 0


def _encoded(job: "RunConfig") -> dict[str, Any]:
    from magiqa.features.source import prepare
    from magiqa.package import expanded
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
        "folder": str(expanded(job.machine.cache_dir) / "features" / record["cache"]["key"]),
        "skipped": [skipped["reason"] for skipped in features.skipped],
        "warnings": clock.warnings,
    }


def _show(encoded: dict[str, Any]) -> None:
    print(
        f"{encoded['dataset']}: {encoded['images']} images, {encoded['views']} views, {encoded['new']} of them new; "
        f"{'; '.join(encoded['engine'])}; {encoded['folder']}",
        flush=True,
    )
    for reason in encoded["skipped"]:
        print(f"left out: {reason}")
    for warning in encoded["warnings"]:
        print(f"note: {warning}")
