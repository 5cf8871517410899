"""A table, built once and rendered as console text and Markdown; `latex` and the page render it too.

A cell holds its text, the value that it sorts by, its mark and its interval, so that all formats say the same.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from magiqa.errors import BOLD, PLAIN
from magiqa.report.escape import md, uncited
from magiqa.report.words import SCORES, capital, label_name, option_name, set_name, statistic, variant_name
from magiqa.report.words import column as heading

NONE = "–"

P_VALUES = ("p", "p_given_label", "p_adjusted", "p_within", "p_within_adjusted")

_QUIET = (
    "withheld",
    "detectable",
    "n_within",
    "contents",
    "level_references",
)  # columns of a CSV that a table leaves out

LONGEST = 48  # characters of a cell on a console where the table is too wide

MARKS = {1: "best", 2: "second"}  # by rank


def _keyed_set(key: str) -> str:
    name, _, variant = key.partition(" ")
    return set_name({"name": name, "variant": variant})


VALUES: dict[str, Callable[[str], str]] = {  # by a CSV's column: the words for what it holds
    **dict.fromkeys(("best_here", "chosen_on_others", "reference", "variant"), variant_name),
    **dict.fromkeys(("score", "a", "b", "cue"), lambda key: SCORES.get(key, capital(key))),
    **dict.fromkeys(("factor", "added_to", "method", "of"), capital),
    "dataset": _keyed_set,
    "definition": lambda name: SCORES.get(name, capital(option_name(name))),
    "label": label_name,
    "statistic": statistic,
}


@dataclass(frozen=True)
class Cell:
    """One cell: what shows, what it sorts by, and how it is marked."""

    text: str
    value: float | str | None = None
    mark: str = ""  # "best", "second" or ""
    detail: str = ""  # an interval


def interval(low: Any, high: Any, form: str = ".3f") -> str:
    """An interval in brackets; empty where there is none.

    Example:
        >>> interval(0.25, 0.5), interval(float("nan"), 0.5), interval(None, None)
        ('[0.250, 0.500]', '', '')
    """
    if pd.isna(low) or pd.isna(high):
        return ""
    return f"[{signed(low, form)}, {signed(high, form)}]"


def number(
    value: Any,
    low: Any = None,
    high: Any = None,
    *,
    form: str = ".4f",
    band: str = ".3f",
    mark: str = "",
    suffix: str = "",
) -> Cell:
    """A number with its interval; a dash where there is no number.

    Args:
        form, band: formats of the number and of its interval.
        mark: as in `Cell`.
        suffix: set after the number: a dagger, a star.

    Example:
        >>> number(0.51234, 0.4, 0.6)
        Cell(text='0.5123', value=0.51234, mark='', detail='[0.400, 0.600]')
        >>> number(float("nan")).text
        '–'
    """
    if pd.isna(value):
        return Cell(NONE)
    return Cell(f"{signed(value, form)}{suffix}", float(value), mark, interval(low, high, band))


def p_cell(p: Any) -> Cell:
    """Return the cell of a p value.

    Example:
        >>> p_cell(0.0453).text, p_cell(0.00002).text
        ('0.045', '< 0.001')
    """
    if pd.isna(p):
        return Cell(NONE)
    return Cell("< 0.001" if p < 0.001 else f"{p:.3f}", float(p))


def signed(value: float, form: str) -> str:
    """Return a number in a format, without the sign of a zero.

    Example:
        >>> signed(-0.0001, "+.3f"), signed(-0.01, ".2f")
        ('0.000', '-0.01')
    """
    text = f"{value:{form}}"
    return text if text.strip("+-0.") else text.lstrip("+-")


def name_cell(text: object) -> Cell:
    """Return a cell of text, which sorts by it."""
    return Cell(str(text), str(text))


def ranks(values: pd.Series, lower: bool = False) -> pd.Series:
    """Return ranks from 1, the best; values that print alike share one, and NaN where all print alike."""
    rounded = values.round(3)
    differ = len(set(rounded.dropna())) > 1
    return rounded.rank(ascending=lower, method="min") if differ else rounded * np.nan


def best_marks(values: Any, competing: Any = True, lower: bool = False) -> list[str]:
    """Return the marks of a column: the best and the second.

    Args:
        competing: which values compete. lower: the lowest is best.
    """
    shown = pd.Series(np.where(competing, np.asarray(values, float), np.nan))
    return [MARKS.get(rank, "") for rank in ranks(shown, lower)]


def simultaneous(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the columns of the intervals of differences that hold for all rows, as the adjusted p do."""
    return {
        f"diff_{s}": frame[f"ci_simultaneous_{s}"] for s in ("low", "high") if f"ci_simultaneous_{s}" in frame
    }


