"""Is a data set complete and readable? Every image is read once.

magiqa check dataset=NAME dataset.root=DIR

Says what is missing, unreadable or there twice, and where to get the set. Roots can also be given once for all options
of a set: roots.SET=DIR, a line SET: DIR in roots.yaml, or MAGIQA_DATA=DIR, which holds a folder for each set.

  magiqa check dataset=koniq dataset.root=~/koniq10k
"""

from magiqa.cli.given import Given


def run(given: Given) -> int:
    """Check; exit code 2 where the set cannot be used as it is."""
    from magiqa.config.roots import FOLDERS, roots_file
    from magiqa.datasets.check import check, render
    from magiqa.report.console import screen

    job = given.configs.job(given.typed)
    report = check(job.source.dataset, limits=job.source.limits)
    folders = ", ".join(f"{name} in {folder}/" for name, folder in FOLDERS.items())
    places = f"roots of sets: roots.SET=DIR, {roots_file()}, or under MAGIQA_DATA: {folders}"
    print(screen([render(report), "", places], []))
    return 0 if report.usable else 2
