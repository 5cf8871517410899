"""Tables and figures of the paper's kind, and the controls that it lacks, on one data set.

magiqa experiment experiment=NAME [GROUP=OPTION] [KEY=VALUE]
magiqa experiment -m experiment=main,bias dataset=a,b

An option that an experiment names is as packaged, whatever was typed for its group. experiment=main and attribution cut
MA-CLIP's windows: sets with images under 224 pixels need views.small=upscale. `magiqa --help` lists the experiments.

  magiqa experiment experiment=attribution dataset=koniq dataset.root=~/koniq10k backbone=rn50
"""

from functools import partial

from magiqa.cli.given import Given
from magiqa.cli.sweep import each_job, inside, not_alone, out_of
from magiqa.config.compose import Configs


def run(given: Given) -> int:
    """Run one experiment, or those of ``-m``."""
    if not given.multirun:
        not_alone(given.configs.job(given.typed), "experiment")
        one(given.config_dir, given.typed)
        return 0
    out = out_of(given)
    found = each_job(
        given,
        lambda overrides: inside(out, "experiment", given.configs.job(overrides), overrides),
        partial(one, given.config_dir),
        print,
    )
    return 2 if found is not None and found[1] else 0


def one(config_dir: str | None, overrides: list[str]) -> str:
    """One job: what it prints."""
    from magiqa.studies.experiments.run import run as experiment

    configs = Configs(config_dir)
    text = str(experiment(configs.job(overrides), configs.composer(overrides, packaged=True)))
    print(text)
    return text
