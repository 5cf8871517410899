"""Score a data set, and report agreement with human opinion.

magiqa evaluate [GROUP=OPTION] [KEY=VALUE]
magiqa evaluate -m dataset=koniq,spaq backbone=rn50,vit_b_32   every combination

The command writes scores.csv, agreement.csv, comparison.csv, groups.csv (where
there are groups), record.json and figures/ into out=DIR (default:
results/runs/...). bundle=FILE takes features and labels from a file of magiqa
pack, in place of images and weights. Paths and texts are taken as typed.

Example:
  magiqa evaluate dataset=koniq dataset.root=~/koniq10k backbone=rn50
  magiqa evaluate                  the demo backbone on the built-in sample
    magiqa sample (n = 768, SSIM to the pristine photo (no human opinion)): ...
    ...
                         SRCC                    PLCC
    q                     0.515 [0.287, 0.688]    0.578 [0.389, 0.720]
    q_sim                 0.477 [0.118, 0.726]    0.531 [0.127, 0.784]

More: docs/start.md
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

from magiqa.config.arguments import Arguments
from magiqa.errors import UserError

TASK = "evaluate on ratings"
KEYS = (
    "dataset",
    "method",
    "backbone",
    "prompts",
    "views",
    "magnitude",
    "fusion",
    "pooling",
    "fit",
    "out",
    "device",
    "bundle",
)


def run(arguments: Arguments) -> int:
    """Evaluate one run, or those of ``-m``."""
    from magiqa.runs.read import written
    from magiqa.studies.sweep import combine, sweep_folder

    if not arguments.sweep:
        job = arguments.job()
        work(arguments.configs, arguments.only_overrides)
        print(written(job.folder))
        return 0
    digest = hashlib.sha256("\n".join(arguments.typed).encode()).hexdigest()
    folder = arguments.out or Path("results/runs") / f"sweep-{digest[:8]}"
    names: dict[str, list[str]] = {}

    def prepare(overrides: list[str]) -> list[str]:
        name = arguments.configs.job(overrides).name
        same = names.setdefault(name.casefold(), overrides)  # some disks know no case
        if same is not overrides:
            raise UserError(f"the same run as {' '.join(same)}: drop one of the two")
        return [*overrides, f"out={folder / name}"]

    with sweep_folder(folder) as results:
        done, failures = arguments.run_jobs(work, prepare, lambda result: None)
        print(combine(results, done, failures))
    print(f"\n{written(folder, 'sweep.json')}, and one folder a job")
    return 2 if failures else 0


def work(configs: Any, overrides: list[str]) -> Any:
    """Do one job, print what it shows, and return its table and record."""
    from magiqa.studies.evaluate import evaluate

    return evaluate(configs.job(overrides), show=partial(print, end="\n\n", flush=True))
