"""The screen that a command prints: what was measured, its tables, short notes."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

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


def spread(long: pd.DataFrame, index: str, columns: str, values: str) -> pd.DataFrame:
    """Return a long table as a wide one: a column ``x`` with ``x_low`` and ``x_high`` for each value of a column."""
    by = long.set_index([index, columns])
    parts = [by[values].unstack()]  # noqa: PD010 (nothing to aggregate)
    parts += [by[f"ci_{side}"].unstack().add_suffix(f"_{side}") for side in ("low", "high")]  # noqa: PD010
    return pd.concat(parts, axis=1)


def round_steps(values: Sequence[float], most: int) -> tuple[list[int], float]:
    """Return the positions of an axis' round values, at most so many, and the step between them.

    Example:
        >>> round_steps([k / 50 for k in range(101)], 25)[0][:3], round_steps([k / 50 for k in range(101)], 25)[1]
        ([0, 5, 10], 0.1)
    """
    span = max(values) - min(values)
    steps = (f * 10.0**e for e in range(-6, 7) for f in (1, 2, 5))
    for step in (step for step in steps if span / step < most):
        ratios = np.asarray(values, float) / step
        rows = np.flatnonzero(np.isclose(ratios, ratios.round(), rtol=0, atol=1e-6))
        gaps = np.diff(np.unique(np.asarray(values, float)[rows]))
        if len(gaps) and np.allclose(gaps, gaps[0]):
            return rows.tolist(), float(gaps[0])
    return list(range(len(values))), span
