"""Make the tables and figures of a paper's experiment.

magiqa experiment experiment=NAME [GROUP=OPTION] [KEY=VALUE]
magiqa experiment -m experiment=main,bias dataset=a,b

An option that an experiment names is as packaged, whatever was typed for its
group. experiment=main and attribution cut MA-CLIP's windows: sets with images
under 224 pixels need views.small=upscale.

Example:
  magiqa experiment experiment=attribution dataset=koniq backbone=rn50
"""

from functools import partial

from magiqa.config.arguments import Arguments

TASK = "study"
KEYS = ("experiment", "dataset", "backbone", "out", "seed")


def run(arguments: Arguments) -> int:
    """Run one experiment, or those of ``-m``."""
    from magiqa.config.jobs import inside, run_sweep, single_job

    if not arguments.sweep:
        single_job(arguments)
        print(one(arguments.config_dir, arguments.only_overrides))
        return 0
    swept = run_sweep(arguments, inside(arguments, "experiment"), partial(one, arguments.config_dir), print)
    return 2 if swept is not None and swept[1] else 0


def one(config_dir: str | None, overrides: list[str]) -> str:
    """Run one job, and return what it prints."""
    from magiqa.config.compose import Configs
    from magiqa.studies.experiments.run import run as experiment

    configs = Configs(config_dir)
    return str(experiment(configs.job(overrides), configs.composer(overrides, packaged=True)))
