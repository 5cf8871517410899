"""Encode, score, and report the agreement with human opinion.

magiqa evaluate [GROUP=OPTION] [KEY=VALUE]
magiqa evaluate -m dataset=koniq,spaq backbone=rn50,vit_b_32     every combination, one folder each and one table

Writes scores.csv, agreement.csv, comparison.csv, groups.csv (where there are groups), record.json and figures/ into
out=DIR (default: results/runs/...).
bundle=FILE takes features and labels from a file of `magiqa pack`, in place of images and weights.
launcher=slurm or local shares the jobs of -m out among launcher.jobs tasks, those with the same features in one.
out=, cache_dir=, dataset.root= and other paths are taken as typed.

  magiqa evaluate dataset=koniq dataset.root=~/koniq10k backbone=rn50 fusion.alpha=2
"""

from functools import partial
from pathlib import Path
from typing import Any

from magiqa.cli.given import Given
from magiqa.cli.sweep import each_job, not_alone, out_of
from magiqa.config.compose import Configs
from magiqa.errors import UserError
from magiqa.runs.listed_files import written


def run(given: Given) -> int:
    """Evaluate one run, or those of ``-m``."""
    if given.multirun:
        return _many(given)
    job = given.configs.job(given.typed)
    not_alone(job, "evaluate")
    from magiqa.studies.evaluate import evaluate

    evaluate(job, show=partial(print, flush=True))
    print(f"\n{written(job.folder)}")
    return 0


def one(config_dir: str | None, overrides: list[str]) -> Any:
    """One job of a sweep: its table and record."""
    from magiqa.studies.evaluate import evaluate

    return evaluate(Configs(config_dir).job(overrides), show=partial(print, end="\n\n", flush=True))


def _many(given: Given) -> int:
    import hashlib

    from magiqa.studies.sweep import combine, sweep_folder

    what = [a for a in given.args if not a.startswith("launcher")]
    folder = (
        out_of(given)
        or Path("results/runs") / f"sweep-{hashlib.sha256(chr(10).join(what).encode()).hexdigest()[:8]}"
    )
    names: dict[str, list[str]] = {}

    def final(overrides: list[str]) -> list[str]:
        name = given.configs.job(overrides).name
        if name in names:
            raise UserError(f"the same run as {' '.join(names[name])}: drop one of the two")
        names[name] = overrides
        return [*overrides, f"out={folder / name}"]

    with sweep_folder(folder) as results:
        found = each_job(given, final, partial(one, given.config_dir))
        if found is None:
            return 0
        print(combine(results, *found))
    print(f"\n{written(folder, 'sweep.json')}, and one folder a job")
    return 2 if found[1] else 0
