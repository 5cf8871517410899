"""Distort photos by degrees, and show what each cue sees.

magiqa probe [PATH...] [GROUP=OPTION] [KEY=VALUE]

PATH is a file, a folder, a glob in quotes, or - for a list on standard input;
without one: the sample's photos. No ratings are needed. The command writes
probe.csv (SRCC of each score and the level), curves.csv, levels.csv (PSNR and
SSIM of each level), scores.csv, record.json and figures/ into out=DIR.

  types=gaussian_blur,jpeg    some of the types; default: all sixteen
  recursive=false             true: folders with their sub-folders

Example:
  magiqa probe ~/photos backbone=rn50 out=results/probe/rn50

More: docs/studies.md
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from magiqa.checked import Checked
from magiqa.config.arguments import Arguments
from magiqa.package import expanded

TASK = "score images"
KEYS = ("backbone", "prompts", "magnitude", "fusion", "out", "cache_dir")


@dataclass(frozen=True)
class ProbeKeys(Checked):
    """The keys of this command."""

    types: tuple[str, ...] = ()
    recursive: bool = False


def run(arguments: Arguments) -> int:
    """Probe."""
    from magiqa.runs.read import written
    from magiqa.scorer.scorer import Scorer
    from magiqa.studies.probe import TYPES, Photo, probe, sample_photos
    from magiqa.studies.score import find_files

    keys, overrides = arguments.split(ProbeKeys)
    job = arguments.configs.job(["dataset.root=.", *overrides])
    if arguments.words:
        paths = find_files(arguments.words, sys.stdin, recursive=keys.recursive)
        photos = [Photo(path, str(expanded(path))) for path in paths]
    else:
        photos = sample_photos(expanded(job.machine.cache_dir) / "sample")
    scorer = Scorer.of(job, cache_dir=job.machine.cache_dir)
    options = [job.choices[g] for g in ("backbone", "prompts", "views", "magnitude", "fusion")]
    folder = expanded(job.output.out) if job.output.out else Path("results/probe") / "-".join(options)
    probe(
        scorer,
        photos,
        folder,
        types=keys.types or TYPES,
        figures=job.output.figures,
        width=job.output.style.width,
        show=partial(print, flush=True),
    )
    print(f"\n{written(folder)}")
    return 0
