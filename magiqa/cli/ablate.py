"""Vary one part of a run; test each variant against a reference.

magiqa ablate ablation=NAME [GROUP=OPTION] [KEY=VALUE]
magiqa ablate -m ablation=NAME dataset=a,b    several sets, and one left out

A typed key (magnitude.lam=0.3) also holds for the variants that have it. The
command writes ablation.csv, record.json and figures/ into out=DIR (default:
results/ablations/...). Your own ablations lie in ./conf/ablation/NAME.yaml.

Example:
  magiqa ablate ablation=lambda dataset=koniq dataset.root=~/koniq10k
  magiqa ablate ablation=prompts
    ablation prompts: 4 variants of q_sim; magiqa sample (n = 768, ...
    ...
                               SRCC                  difference
    prompts=maclip (reference) 0.477 [0.118, 0.726]   0.000
    prompts=clipiqa            0.483 [0.115, 0.734]  +0.006 [-0.003, +0.014]

More: docs/studies.md
"""

from pathlib import Path
from typing import Any

from magiqa.config.arguments import Arguments

TASK = "study"
KEYS = ("ablation", "dataset", "backbone", "out", "seed")


def run(arguments: Arguments) -> int:
    """Run one ablation, or those of ``-m``."""
    from magiqa.runs.read import written
    from magiqa.studies.ablate import render
    from magiqa.studies.ablation import study_folder

    if not arguments.sweep:
        job = arguments.job()
        shown = render(*work(arguments.configs, arguments.only_overrides))
        print(f"{shown}\n\n{written(study_folder(job, 'ablations', job.ablation.name))}")
        return 0
    done, failures = arguments.run_jobs(
        work, arguments.inside_out("ablation"), lambda result: print(render(*result) + "\n", flush=True)
    )
    if len(done) > 1:
        _leave_one_out(done, arguments.out or Path("results/ablations"))
    return 2 if failures else 0


def work(configs: Any, overrides: list[str]) -> Any:
    """Do one job, and return its table and record."""
    from magiqa.studies.ablate import ablate

    return ablate(configs.job(overrides), configs.composer(overrides))


def _leave_one_out(done: list[Any], folder: Path) -> None:
    from magiqa.runs.read import written
    from magiqa.studies.ablate import write_transfer

    left_out = write_transfer(folder, done)
    if left_out.empty:
        print(
            "one data set left out: not done, since no two sets have labels of one kind and the same variants"
        )
        return
    print("one data set left out: the variant chosen on the others, and what it gains over the reference")
    print(left_out.to_string(index=False))
    record = f"{done[0][1]['ablation']['name']}-left_out.json"
    print(f"\n{written(folder, record)}, and one folder a job")
