"""Write the results section of a paper.

magiqa paper DIR... [METRIC.csv...] out=DIR [KEY=VALUE]

DIR is a folder that evaluate, ablate, experiment or compare wrote, or a folder
of such; METRIC.csv holds image,score of another program (higher = better). The
command writes paper.tex and supplement.tex (compile them), results.tex for a
paper of your own, protocol.tex, references.bib, figures/, tables/, captions.md
and reproduce.sh.

  only=main,ablation      exhibits of the paper; the supplement takes the rest
  names={RUN: Ours}       names of methods by run
  rows=[Ours, MA-CLIP]    rows of the main table, in this order
  last=Ours               the row of the main table that comes last
  published=[CLIP-IQA]    published rows: methods, or a CSV of yours with
                          method,dataset,statistic,value (and cite,source,n)
  statistics=srcc,plcc    the columns of the main table; plcc is the raw PLCC
  style.width=column      column or page: the printed width of figures
  style.font=NAME         a font family; style.title=true adds titles

METRIC.csv:COLUMN:lower takes a column of which lower is better.

Example:
  magiqa paper results/runs/sweep out=paper && cd paper && pdflatex paper.tex
    paper/: captions.md, paper.json, paper.tex, protocol.tex, references.bib,
      reproduce.sh, results.tex, supplement.tex, figures/, tables/

More: docs/paper.md
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from magiqa.checked import Checked
from magiqa.config.arguments import Arguments
from magiqa.errors import UserError
from magiqa.package import expanded
from magiqa.runs.config import Style

if TYPE_CHECKING:
    from magiqa.report.material import Asked

TASK = "publish"
STYLE = Style("column")


@dataclass(frozen=True)
class TableKeys(Checked):
    """The keys that a report and a paper share."""

    out: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    rows: tuple[str, ...] = ()
    last: str = ""
    published: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    style: Style = STYLE

    def asked(self, metrics: Sequence[Path]) -> "Asked":
        """Return the keys as the room of reports takes them."""
        from magiqa.report.material import Asked

        return Asked(
            metrics=metrics, **{f.name: getattr(self, f.name) for f in fields(self) if f.name != "out"}
        )


@dataclass(frozen=True)
class PaperKeys(TableKeys):
    """The keys of this command."""

    only: tuple[str, ...] = ()


def run(arguments: Arguments) -> int:
    """Write a paper's results section."""
    keys = arguments.keys(PaperKeys)
    if not keys.out:
        raise UserError("paper: out is not set: add out=DIR")
    folders, metrics = arguments.results()
    if not folders:
        raise UserError("paper: give folders written by magiqa evaluate, ablate, experiment or compare")
    from magiqa.report.paper import paper
    from magiqa.runs.read import written
    from magiqa.runs.record import load_record

    out = expanded(keys.out)
    paper(folders, out, keys.asked(metrics))
    print(written(out, "paper.json"))
    for note in load_record(out / "paper.json").warnings:
        print(f"note: {note}")
    return 0
