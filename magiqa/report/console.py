"""The screen that a command prints: what was measured, its tables, short notes."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

from magiqa.report.table import Table

MOST_NOTES = 3


def screen(
    head: Sequence[str], tables: Iterable[Table | str], notes: Sequence[str] = (), *, width: int = 100
) -> str:
    """Return the text of a screen, not wider than the terminal or ``width``.

    Args:
        head: lines above the tables. tables: tables, and lines between them.
        notes: remarks; three of them are shown.

    Example:
        >>> print(screen(["AGIQA-3K, n = 2,982"], [], ["one image left out"]))
        AGIQA-3K, n = 2,982
        note: one image left out
    """
    width = max(min(width, shutil.get_terminal_size((width, 24)).columns), 60)
    bold = sys.stdout.isatty()
    out = [_wrapped(line, width) for line in head]
    for table in tables:
        out.append("\n" + table.text(width, bold) if isinstance(table, Table) else _wrapped(table, width))
    shown = [f"note: {note}" for note in notes[:MOST_NOTES]]
    if len(notes) > MOST_NOTES:
        shown.append(f"note: {len(notes) - MOST_NOTES} more notes: see warnings in the record")
    return "\n".join([*out, *([""] if shown and tables else []), *(_wrapped(line, width) for line in shown)])


def _wrapped(text: str, width: int) -> str:
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )
