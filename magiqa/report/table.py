"""A table, built once and rendered as console text, Markdown, LaTeX or HTML.

A cell holds its text, the value that it sorts by, its mark and its interval, so that all formats say the same.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from magiqa.errors import BOLD, PLAIN
from magiqa.report.escape import DAGGER, md, tex

NONE = "–"

P_VALUES = ("p", "p_adjusted", "p_within", "p_within_adjusted")

_QUIET = ("withheld", "p_floor", "n_within")  # columns of a CSV that a screen leaves out

LONGEST = 48  # characters of a cell on a console

MOST_ROWS = 40  # of a table in Markdown and LaTeX

MOST_OF_A_PAPER = 24  # of which each may take two lines: a page holds no more with what stands around it

LINE, TEXT_WIDTH, COLUMN_WIDTH = (
    4.4,
    16.5,
    8.3,
)  # cm in LaTeX: of long text, of the page, of one of two columns


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
    return "" if _missing(low) or _missing(high) else f"[{low:{form}}, {high:{form}}]"


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
    return Cell(f"{value:{form}}{suffix}", float(value), mark, interval(low, high, band))


def p_cell(p: float | None, floor: float = 0.0) -> Cell:
    """Return the cell of a p value, with an upper bound where the resamples can give no smaller one.

    Example:
        >>> [p_cell(p, floor).text for p, floor in ((1 / 1001, 1 / 1001), (1 / 301, 1 / 301), (0.0453, 0.001))]
        ['< 0.001', '< 0.004', '0.045']
        >>> p_cell(0.00002).text
        '< 0.001'
    """
    if p is None or _missing(p):
        return Cell(NONE)
    if p < 0.001:
        return Cell("< 0.001", float(p))
    bound = p <= floor * (1 + 1e-9)
    return Cell(f"< {math.floor(p * 1000 + 1) / 1000:.3f}" if bound else f"{p:.3f}", float(p))


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
        The interval of ``value`` is ``ci_low`` and ``ci_high``. A difference has a sign. A p value whose column
        begins with ``p`` is bounded by the column ``p_floor``.
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
        floors = frame.get("p_floor", pd.Series(0.0, frame.index))
        top = values.max() if name in best else None
        line = []
        for value, low, high, floor in zip(values, lows, highs, floors, strict=True):
            if name in P_VALUES:
                line.append(p_cell(value, floor))
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


# as wide as the text, but never enlarged
_FIT = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"


@dataclass(frozen=True)
class Table:
    """A table, ready to be rendered.

    Args:
        name: the files' name. title: the caption. columns: (group, name) each; columns of one group stand together.
        rows: cells. data: the CSV, nine digits. notes: below the table. rules: rows that a line stands over.
        details: show the intervals in Markdown and LaTeX too. shared: what all rows have in common, above the table.
    """

    name: str
    title: str
    columns: list[tuple[str, str]]
    rows: list[list[Cell]]
    data: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: list[str] = field(default_factory=list)
    rules: tuple[int, ...] = ()
    details: bool = True
    shared: str = ""

    def numeric(self, k: int) -> bool:
        """Whether column k holds numbers only."""
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

    @property
    def left_out(self) -> list[str]:
        """The note of a rendering that leaves the intervals out."""
        some = any(cell.detail for row in self.rows for cell in row)
        return [] if self.details or not some else ["95 % intervals: left out here, in the CSV."]

    def thin(self, most: int = MOST_ROWS) -> tuple[list[list[Cell]], list[str]]:
        """At most so many rows, evenly spread, marked ones kept; and the note that says so."""
        total = len(self.rows)
        if total <= most:
            return self.rows, []
        keep = set(np.linspace(0, total - 1, most - 4).round().astype(int).tolist())
        for i, row in enumerate(self.rows):
            if any(cell.mark or cell.text.endswith("(reference)") for cell in row):
                keep.add(i)
        return [self.rows[i] for i in sorted(keep)], [
            f"{len(keep)} of {total} rows, evenly spread; the CSV holds all."
        ]

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
        names = next((k for k in range(1, len(columns)) if self.numeric(k)), 1)  # columns that name a row
        blocks = [columns[:names]]
        for column in columns[names:]:
            if len(blocks[-1]) > names and sum(len(c[0]) + 2 for c in [*blocks[-1], column]) - 2 > width:
                blocks.append(columns[:names])
            blocks[-1] = [*blocks[-1], column]
        shown = ["\n".join("  ".join(line).rstrip() for line in zip(*b, strict=True)) for b in blocks]
        return "\n".join([*filter(None, (self.title, self.shared)), "\n\n".join(shown), *self.notes])

    def _lines(self, k: int, bold: bool) -> list[str]:
        """Return the heading and the cells of column k, all of one width."""
        cells = [row[k] for row in self.rows]
        head, texts = " ".join(filter(None, self.columns[k])), [_short(cell.text) for cell in cells]
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
        rows, note = self.thin()
        head = [md(f"{group} {name}".strip()) for group, name in self.columns]
        lines = [f"**{md(self.title)}**", ""] if self.title else []
        lines += [md(self.shared), ""] if self.shared else []
        lines.append("| " + " | ".join(head) + " |")
        align = ["---", *["---:" if self.numeric(k) else "---" for k in range(1, len(head))]]
        lines.append("|" + "|".join(align) + "|")
        lines += ["| " + " | ".join(self._md(cell) for cell in row) + " |" for row in rows]
        lines += ["", *(f"{md(text)}  " for text in [*self.notes, *self.left_out, *note])]
        return "\n".join(lines).rstrip() + "\n"

    def _md(self, cell: Cell) -> str:
        text = md(cell.text)
        text = {"best": f"**{text}**", "second": f"<u>{text}</u>"}.get(cell.mark, text)
        return f"{text} {md(cell.detail)}" if cell.detail and self.details else text

    def latex(self, *, two_columns: bool = False) -> str:
        """The table in LaTeX: needs array, booktabs and graphicx.

        Args:
            two_columns: for a two-column page, where a table takes one column if it fits, else both.
        """
        wrapped = LINE in (self._width(self.rows, k) for k in range(len(self.columns)))
        rows, note = self.thin(MOST_OF_A_PAPER if two_columns and wrapped else MOST_ROWS)
        widths = [self._width(rows, k) for k in range(len(self.columns))]
        groups = self.spans()
        needed = sum(widths) + 0.4 * len(widths)
        star = "*" if two_columns and needed > COLUMN_WIDTH else ""
        line = r"\columnwidth" if two_columns and not star else r"\textwidth"
        wide = needed > TEXT_WIDTH
        # a table that is too wide is scaled to the line; a narrow one would be enlarged
        lines = [
            "% needs \\usepackage{array,booktabs,graphicx}",
            rf"\begin{{table{star}}}[{'tp' if two_columns else 'htbp'}]",
            r"\centering\footnotesize" if two_columns else r"\centering\small",
            rf"\caption{{{tex(self.title)}}}\smallskip",
            rf"\label{{tab:{self.name.replace('_', '-')}}}",
            *(
                [
                    rf"\begin{{minipage}}{{{line}}}\footnotesize {tex(self.shared)}\end{{minipage}}\par\smallskip"
                ]
                if self.shared
                else []
            ),
            *([r"\setlength{\tabcolsep}{2.5pt}", _FIT] if wide else []),
            rf"\begin{{tabular}}{{{self._spec(widths)}}}",
            r"\toprule",
        ]
        if any(group for group, _, _ in groups):
            spans = (
                rf"\multicolumn{{{count}}}{{c}}{{{tex(group)}}}" if group else " & ".join([""] * count)
                for group, _, count in groups
            )
            lines.append(" & ".join(spans) + r" \\")
            lines += [rf"\cmidrule(lr){{{at + 1}-{at + count}}}" for group, at, count in groups if group]
        lines += [" & ".join(tex(name) for _, name in self.columns) + r" \\", r"\midrule"]
        for i, row in enumerate(rows):
            if i in self.rules and rows is self.rows:
                lines.append(r"\midrule")
            lines.append(" & ".join(self._tex(cell) for cell in row) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}" + ("%\n}" if wide else "")]
        text = tex(" ".join([*self.notes, *self.left_out, *note]))
        if text:
            lines.append(rf"\par\smallskip\begin{{minipage}}{{{line}}}\footnotesize {text}\end{{minipage}}")
        return "\n".join([*lines, rf"\end{{table{star}}}"]) + "\n"

    def _tex(self, cell: Cell) -> str:
        text = tex(cell.text)
        dagger = tex(DAGGER) if text.endswith(tex(DAGGER)) else ""
        body = text.removesuffix(dagger) if dagger else text
        body = {"best": rf"\textbf{{{body}}}", "second": rf"\underline{{{body}}}"}.get(cell.mark, body)
        body += dagger
        return rf"{body} {{\scriptsize {tex(cell.detail)}}}" if cell.detail and self.details else body

    def _spec(self, widths: Sequence[float]) -> str:
        """The columns' types: numbers to the right, long text in lines of `LINE` cm."""
        return "".join(
            "r"
            if k and self.numeric(k)
            else rf">{{\raggedright\arraybackslash}}p{{{LINE}cm}}"
            if width == LINE
            else "l"
            for k, width in enumerate(widths)
        )

    def _width(self, rows: Sequence[Sequence[Cell]], k: int) -> float:
        """About how wide a column gets, in cm; `LINE` where its text is to be broken into lines."""
        texts = [f"{row[k].text} {row[k].detail if self.details else ''}".strip() for row in rows]
        most = max([len(self.columns[k][1]), *map(len, texts)])
        return min(0.16 * most, 100 if k and self.numeric(k) else LINE)
