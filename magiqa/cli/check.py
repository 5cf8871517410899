"""Check that a data set is complete and readable.

magiqa check dataset=NAME dataset.root=DIR
magiqa check DIR                           which known set does it look like?

The command lists what is missing, unreadable or there twice, and where to get
the set. A root can also be given once for all options of a set: roots.SET=DIR,
a line SET: DIR in roots.yaml, or MAGIQA_DATA=DIR with a folder for each set
(see magiqa datasets).

Example:
  magiqa check dataset=koniq dataset.root=~/koniq10k
  magiqa check dataset=sample
    data set     sample
    layout       labels.csv; images in one folder a photo
    images       768 annotated of 768 expected; 768 good, 0 missing, ...

More: docs/datasets.md
"""

from magiqa.config.arguments import Arguments
from magiqa.errors import UserError

TASK = "evaluate on ratings"
KEYS = ("dataset", "max_pixels")


def run(arguments: Arguments) -> int:
    """Check; exit code 2 if the set cannot be used as it is."""
    from magiqa.datasets.check import check, recognize, render
    from magiqa.package import expanded
    from magiqa.report.console import screen

    words = arguments.words
    if not words:
        job = arguments.configs.job(arguments.only_overrides)
        report = check(job.source.dataset, limits=job.source.limits)
        print(screen([render(report)], []))
        return 0 if report.usable else 2
    if len(words) > 1 or arguments.overrides or not expanded(words[0]).is_dir():
        raise UserError(f"check: {' '.join(words)} is not understood; give one folder, or dataset=NAME")
    folder = words[0]
    sets = recognize(folder)
    for name, text in sets:
        print(screen([text, f"  magiqa check dataset={name} dataset.root={folder}"], []))
    if not sets:
        table = f"magiqa check dataset=folder dataset.root={folder}"
        print(f"{folder} looks like no known set; for a table of ratings: {table}")
    return 2
