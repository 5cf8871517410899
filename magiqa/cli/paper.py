"""Write the results section of a paper.

magiqa paper DIR... [METRIC.csv...] out=DIR [KEY=VALUE]

DIR is a folder that evaluate, ablate, experiment or compare wrote, or a folder
of such; METRIC.csv holds image,score of another program (higher = better). The
command writes results.tex, paper.tex (compile it), figures/, tables/,
captions.md and reproduce.sh.

  statistics=srcc,plcc    the columns of the methods table
  style.width=column      column or page: the printed width of figures

Example:
  magiqa paper results/runs/sweep out=paper && cd paper && pdflatex paper.tex
"""

from dataclasses import dataclass

from magiqa.checked import Checked
from magiqa.config.arguments import Arguments
from magiqa.errors import UserError
from magiqa.package import expanded
from magiqa.runs.config import Style

TASK = "publish"
STYLE = Style("column")


@dataclass(frozen=True)
class PaperKeys(Checked):
    """The keys of this command."""

    out: str | None = None
    statistics: tuple[str, ...] = ()
    style: Style = STYLE


def run(arguments: Arguments) -> int:
    """Write a paper's results section."""
    keys = arguments.keys(PaperKeys)
    if not keys.out:
        raise UserError("paper: out is not set: add out=DIR")
    folders, metrics = arguments.results()
    if not folders:
        raise UserError("paper: give folders written by magiqa evaluate, ablate, experiment or compare")
    from magiqa.report.paper import paper
    from magiqa.runs.listed_files import written

    out = expanded(keys.out)
    paper(folders, out, statistics=keys.statistics, metrics=metrics, width=keys.style.width)
    print(written(out, "paper.json"))
    return 0
