"""Tables, figures and one HTML page of runs, ablations and experiments.

magiqa report DIR... [METRIC.csv...] out=DIR [statistics=srcc,plcc_logistic] [style.width=column|page]
              [thumbnails=false] [bundle=FILE [KEY=VALUE]]

DIR is a folder that evaluate, ablate, experiment or compare wrote, or a folder of such; METRIC.csv holds image,score of
another program (higher = better), a row of the methods table. bundle=FILE evaluates a bundle first. statistics= are the
columns of the methods table. Writes report.html (self-contained), tables/ (CSV, Markdown, LaTeX) and figures/.

  magiqa report results/runs/sweep out=report
"""

from pathlib import Path

from magiqa.cli.given import Given
from magiqa.cli.paper import WIDTHS
from magiqa.errors import UserError
from magiqa.runs.listed_files import written

KEYS = ("out", "thumbnails", "statistics", "style.width")


def run(given: Given) -> int:
    """Write a report; all that was typed is checked before anything is evaluated."""
    own = [o for o in given.overrides if o.partition("=")[0] in KEYS]
    keys = Given(given.command, tuple(own)).keys(KEYS)
    bundles = [o for o in given.overrides if o.startswith("bundle=")]
    rest = [o for o in given.overrides if o not in own and o not in bundles]
    thumbnails = given.truth(keys, "thumbnails", True)
    if rest and not bundles:
        raise UserError(f"report: {rest[0]} is not understood; it takes {', '.join(KEYS)} and bundle")
    if not keys.get("out"):
        raise UserError("report: out is not set: add out=DIR")
    folders, metrics = given.folders_and_csvs()
    width = given.one_of(keys, "style.width", WIDTHS, WIDTHS[1])
    if not folders and not bundles:
        raise UserError("report: give folders written by magiqa evaluate or magiqa ablate, or bundle=FILE")
    from magiqa.report.report import report

    out = Path(keys["out"]).expanduser()
    for i, bundle in enumerate(bundles):
        from magiqa.studies.evaluate import evaluate

        folders.append(out / "runs" / f"bundle-{i}")
        evaluate(given.configs.job([*rest, bundle, f"out={folders[-1]}"]))
    statistics = given.several(keys, "statistics")
    report(folders, out, thumbnails=thumbnails, statistics=statistics, metrics=metrics, width=width)
    print(written(out, "report.json"))
    return 0
