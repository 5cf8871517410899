"""A table, built once and rendered as console text and Markdown; `latex` and the page render it too.

A cell holds its text, the value that it sorts by, its mark and its interval, so that all formats say the same.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from magiqa.errors import BOLD, PLAIN
from magiqa.report.escape import md, uncited

NONE = "–"

P_VALUES = ("p", "p_adjusted", "p_within", "p_within_adjusted")

_QUIET = ("withheld", "detectable", "n_within")  # columns of a CSV that a screen leaves out

LONGEST = 48  # characters of a cell on a console


@dataclass(frozen=True)
class Cell:
    """One cell: what shows, what it sorts by, and how it is marked."""

    text: str
    value: float | str | None = None
    mark: str = ""  # "best", "second" or ""
    detail: str = ""  # an interval


def interval(low: float | None, high: float | None, form: str = ".3f") -> str:
    """An interval in brackets; empty where there is none.

    Example:
        >>> interval(0.25, 0.5), interval(float("nan"), 0.5), interval(None, None)
        ('[0.250, 0.500]', '', '')
    """
    if low is None or high is None or _missing(low) or _missing(high):
        return ""
    return f"[{signed(low, form)}, {signed(high, form)}]"


def number(
    value: float | None,
    low: float | None = None,
    high: float | None = None,
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
    if value is None or _missing(value):
        return Cell(NONE)
    return Cell(f"{signed(value, form)}{suffix}", float(value), mark, interval(low, high, band))


def p_cell(p: float | None) -> Cell:
    """Return the cell of a p value.

    Example:
        >>> p_cell(0.0453).text, p_cell(0.00002).text
        ('0.045', '< 0.001')
    """
    if p is None or _missing(p):
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


def _missing(value: float | None) -> bool:
    return value is None or bool(pd.isna(value))


def _short(text: str) -> str:
    """Cut the middle out of a long text."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2 - 1]}…{text[-LONGEST // 2 :]}"


def frame_table(
    frame: pd.DataFrame,
    columns: Mapping[str, str] | None = None,
    *,
    digits: int = 3,
    best: Collection[str] = (),
) -> "Table":
    """Return some columns of a frame as a table: ``x``, ``x_low`` and ``x_high`` become one cell.

    Args:
        columns: heading by column; without them all columns, but what is the same in every row stands above them.
        digits: of numbers. best: columns in which the largest number is marked.

    Note:
        The interval of ``value`` is ``ci_low`` and ``ci_high``. A difference has a sign.
    """
    shared = ""
    if columns is None:
        names = [str(c) for c in frame if not str(c).endswith(("_low", "_high")) and c not in _QUIET]
        names = [c for c in names if not (c in ("p", "p_within") and f"{c}_adjusted" in frame)]
        same = [c for c in names[1:] if len(frame) > 1 and len(set(frame[c].astype(str))) == 1]
        shared = "; ".join(f"{c} {frame[c].iloc[0]}" for c in same if not isinstance(frame[c].iloc[0], float))
        columns = {c: c for c in names if c not in same}
    lines = []
    for name in columns:
        values, sign = frame[name], "+" if name.startswith(("diff", "change", "gain")) else ""
        stem = "ci" if name == "value" else name
        lows, highs = (
            frame.get(f"{stem}_{side}", pd.Series(np.nan, frame.index)) for side in ("low", "high")
        )
        top = values.max() if name in best else None
        line = []
        for value, low, high in zip(values, lows, highs, strict=True):
            if name in P_VALUES:
                line.append(p_cell(value))
            elif isinstance(value, float):
                form = f"{sign}.{digits}f"
                line.append(
                    number(value, low, high, form=form, band=form, mark="best" if value == top else "")
                )
            else:
                line.append(Cell(f"{value:,}" if isinstance(value, int) else str(value), value))
        lines.append(line)
    rows = [list(row) for row in zip(*lines, strict=True)]
    return Table("", "", [("", head) for head in columns.values()], rows, shared=shared)


@dataclass(frozen=True)
class Table:
    """A table, ready to be rendered.

    Args:
        name: the files' name. title: the caption. columns: (group, name) each; columns of one group stand together.
        rows: cells. data: the CSV. notes: below the table. blocks: headings of blocks of rows, by their first row; an
            empty heading is a line. details: show the intervals in Markdown and LaTeX too. shared: a line above the
            table on a console.
    """

    name: str
    title: str
    columns: list[tuple[str, str]]
    rows: list[list[Cell]]
    data: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: list[str] = field(default_factory=list)
    blocks: Mapping[int, str] = field(default_factory=dict)
    details: bool = True
    shared: str = ""

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
        columns = [self._lines(k, bold, whole=True) for k in range(len(self.columns))]
        if sum(len(c[0]) + 2 for c in columns) - 2 > width:
            columns = [self._lines(k, bold) for k in range(len(self.columns))]
        names = next((k for k in range(1, len(columns)) if self.numeric(k)), 1)  # columns that name a row
        blocks = [columns[:names]]
        for column in columns[names:]:
            if len(blocks[-1]) > names and sum(len(c[0]) + 2 for c in [*blocks[-1], column]) - 2 > width:
                blocks.append(columns[:names])
            blocks[-1] = [*blocks[-1], column]
        shown = ["\n".join("  ".join(line).rstrip() for line in zip(*b, strict=True)) for b in blocks]
        return "\n".join([*filter(None, (self.title, self.shared)), "\n\n".join(shown), *self.notes])

    def _lines(self, k: int, bold: bool, whole: bool = False) -> list[str]:
        """Return the heading and the cells of column k, all of one width; ``whole``: no long text is cut."""
        cells = [row[k] for row in self.rows]
        head, texts = " ".join(filter(None, self.columns[k])), [uncited(cell.text) for cell in cells]
        texts = texts if whole else [_short(text) for text in texts]
        details = [f" {cell.detail}" if cell.detail else "" for cell in cells]
        numeric = k > 0 and self.numeric(k)
        if numeric:
            size, room = (max(map(len, some), default=0) for some in (texts, details))
            texts = [t.rjust(size) + d.ljust(room) for t, d in zip(texts, details, strict=True)]
        size = max(map(len, [head, *texts]))
        head = head.rjust(size) if numeric and not any(details) else head.ljust(size)
        texts = [text.rjust(size) if numeric and not any(details) else text.ljust(size) for text in texts]
        best = [bold and cell.mark == "best" for cell in cells]
        return [head, *(f"{BOLD}{t}{PLAIN}" if b else t for t, b in zip(texts, best, strict=True))]

    def markdown(self) -> str:
        """The table in Markdown."""
        head = [md(f"{group} {name}".strip()) for group, name in self.columns]
        lines = [f"**{md(self.title)}**", ""] if self.title else []
        lines += [md(self.shared), ""] if self.shared else []
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