def frame_table(
    frame: pd.DataFrame,
    columns: Mapping[str, str] | None = None,
    *,
    name: str = "",
    title: str = "",
    digits: int = 3,
    best: Collection[str] = (),
) -> "Table":
    """Return a frame as a table: ``x``, ``x_low`` and ``x_high`` become one cell.

    Args:
        columns: heading by column. Without them all columns stand in a reader's words, and what is the same in every
            row becomes a note.
        name, title: of the table. digits: of numbers. best: columns in which the highest numbers are marked.

    Note:
        The interval of ``value`` is ``ci_low`` and ``ci_high``. A difference has a sign.
    """
    shown, notes = frame, []
    if columns is None:
        shown = frame.assign(
            **{k: frame[k].map(VALUES[k], na_action="ignore") for k in VALUES.keys() & set(frame)}
        )
        sides = [
            c for c in frame if str(c).endswith(("_low", "_high")) or f"{c}_adjusted" in frame or c in _QUIET
        ]
        names = [str(c) for c in frame if c not in sides and not frame[c].isna().all()]
        same = [c for c in names[1:] if len(frame) > 1 and len(set(map(str, frame[c]))) == 1 and c != "srcc"]
        columns = {c: heading(c) for c in names if c not in same}
        cells = {c: _cell(c, shown[c].iloc[0], np.nan, np.nan, "", f".{digits}f") for c in same}
        shared = "; ".join(f"{heading(c)} = {cell.text}" for c, cell in cells.items())
        notes = [f"All rows: {shared}."] if same else []
    controls = pd.Series(["(control)" in str(row) for row in frame.to_numpy(object)], frame.index, dtype=bool)
    lines = []
    for key in columns:
        stem = "ci" if key == "value" else key
        low, high = (frame.get(f"{stem}_{side}", pd.Series(np.nan, frame.index)) for side in ("low", "high"))
        marks = best_marks(frame[key], ~controls) if key in best else [""] * len(frame)
        form = f"{'+' if key.startswith(('diff', 'change', 'gain')) else ''}.{digits}f"
        lines.append([_cell(key, *values, form) for values in zip(shown[key], low, high, marks, strict=True)])
    rows = [list(row) for row in zip(*lines, strict=True)]
    return Table(name, title, [("", head) for head in columns.values()], rows, frame, notes)


def _cell(key: str, value: Any, low: float, high: float, mark: str, form: str) -> Cell:
    """Return the cell of a column: a p value, a number with its interval, a count, yes or no, or text."""
    if key in P_VALUES:
        return p_cell(value)
    if key == "n" and pd.notna(value):  # a column with an empty cell holds floats
        value = int(value)
    if isinstance(value, bool | np.bool_):
        return Cell("✓" if value else NONE, float(value))
    if isinstance(value, float):
        return number(value, low, high, form=form, band=form, mark=mark)
    return Cell(f"{value:,}" if isinstance(value, int) else str(value), value)


