"""List the known data sets: counts, direction, splits, licence, where to get them, and whether they are here.

magiqa datasets

A set is here if roots.yaml or MAGIQA_DATA leads to its folder. Any other list of ratings is read by dataset=folder.

  magiqa check dataset=koniq
"""

from pathlib import Path

from magiqa.cli.given import Given


def run(given: Given) -> int:
    """List."""
    import pandas as pd

    from magiqa.config.roots import find_root, roots_file
    from magiqa.datasets.sets import sets
    from magiqa.report.console import screen
    from magiqa.report.table import frame_table

    given.keys(())
    rows, pages, places = [], [], []
    for name, reader in sorted(sets(on_disk=True).items()):
        root = find_root(f"{reader.__module__}.{reader.__name__}", {})
        here = bool(root) and Path(str(root)).expanduser().is_dir()
        rows.append(
            {
                "dataset=": name,
                "title": reader.title,
                "images": reader.count,
                "better": "lower" if reader.lower_is_better else "higher",
                "splits": ", ".join(f"{split} {n:,}" for split, n in reader.splits.items()),
                "licence": reader.licence,
                "here": "yes" if here else "no",
            }
        )
        pages.append(f"{name:<12} {reader.page}")
        places += [f"{name:<12} {root}"] if here else []
    table = frame_table(pd.DataFrame(rows), {column: column for column in rows[0]})
    lines = [
        "",
        "where to get them:",
        *pages,
        "",
        f"here (MAGIQA_DATA, or lines SET: DIR in {roots_file()}):",
    ]
    print(screen([f"{len(rows)} data sets"], [table, *lines, *(places or ["none"])]))
    return 0
