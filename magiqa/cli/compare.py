"""Paired tests of methods on the same images.

magiqa compare RUN [OTHER...] [score=q] [out=DIR] [resamples=N] [seed=N]

RUN is a run's folder: it gives images, labels and what is resampled. OTHER is another run's folder, or a CSV of
image,score (higher = better). Without OTHER: RUN's own cues and controls. Writes comparison.csv into out (RUN).

  magiqa compare results/runs/mine results/runs/other metric.csv score=q
"""

from pathlib import Path

from magiqa.cli.given import Given
from magiqa.errors import UserError
from magiqa.runs.listed_files import written


def run(given: Given) -> int:
    """Compare."""
    from magiqa.studies.compare import compare, render

    words, keys = given.words, given.keys(("score", "out", "resamples", "seed"))
    if not words:
        raise UserError("compare: give a run's folder, then runs or CSV files of image,score")
    table, record = compare(
        words[0],
        words[1:],
        score=keys.get("score") or "q",
        out=keys.get("out"),
        resamples=given.whole(keys, "resamples", 2000),
        seed=given.whole(keys, "seed", 0),
    )
    print(render(table, record))
    folder = Path(keys.get("out") or words[0]).expanduser()
    beside = "comparison.json"  # in a folder that holds another command's record
    print(f"\n{written(folder, beside if (folder / beside).is_file() else 'record.json')}")
    return 0
