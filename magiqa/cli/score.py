"""Score any images, and print them from best to worst.

magiqa score PATH... [GROUP=OPTION] [KEY=VALUE]

PATH is a file, a folder, a glob in quotes, or - for a list on standard input.
An image that cannot be scored is listed at the end, and the exit code is 2.

  top=N bottom=N        show the best and the worst few; csv and json hold all
  csv=FILE json=FILE    the whole table
  html=FILE             a contact sheet of what is shown
  map=DIR               maps of where in each image; also window=N, stride=N
  pairs=[[P,N],...]     prompt pairs of your own, positive and negative
  statistics=main       all: also w_sim and the similarity of each prompt pair
  recursive=false       true: folders with their sub-folders

Example:
  magiqa score ~/photos recursive=true backbone=rn50 html=sheet.html
  magiqa score a.jpg b.jpg
    2 images, the best first; MA-CLIP; demo, ...

       image      q  q_sim  q_mag
    1  a.jpg  0.868  0.725  0.988
    2  b.jpg  0.813  0.420  0.987

More: docs/your-images.md
"""

import sys
from dataclasses import dataclass, replace
from typing import Annotated

from magiqa.checked import Checked, Least
from magiqa.config.arguments import Arguments
from magiqa.errors import UserError

TASK = "score images"
KEYS = ("method", "backbone", "prompts", "magnitude", "fusion", "device", "cache_dir")

Count = Annotated[int, Least(1)] | None


@dataclass(frozen=True)
class ScoreKeys(Checked):
    """The keys of this command."""

    csv: str | None = None
    json: str | None = None
    html: str | None = None
    map: str | None = None
    top: Count = None
    bottom: Count = None
    window: Count = None
    stride: Count = None
    recursive: bool = False
    pairs: str | None = None

    @property
    def files(self) -> dict[str, str]:
        """The files to write."""
        values = {key: getattr(self, key) for key in ("csv", "json", "html", "map")}
        return {key: value for key, value in values.items() if value is not None}


def run(arguments: Arguments) -> int:
    """Score; exit code 2 if a file could not be."""
    keys, overrides = arguments.split(ScoreKeys)
    wrong = [o for o in overrides if o.partition("=")[0] in ("bundle", "out", "part")]
    if wrong:
        raise UserError(f"score: {wrong[0]} is not understood; it writes csv=, json=, html=, map=")
    if (keys.window or keys.stride) and not keys.map:
        raise UserError("score: window= and stride= are of maps: add map=DIR")
    if empty := [key for key, file in keys.files.items() if not file]:
        raise UserError(f"score: {empty[0]}= names no file: write {empty[0]}=PATH")
    typed = [f"prompts.pairs={keys.pairs}"] if keys.pairs is not None else []
    job = arguments.configs.job(
        ["dataset.root=.", *overrides, *typed]
    )  # of a data set, its resize alone counts
    if typed:  # a prompt set of its own, no longer the option's
        changed = {k: v for k, v in job.changed.items() if not k.startswith("prompts.")}
        prompts = replace(job.method.prompts, name="own", source="")
        job = job.having(prompts=prompts, choices=job.choices | {"prompts": "own"}, changed=changed)

    from magiqa.scorer.scorer import Scorer
    from magiqa.studies import score

    scorer = Scorer.of(job, cache_dir=job.machine.cache_dir)
    paths = score.find_files(arguments.words, sys.stdin, recursive=keys.recursive)
    ranking = score.rank(scorer, paths)
    part = ranking.part(keys.top, keys.bottom)
    print(score.render(ranking, keys.top, keys.bottom, everything=job.output.statistics == "all"))
    notes = list(scorer.warnings)
    if keys.csv:
        notes += score.write_csv(ranking, keys.csv)
    if keys.json:
        score.write_json(ranking, keys.json)
    if keys.html:
        score.write_html(ranking, keys.html, part)
    if keys.map and len(part):
        score.write_maps(scorer, part, keys.map, window=keys.window, stride=keys.stride)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if keys.files:
        print(f"\nwritten: {', '.join(keys.files.values())}")
    if ranking.skipped:
        print(f"\ncould not be scored: {len(ranking.skipped)} of {len(paths)}", file=sys.stderr)
        for reason in ranking.skipped.values():
            print(f"  {reason}", file=sys.stderr)
        return 2
    return 0
