"""A paper's results section: tables, figures, captions and the protocol, as LaTeX that compiles.

magiqa paper DIR... [METRIC.csv...] out=DIR [statistics=srcc,plcc] [style.width=column|page]

DIR is a folder that evaluate, ablate, experiment or compare wrote, or a folder of such; METRIC.csv holds image,score of
another program (higher = better). Writes results.tex, paper.tex (compile it), figures/, tables/, captions.md and
reproduce.sh.

  magiqa paper results/runs/sweep out=paper && cd paper && pdflatex paper.tex
"""

from pathlib import Path
from typing import Literal

from magiqa.cli.given import Given
from magiqa.errors import UserError
from magiqa.runs.listed_files import written

WIDTHS: tuple[Literal["column", "page"], ...] = ("column", "page")


def run(given: Given) -> int:
    """Write a paper's results section."""
    keys = given.keys(("out", "statistics", "style.width"))
    if not keys.get("out"):
        raise UserError("paper: out is not set: add out=DIR")
    folders, metrics = given.folders_and_csvs()
    if not folders:
        raise UserError("paper: give folders written by magiqa evaluate, ablate, experiment or compare")
    statistics = given.several(keys, "statistics")
    width = given.one_of(keys, "style.width", WIDTHS, WIDTHS[0])
    from magiqa.report.paper import paper

    out = Path(keys["out"]).expanduser()
    paper(folders, out, statistics=statistics, metrics=metrics, width=width)
    print(written(out, "paper.json"))
    return 0