@dataclass(frozen=True)
class Table:
    """A table, ready to be rendered.

    Args:
        name: the files' name. title: the caption. columns: (group, name) each; columns of one group stand together.
        rows: cells. data: the CSV. notes: below the table. blocks: headings of blocks of rows, by their first row; an
            empty heading is a line. details: show the intervals in Markdown and LaTeX too.
    """

    name: str
    title: str
    columns: list[tuple[str, str]]
    rows: list[list[Cell]]
    data: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: list[str] = field(default_factory=list)
    blocks: Mapping[int, str] = field(default_factory=dict)
    details: bool = True

    def numeric(self, k: int) -> bool:
        """Tell if column k holds numbers only."""
        return all(isinstance(row[k].value, int | float) or row[k].value is None for row in self.rows)

    def spans(self) -> list[tuple[str, int, int]]:
        """(group, start, count) of each stretch of columns of one group."""
        out: list[tuple[str, int, int]] = []
        for k, (group, _) in enumerate(self.columns):
            if out and out[-1][0] == group:
                out[-1] = (group, out[-1][1], out[-1][2] + 1)
            else:
                out.append((group, k, 1))
        return out

    def text(self, width: int = 100, bold: bool = False) -> str:
        """Return the table for a console, in blocks of columns where it is wider than ``width``.

        Args:
            bold: mark the best values with a terminal's sequences.

        Example:
            >>> frame = pd.DataFrame({"score": ["q", "bytes"], "srcc": [0.5, -0.25], "srcc_low": 0.4, "srcc_high": 0.6})
            >>> print(frame_table(frame, {"score": "", "srcc": "SRCC"}).text())
                   SRCC
            q       0.500 [0.400, 0.600]
            bytes  -0.250 [0.400, 0.600]
        """
        columns = [self._lines(k, bold) for k in range(len(self.columns))]
        if sum(len(c[0]) + 2 for c in columns) - 2 > width:
            columns = [self._lines(k, bold, LONGEST) for k in range(len(self.columns))]
        names = next((k for k in range(1, len(columns)) if self.numeric(k)), 1)  # columns that name a row
        blocks = [columns[:names]]
        for column in columns[names:]:
            if len(blocks[-1]) > names and sum(len(c[0]) + 2 for c in [*blocks[-1], column]) - 2 > width:
                blocks.append(columns[:names])
            blocks[-1] = [*blocks[-1], column]
        shown = ["\n".join("  ".join(line).rstrip() for line in zip(*b, strict=True)) for b in blocks]
        return "\n".join([*filter(None, [self.title]), "\n\n".join(shown), *self.notes])

    def _lines(self, k: int, bold: bool, most: int = 10**6) -> list[str]:
        """Return the heading and the cells of column k, all of one width; longer texts lose their middle."""
        cells = [row[k] for row in self.rows]
        texts = [uncited(cell.text) for cell in cells]
        texts = [t if len(t) <= most else f"{t[: most // 2 - 1]}…{t[-most // 2 :]}" for t in texts]
        size = max(map(len, texts), default=0)
        numeric, details = k > 0 and self.numeric(k), [cell.detail for cell in cells]
        if numeric:
            texts = [f"{t:>{size}} {d}".rstrip() for t, d in zip(texts, details, strict=True)]
        lines = [" ".join(filter(None, self.columns[k])), *texts]
        size = max(map(len, lines))
        lines = [line.rjust(size) if numeric and not any(details) else line.ljust(size) for line in lines]
        best = [False, *(bold and cell.mark == "best" for cell in cells)]
        return [f"{BOLD}{t}{PLAIN}" if b else t for t, b in zip(lines, best, strict=True)]

    def markdown(self) -> str:
        """The table in Markdown."""
        head = [md(f"{group} {name}".strip()) for group, name in self.columns]
        lines = [f"**{md(self.title)}**", ""] if self.title else []
        lines.append("| " + " | ".join(head) + " |")
        align = ["---", *["---:" if self.numeric(k) else "---" for k in range(1, len(head))]]
        lines.append("|" + "|".join(align) + "|")
        for i, row in enumerate(self.rows):
            lines += [f"| *{md(self.blocks[i])}* |" + " |" * (len(head) - 1)] if self.blocks.get(i) else []
            lines.append("| " + " | ".join(self._md(cell) for cell in row) + " |")
        lines += ["", *(f"{md(text)}  " for text in self.notes)]
        return "\n".join(lines).rstrip() + "\n"

    def _md(self, cell: Cell) -> str:
        text = md(cell.text)
        text = {"best": f"**{text}**", "second": f"<u>{text}</u>"}.get(cell.mark, text)
        return f"{text} {md(cell.detail)}" if cell.detail and self.details else text
