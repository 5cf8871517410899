"""Why two numbers differ: from one protocol to the other, a factor at a time.

magiqa reconcile RUN RUN [KEY=VALUE]                   two runs' folders; keys are paths and machine settings
magiqa reconcile METHOD:DATASET [GROUP=OPTION] [KEY=VALUE]      a published row, from the run as configured

Options that the row's protocol names are as packaged: keys typed for their groups are for the run as configured alone.
score=q_sim or q_mag follows another score than q. Writes reconcile.csv and record.json into out=DIR.

  magiqa reconcile MA-CLIP:koniq dataset=koniq_test dataset.root=~/koniq10k backbone=rn50
"""

import re
from pathlib import Path

from magiqa.cli.given import Given
from magiqa.cli.recorded import as_recorded
from magiqa.cli.sweep import out_of
from magiqa.errors import UserError
from magiqa.runs.listed_files import written
from magiqa.runs.names import CUES


def run(given: Given) -> int:
    """Reconcile."""
    from magiqa.package import conf_dir
    from magiqa.runs.folder import ResultFolder
    from magiqa.runs.provenance import Clock
    from magiqa.runs.read import read_record
    from magiqa.studies.protocols import overrides_of, published_row
    from magiqa.studies.reconcile import reconcile, reconcile_record, render

    words, overrides = given.words, [o for o in given.overrides if not o.startswith(("out=", "score="))]
    keys = dict(o.split("=", 1) for o in given.overrides if o.startswith("score="))
    score = given.one_of(keys, "score", CUES, "q")
    row, records, recorded = None, [], []
    if len(words) == 2:
        folders = [Path(w).expanduser() for w in words]
        records = [read_record(folder) for folder in folders]
        first, last = (given.configs.recorded(folder, overrides) for folder in folders)
        recorded = list(zip(folders, (first, last), strict=True))
        default = folders[0] / "reconcile"
    elif len(words) == 1:
        row = published_row(words[0])
        first = given.configs.job(overrides)
        sets = sorted(f.stem for f in (conf_dir() / "dataset").glob("*.yaml"))
        composer = given.configs.composer(overrides, packaged=True)
        last = composer(overrides_of(row, sets, first.method.backbone))
        default = Path("results/reconcile") / re.sub(r"[^A-Za-z0-9.-]+", "_", words[0])
    else:
        raise UserError(
            "reconcile: give two runs' folders, or a published row METHOD:DATASET with overrides of yours"
        )
    folder, clock = out_of(given) or default, Clock()
    with as_recorded(recorded, overrides), ResultFolder(folder, "reconcile", ["reconcile.csv"]) as results:
        table, features = reconcile(first, last, score=score, clock=clock, records=records)
        results.csv("reconcile", table)
        results.record(reconcile_record(folder.name, features, row, clock))
    print(render(table, features, row, clock.warnings))
    print(f"\n{written(folder)}")
    return 0
