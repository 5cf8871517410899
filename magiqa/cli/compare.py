"""Paired tests of methods on the same images.

magiqa compare RUN [OTHER...] [score=q] [out=DIR] [resamples=N] [seed=N]

RUN is a run's folder: it gives images, labels and what is resampled. OTHER is another run's folder, or a CSV of
image,score (higher = better). Without OTHER: RUN's own cues and controls. Writes comparison.csv into out (RUN).

  magiqa compare results/runs/mine results/runs/other metric.csv score=q
"""

from magiqa.cli.given import Given
from magiqa.errors import UserError


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
    print(f"\n{keys.get('out') or words[0]}/: comparison.csv")
    return 0
