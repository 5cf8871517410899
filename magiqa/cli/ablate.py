"""Variants of a run on cached features, with paired differences to a reference.

magiqa ablate ablation=NAME [GROUP=OPTION] [KEY=VALUE]
magiqa ablate -m ablation=NAME dataset=a,b          the same on several sets, and one set left out

A typed key (magnitude.lam=0.3) also holds for the variants that have it. Writes ablation.csv, record.json and figures/
into out=DIR (default: results/ablations/...). `magiqa --help` lists the ablations; own ones: ./conf/ablation/NAME.yaml.

  magiqa ablate ablation=lambda dataset=agiqa3k dataset.root=~/AGIQA-3K backbone=rn50
"""

from functools import partial
from pathlib import Path
from typing import Any

from magiqa.cli.given import Given
from magiqa.cli.sweep import each_job, inside, not_alone, out_of
from magiqa.config.compose import Configs
from magiqa.runs.listed_files import written


def run(given: Given) -> int:
    """Run one ablation, or those of ``-m``."""
    from magiqa.studies.ablate import ablate, folder_of, render

    if not given.multirun:
        job = given.configs.job(given.typed)
        not_alone(job, "ablate")
        table, record = ablate(job, given.configs.composer(given.typed))
        print(render(table, record))
        print(f"\n{written(folder_of(job))}")
        return 0
    out = out_of(given)
    found = each_job(
        given,
        lambda overrides: inside(out, "ablation", given.configs.job(overrides), overrides),
        partial(one, given.config_dir),
        lambda done: print(render(*done) + "\n", flush=True),
    )
    if found is None:
        return 0
    _leave_one_out(found[0], out or Path("results/ablations"))
    return 2 if found[1] else 0


def one(config_dir: str | None, overrides: list[str]) -> Any:
    """One job of a sweep: its table and record."""
    from magiqa.studies.ablate import ablate, render

    configs = Configs(config_dir)
    found = ablate(configs.job(overrides), configs.composer(overrides))
    print(render(*found) + "\n", flush=True)
    return found


def _leave_one_out(done: list[Any], folder: Path) -> None:
    from magiqa.studies.ablate import write_transfer

    names = [r["dataset"]["name"] + r["dataset"]["variant"] for _, r in done]
    if len(done) > 1 and len(set(names)) == len(names) and len({tuple(t["variant"]) for t, _ in done}) == 1:
        left_out = write_transfer(folder, done)
        if left_out.empty:
            print("one data set left out: not done, since no two sets have labels of one kind")
            return
        print("one data set left out: the variant chosen on the others, and what it gains over the reference")
        print(left_out.to_string(index=False))
        record = f"{done[0][1]['ablation']['name']}-left_out.json"
        print(f"\n{written(folder, record)}, and one folder a job")
