"""Write tables, figures and one HTML page of results.

magiqa report DIR... [METRIC.csv...] out=DIR [KEY=VALUE]

DIR is a folder that evaluate, ablate, experiment or compare wrote, or a folder
of such; METRIC.csv holds image,score of another program (higher = better), a
row of the methods table. bundle=FILE evaluates a bundle first. The command
writes report.html (one file), tables/ (CSV, Markdown, LaTeX) and figures/.

  names={RUN: Ours}       names of methods by run
  rows=[Ours, MA-CLIP]    rows of the main table, in this order
  last=Ours               the row of the main table that comes last
  published=[CLIP-IQA]    published rows, as in magiqa paper
  statistics=srcc,plcc    the columns of the main table; plcc is the raw PLCC
  thumbnails=true         false: no pictures on the page
  style.width=page        column or page: the printed width of figures

METRIC.csv:COLUMN:lower takes a column of which lower is better.

Example:
  magiqa report results/runs/sweep out=report
    report/: report.html, report.json, figures/, tables/

More: docs/paper.md
"""

from dataclasses import dataclass

from magiqa.cli.paper import TableKeys
from magiqa.config.arguments import Arguments
from magiqa.errors import UserError
from magiqa.package import expanded
from magiqa.runs.config import Style

TASK = "publish"
STYLE = Style("page")


@dataclass(frozen=True)
class ReportKeys(TableKeys):
    """The keys of this command."""

    thumbnails: bool = True
    style: Style = STYLE


def run(arguments: Arguments) -> int:
    """Write a report; all that was typed is checked before anything is evaluated."""
    keys, overrides = arguments.split(ReportKeys)
    bundles = [o for o in overrides if o.startswith("bundle=")]
    rest = [o for o in overrides if o not in bundles]
    if rest and not bundles:
        arguments.keys(ReportKeys)
    if not keys.out:
        raise UserError("report: out is not set: add out=DIR")
    folders, metrics = arguments.results()
    if not folders and not bundles:
        raise UserError("report: give folders written by magiqa evaluate or magiqa ablate, or bundle=FILE")
    from magiqa.report.report import report
    from magiqa.runs.read import written
    from magiqa.studies.evaluate import evaluate

    out = expanded(keys.out)
    for i, bundle in enumerate(bundles):
        folders.append(out / "runs" / f"bundle-{i}")
        evaluate(arguments.configs.job([*rest, bundle, f"out={folders[-1]}"]))
    report(folders, out, keys.asked(metrics))
    print(written(out, "report.json"))
    return 0
