"""Test whether methods differ on the same images.

magiqa compare RUN [OTHER...] [score=q] [out=DIR]

RUN is a run's folder: it gives images and labels. OTHER is another run's
folder, or a CSV of image,score (higher = better). Without OTHER the command
compares RUN's own cues and controls. It writes comparison.csv into out (RUN).

  score=q               the score of runs: q, q_sim or q_mag
  equivalence=0.01      mark pairs that differ by less (≈)
  gmad=DIR              images that one method calls equal and the other tells
                        apart most

OTHER.csv:COLUMN:lower takes a column of which lower is better.

Example:
  magiqa compare results/runs/mine results/runs/other metric.csv
    magiqa sample (n = 768, ...
    ...
    srcc                 a      b  a - b                        p
    mine q - other q  0.515  0.481  +0.035 [-0.059, +0.128]  0.356

More: docs/studies.md
"""

from dataclasses import dataclass

from magiqa.checked import Checked
from magiqa.config.arguments import Arguments
from magiqa.errors import UserError

TASK = "study"


@dataclass(frozen=True)
class CompareKeys(Checked):
    """The keys of this command."""

    score: str = "q"
    out: str | None = None
    equivalence: float | None = None
    gmad: str | None = None


def run(arguments: Arguments) -> int:
    """Compare."""
    from magiqa.package import expanded
    from magiqa.runs.read import written
    from magiqa.studies.compare import compare, render

    words, keys = arguments.words, arguments.keys(CompareKeys)
    if not words:
        raise UserError("compare: give a run's folder, then runs or CSV files of image,score")
    table, record = compare(
        words[0], words[1:], score=keys.score, out=keys.out, equivalence=keys.equivalence, gmad=keys.gmad
    )
    folder = expanded(keys.out or words[0])
    beside = "comparison.json"  # in a folder that holds another command's record
    name = beside if (folder / beside).is_file() else "record.json"
    print(f"{render(table, record)}\n\n{written(folder, name)}")
    if keys.gmad:
        print(written(expanded(keys.gmad)))
    return 0
