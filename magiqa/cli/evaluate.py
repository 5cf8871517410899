"""Encode, score, and report the agreement with human opinion.

magiqa evaluate [GROUP=OPTION] [KEY=VALUE]
magiqa evaluate -m dataset=koniq,spaq backbone=rn50,vit_b_32     every combination, one folder each and one table

Writes scores.csv, agreement.csv, groups.csv, record.json and figures/ into out=DIR (default: results/runs/...).
bundle=FILE takes features and labels from a file of `magiqa pack`, in place of images and weights.
out=, cache_dir=, dataset.root= and other paths are taken as typed.

  magiqa evaluate dataset=koniq dataset.root=~/koniq10k backbone=rn50 fusion.alpha=2
"""

from functools import partial
from pathlib import Path

from magiqa.cli.given import Given
from magiqa.cli.sweep import each_job, out_of
from magiqa.errors import UserError


def run(given: Given) -> int:
    """Evaluate one run, or those of ``-m``."""
    if given.multirun:
        return _many(given)
    job = given.configs.job(given.typed)
    from magiqa.studies.evaluate import evaluate

    evaluate(job, show=partial(print, flush=True))
    print(f"\n{job.folder}/: scores.csv, agreement.csv, record.json{', figures/' if job.figures else ''}")
    return 0


def _many(given: Given) -> int:
    import hashlib

    from magiqa.studies.evaluate import evaluate
    from magiqa.studies.sweep import combine, sweep_folder

    digest = hashlib.sha256("\n".join(given.args).encode()).hexdigest()[:8]
    folder = out_of(given) or Path("results/runs") / f"sweep-{digest}"
    names: dict[str, list[str]] = {}

    def one(overrides: list[str]) -> object:
        name = given.configs.job(overrides).name
        if name in names:
            raise UserError(f"the same run as {' '.join(names[name])}: drop one of the two")
        names[name] = overrides
        job = given.configs.job([*overrides, f"out={folder / name}"])
        return evaluate(job, show=partial(print, end="\n\n", flush=True))

    with sweep_folder(folder) as results:
        done, failures = each_job(given, one)
        print(combine(results, done, failures))
    print(f"\n{folder}/: agreement.csv, table.md, and one folder a job")
    return 2 if failures else 0
