"""List the known data sets, and whether they are here.

magiqa datasets

The list holds counts, direction, splits, licence and where to get each set. A
set is here if roots.yaml or MAGIQA_DATA leads to its folder. Any other list of
ratings is read by dataset=folder.

Example:
  magiqa datasets
    17 data sets

    dataset=     title        images  better  splits
    agiqa1k      AGIQA-1K      1,080  higher

More: docs/datasets.md
"""

from magiqa.config.arguments import Arguments
from magiqa.errors import UserError

TASK = "evaluate on ratings"


def run(arguments: Arguments) -> int:
    """List."""
    import pandas as pd

    from magiqa.config.loader import find_root, roots_file
    from magiqa.datasets.base import sets
    from magiqa.package import expanded
    from magiqa.report.console import screen
    from magiqa.report.table import frame_table

    if arguments.typed:
        raise UserError(f"datasets: {arguments.typed[0]} is not understood; it takes no words")
    rows, pages, places = [], [], []
    for name, reader in sorted(sets(on_disk=True).items()):
        root = find_root(f"{reader.__module__}.{reader.__name__}", {})
        here = bool(root) and expanded(str(root)).is_dir()
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
