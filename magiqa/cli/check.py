"""Check a data set: every image is read once.

magiqa check dataset=NAME dataset.root=DIR
magiqa check DIR

Says what is missing, unreadable or there twice, and where to get the set. Of a folder alone it says which known set it
looks like. Roots can also be given once for all options of a set: roots.SET=DIR, a line SET: DIR in roots.yaml, or
MAGIQA_DATA=DIR, which holds a folder for each set (see magiqa datasets).

  magiqa check dataset=koniq dataset.root=~/koniq10k
"""

from pathlib import Path

from magiqa.cli.given import Given
from magiqa.errors import UserError


def run(given: Given) -> int:
    """Check; exit code 2 where the set cannot be used as it is."""
    from magiqa.datasets.check import check, recognize, render
    from magiqa.report.console import screen

    if not given.words:
        job = given.configs.job(given.typed)
        report = check(job.source.dataset, limits=job.source.limits)
        print(screen([render(report)], []))
        return 0 if report.usable else 2
    if len(given.words) > 1 or given.overrides or not Path(given.words[0]).expanduser().is_dir():
        raise UserError(f"check: {' '.join(given.args)} is not understood; give one folder, or dataset=NAME")
    folder = given.words[0]
    found = recognize(folder)
    for name, text in found:
        print(screen([text, f"  magiqa check dataset={name} dataset.root={folder}"], []))
    if not found:
        table = f"magiqa check dataset=folder dataset.root={folder}"
        print(f"{folder} looks like no known set; for a table of ratings: {table}")
    return 2
