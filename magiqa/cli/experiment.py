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
    if arguments.sweep:
        return 2 if arguments.run_jobs(work, arguments.inside_out("experiment"), print)[1] else 0
    arguments.here_only()
    print(work(arguments.configs, arguments.only_overrides))
    return 0


def work(configs: Any, overrides: list[str]) -> str:
    """Do one job, and return what it prints."""
    from magiqa.studies.experiments.study import run as experiment

    return str(experiment(configs.job(overrides), configs.composer(overrides, packaged=True)))
