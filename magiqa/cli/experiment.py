"""Tables and figures of the paper's kind, and the controls that it lacks, on one data set.

magiqa experiment experiment=NAME [GROUP=OPTION] [KEY=VALUE]
magiqa experiment -m experiment=main,bias dataset=a,b

An option that an experiment names is as packaged, whatever was typed for its group. experiment=main and attribution cut
MA-CLIP's windows: sets with images under 224 pixels need views.small=upscale. `magiqa --help` lists the experiments.

  magiqa experiment experiment=attribution dataset=koniq dataset.root=~/koniq10k backbone=rn50
"""

from magiqa.cli.given import Given
from magiqa.cli.sweep import each_job, inside, out_of


def run(given: Given) -> int:
    """Run one experiment, or those of ``-m``."""
    from magiqa.studies.experiments.run import run as experiment

    def one(overrides: list[str]) -> None:
        compose = given.configs.composer(overrides, packaged=True)
        print(experiment(given.configs.job(overrides), compose))

    if not given.multirun:
        one(given.typed)
        return 0
    out = out_of(given)
    failures = each_job(given, lambda o: one(inside(out, "experiment", given.configs.job(o), o)))[1]
    return 2 if failures else 0
