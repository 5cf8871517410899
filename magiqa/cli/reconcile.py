"""Explain step by step why two numbers differ.

magiqa reconcile RUN RUN [KEY=VALUE]        two runs' folders
magiqa reconcile METHOD:DATASET [GROUP=OPTION] [KEY=VALUE]   a published row

Between two runs, keys are paths and machine settings. For a published row, the
other end is the run as configured; options that the row's protocol names are as
packaged. The command writes reconcile.csv and record.json into out=DIR.

  score=q               the score to follow: q, q_sim or q_mag

Example:
  magiqa reconcile MA-CLIP:koniq dataset=koniq_test backbone=rn50
  magiqa reconcile results/runs/a results/runs/b
    ...
              n  SRCC                  change
    start   768  0.515 [0.287, 0.688]       –
    fusion  768  0.481 [0.139, 0.720]  -0.035 [-0.128, +0.059]

More: docs/differences.md
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from magiqa.checked import Checked
from magiqa.config.arguments import Arguments
from magiqa.errors import UserError
from magiqa.package import conf_dir, expanded

TASK = "study"
KEYS = ("dataset", "backbone", "out")


@dataclass(frozen=True)
class ReconcileKeys(Checked):
    """The keys of this command."""

    score: Literal["q", "q_sim", "q_mag"] = "q"


def run(arguments: Arguments) -> int:
    """Reconcile."""
    from magiqa.cli.pack import as_recorded
    from magiqa.runs.folder import ResultFolder
    from magiqa.runs.read import read_record, written
    from magiqa.runs.record import Clock
    from magiqa.studies.reconcile import overrides_of, published_row, reconcile, reconcile_record, render

    words, (keys, typed) = arguments.words, arguments.split(ReconcileKeys)
    overrides = [o for o in typed if not o.startswith("out=")]
    row, records, recorded = None, [], []
    if len(words) == 2:
        folders = [expanded(w) for w in words]
        records = [read_record(folder) for folder in folders]
        first, last = (arguments.configs.recorded(folder, overrides) for folder in folders)
        recorded = list(zip(folders, (first, last), strict=True))
        default = folders[0] / "reconcile"
    elif len(words) == 1:
        row = published_row(words[0])
        first = arguments.configs.job(overrides)
        sets = sorted(f.stem for f in (conf_dir() / "dataset").glob("*.yaml"))
        composer = arguments.configs.composer(overrides, packaged=True)
        last = composer(overrides_of(row, sets, first.method.backbone))
        default = Path("results/reconcile") / re.sub(r"[^A-Za-z0-9.-]+", "_", words[0])
    else:
        raise UserError(
            "reconcile: give two runs' folders, or a published row METHOD:DATASET with overrides of yours"
        )
    folder, clock = arguments.out or default, Clock()
    with as_recorded(recorded, overrides), ResultFolder(folder, "reconcile", ["reconcile.csv"]) as results:
        table, features = reconcile(first, last, score=keys.score, clock=clock, records=records)
        results.csv("reconcile", table)
        results.record(reconcile_record(folder.name, features, row, clock))
    print(f"{render(table, features, row, clock.warnings)}\n\n{written(folder)}")
    return 0
