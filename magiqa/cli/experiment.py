"""Make the tables and figures of a paper's experiment.

magiqa experiment experiment=NAME [GROUP=OPTION] [KEY=VALUE]
magiqa experiment -m experiment=main,bias dataset=a,b

An option that an experiment names is as packaged, whatever was typed for its
group. experiment=main and attribution cut MA-CLIP's windows: sets with images
under 224 pixels need views.small=upscale.

Example:
  magiqa experiment experiment=attribution dataset=koniq backbone=rn50

More: docs/studies.md
"""

from typing import Any

from magiqa.config.arguments import Arguments

TASK = "study"
KEYS = ("experiment", "dataset", "backbone", "out", "seed")


def run(arguments: Arguments) -> int:
    """Run one experiment, or those of ``-m``."""
    from magiqa.config.jobs import inside, run_sweep, single_job

    if not arguments.sweep:
        single_job(arguments)
        print(work(arguments.configs, arguments.only_overrides))
        return 0
    swept = run_sweep(arguments, inside(arguments, "experiment"), work, print)
    return 2 if swept is not None and swept[1] else 0


def work(configs: Any, overrides: list[str]) -> str:
    """Do one job, and return what it prints."""
    from magiqa.studies.experiments.run import run as experiment

    return str(experiment(configs.job(overrides), configs.composer(overrides, packaged=True)))
