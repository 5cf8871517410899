"""Which distortions does each cue see? Photos distorted by degrees; no opinion scores needed.

magiqa probe [PATH...] [GROUP=OPTION] [KEY=VALUE]

PATH is a file, a folder, a glob in quotes, or - for a list on standard input; without one: the sample's photos.
Writes probe.csv (SRCC of each score and the level within an image: median and interval over images), curves.csv,
levels.csv (each level's strength by PSNR and SSIM), scores.csv, record.json and figures/ into out=DIR.

  types=[gaussian_blur,jpeg]     some of the types; default: all sixteen
  recursive=true                 folders with their sub-folders

  magiqa probe ~/photos backbone=rn50 magnitude=l2 out=results/probe/rn50-l2
"""

import sys
from functools import partial
from pathlib import Path

from magiqa.cli.given import Given
from magiqa.runs.listed_files import written


def run(given: Given) -> int:
    """Probe."""
    keys = {k: v for k, _, v in (o.partition("=") for o in given.overrides) if k in ("types", "recursive")}
    overrides = [o for o in given.overrides if o.partition("=")[0] not in ("types", "recursive")]
    recursive = given.truth(keys, "recursive", False)
    job = given.configs.job(["dataset.root=.", *overrides])

    from magiqa.scorer.scorer import Scorer
    from magiqa.studies.probe import TYPES, Photo, probe, sample_photos
    from magiqa.studies.score import find_files

    types = [t.strip() for t in keys["types"].strip("[]").split(",")] if "types" in keys else TYPES
    if given.words:
        photos = [
            Photo(p, str(Path(p).expanduser()))
            for p in find_files(given.words, sys.stdin, recursive=recursive)
        ]
    else:
        photos = sample_photos(Path(job.machine.cache_dir).expanduser() / "sample")
    scorer = Scorer.of(job, cache_dir=job.machine.cache_dir)
    shown = [job.choices[g] for g in ("backbone", "prompts", "views", "magnitude", "fusion")]
    folder = Path(job.output.out).expanduser() if job.output.out else Path("results/probe") / "-".join(shown)
    probe(
        scorer,
        photos,
        folder,
        types=types,
        resamples=job.statistics.resamples,
        seed=job.statistics.seed,
        figures=job.output.figures,
        width=job.output.style.width,
        show=partial(print, flush=True),
    )
    print(f"\n{written(folder)}")
    return 0
