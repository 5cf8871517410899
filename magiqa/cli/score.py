"""Score any images: a table from best to worst, a contact sheet, maps.

magiqa score PATH... [GROUP=OPTION] [KEY=VALUE]

PATH is a file, a folder, a glob in quotes, or - for a list on standard input.

  top=N bottom=N         show the best and the worst few; csv and json hold all
  csv=FILE json=FILE     the whole table
  html=FILE              a contact sheet of what is shown
  map=DIR                where in each image shown: maps of q and of its cues; window=N, stride=N: how fine
  pairs=[[P,N],...]      prompt pairs of your own, positive and negative
  statistics=all         also show w_sim and each prompt pair's own similarity
  recursive=true         folders with their sub-folders

Features are cached as any run's. What cannot be scored is listed at the end, and the exit code is 2.

  magiqa score ~/photos recursive=true backbone=rn50 bottom=20 html=worst.html
  magiqa score "*.jpg" "pairs=[[Sharp photo.,Blurry photo.]]" csv=sharp.csv
"""

import sys

from magiqa.cli.given import Given
from magiqa.errors import UserError
from magiqa.method.prompts import PromptSet

KEYS = ("csv", "json", "html", "map", "top", "bottom", "window", "stride", "recursive", "pairs")


def run(given: Given) -> int:
    """Score; exit code 2 where a file could not be."""
    keys: dict[str, str] = {}
    overrides: list[str] = []
    for override in given.overrides:
        key, _, value = override.partition("=")
        if key in KEYS:
            keys[key] = value
        elif key in ("bundle", "out", "part"):
            raise UserError(
                f"score: {override} is not understood; it takes images, and writes csv=, json=, html=, map="
            )
        else:
            overrides.append(override)
    if "pairs" in keys:
        overrides.append(f"prompts.pairs={keys['pairs']}")
    numbers = {k: _whole(given, keys, k) for k in ("top", "bottom", "window", "stride")}
    recursive = given.truth(keys, "recursive", False)
    if (numbers["window"] or numbers["stride"]) and "map" not in keys:
        raise UserError("score: window= and stride= are of maps: add map=DIR")
    if empty := [k for k in ("csv", "json", "html", "map") if keys.get(k) == ""]:
        raise UserError(f"score: {empty[0]}= names no file: write {empty[0]}=PATH")

    job = given.configs.job(["dataset.root=.", *overrides])  # of a data set, its resize alone counts
    if "pairs" in keys:  # not the option's with other pairs: a set of their own
        changed = {k: v for k, v in job.changed.items() if not k.startswith("prompts.")}
        prompts = PromptSet("own", job.method.prompts.pairs)
        job = job.having(prompts=prompts, choices=job.choices | {"prompts": "own"}, changed=changed)

    from magiqa.scorer.scorer import Scorer
    from magiqa.studies import score

    scorer = Scorer.of(job, cache_dir=job.machine.cache_dir)
    paths = score.find_files(given.words, sys.stdin, recursive=recursive)
    ranking = score.rank(scorer, paths)
    part = ranking.part(numbers["top"], numbers["bottom"])
    everything = job.output.statistics == "all"
    print(score.render(ranking, numbers["top"], numbers["bottom"], everything=everything))
    if "csv" in keys:
        score.write_csv(ranking, keys["csv"])
    if "json" in keys:
        score.write_json(ranking, keys["json"])
    if "html" in keys:
        score.write_html(ranking, keys["html"], part)
    if "map" in keys and len(part):
        score.write_maps(scorer, part, keys["map"], window=numbers["window"], stride=numbers["stride"])
    for warning in scorer.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    written = [keys[k] for k in ("csv", "json", "html", "map") if k in keys]
    if written:
        print(f"\nwritten: {', '.join(written)}")
    if ranking.skipped:
        print(f"\ncould not be scored: {len(ranking.skipped)} of {len(paths)}", file=sys.stderr)
        for reason in ranking.skipped.values():
            print(f"  {reason}", file=sys.stderr)
        return 2
    return 0


def _whole(given: Given, keys: dict[str, str], key: str) -> int | None:
    if key not in keys:
        return None
    value = given.whole(keys, key, 0)
    if value < 1:
        raise UserError(f"score: {key}={keys[key]} must be at least 1")
    return value
