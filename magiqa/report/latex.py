"""Tables in LaTeX (booktabs), at 8 points in a document of 10, as wide as a column or the page."""

from collections.abc import Sequence

import numpy as np

from magiqa.report.escape import DAGGER, MACROS, cited, tex
from magiqa.report.table import Cell, Table
from magiqa.runs.folder import ResultFolder

TEXT_CM, TEXT_LETTERS = 5.0, 36  # of a column of long text

PAGE_LINES = 50  # of a table that a page holds with its caption and notes

COLUMN_CM, PAGE_CM = 8.3, 17.2

PACKAGES = r"% needs \usepackage{array,booktabs,graphicx}"

_FIT = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"  # never enlarged


def write_table(results: ResultFolder, table: Table) -> None:
    """Write a table as CSV, Markdown and LaTeX into ``tables/``; nine digits are the same on every machine."""
    results.csv(f"tables/{table.name}", table.data, float_format="%.9g")
    results.text(f"tables/{table.name}.md", table.markdown())
    results.text(f"tables/{table.name}.tex", latex(table, table.title, table.notes))


def latex(table: Table, caption: str, notes: Sequence[str] = ()) -> str:
    """Return a table as floats: one, or several of equal height where a page does not hold its lines."""
    widths = [_width(table, column) for column in range(len(table.columns))]
    wrapped = [c for c, width in enumerate(widths) if width == TEXT_CM]
    lines = [max((-(-len(row[c].text) // TEXT_LETTERS) for c in wrapped), default=1) for row in table.rows]
    below = np.cumsum(lines)
    count = max(1, -(-sum(lines) * len(_split(table, widths)) // PAGE_LINES))
    part_of = np.minimum((below - 1) * count // max(sum(lines), 1), count - 1)
    parts = [np.flatnonzero(part_of == k).tolist() for k in range(count)]
    floats = [_float(table, rows, widths, caption, () if k else notes, k) for k, rows in enumerate(parts)]
    text = "\n".join(floats)
    macros = MACROS if "scripttext" in text or "cyrillictext" in text else ""
    return f"{PACKAGES}\n{macros}{text}"


def _float(
    table: Table, rows: Sequence[int], widths: Sequence[float], caption: str, notes: Sequence[str], k: int
) -> str:
    """Return one float; the first carries the number, the caption and the label."""
    columns, name = _split(table, widths), label(table.name)
    wide = any(_total(widths, part) > COLUMN_CM for part in columns)
    star = "*" if wide else ""
    head = [
        rf"\begin{{table{star}}}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        *(
            [rf"Table~\ref{{tab:{name}}} (continued).\par\smallskip"]
            if k
            else [rf"\caption{{{cited(caption)}}}", rf"\label{{tab:{name}}}"]
        ),
    ]
    body = r"\par\medskip".join(_tabular(table, rows, part, widths) for part in columns)
    line = r"\textwidth" if wide else r"\columnwidth"
    note = tex(" ".join(notes))
    below = (
        [rf"\par\smallskip\begin{{minipage}}{{{line}}}\footnotesize {note}\end{{minipage}}"] if note else []
    )
    return "\n".join([*head, body, *below, rf"\end{{table{star}}}"]) + "\n"


def label(name: str) -> str:
    """Return a name as a label."""
    return name.replace("/", "-").replace("_", "-")


def _split(table: Table, widths: Sequence[float]) -> list[list[int]]:
    """Return the columns of each part: all, or some groups of columns at a time where the page is too narrow."""
    everything = list(range(len(widths)))
    spans = [(group, list(range(start, start + count))) for group, start, count in table.spans()]
    lead = [c for group, some in spans if not group for c in some]
    if _total(widths, everything) <= PAGE_CM or len(spans) - bool(lead) < 2:
        return [everything]
    groups = [some for group, some in spans if group]
    for count in range(2, len(groups) + 1):  # the fewest parts of about as many groups each that fit
        cut = [part.tolist() for part in np.array_split(np.arange(len(groups)), count)]
        parts = [[*lead, *(c for g in part for c in groups[g])] for part in cut]
        if max(_total(widths, part) for part in parts) <= PAGE_CM:
            break
    return parts


def _tabular(table: Table, rows: Sequence[int], columns: Sequence[int], widths: Sequence[float]) -> str:
    kinds = "".join(
        "r" if c and table.numeric(c)
        else rf">{{\raggedright\arraybackslash}}p{{{TEXT_CM}cm}}" if widths[c] == TEXT_CM
        else "l"
        for c in columns
    )  # fmt: skip
    lines = [rf"\begin{{tabular}}{{@{{}}{kinds}@{{}}}}", r"\toprule", *_spans(table, columns)]
    lines += [" & ".join(tex(table.columns[c][1]) for c in columns) + r" \\", r"\midrule"]
    begun = [t for first, t in table.blocks.items() if first < min(rows, default=0)]  # the last goes on here
    for row in rows:
        if (title := table.blocks.get(row, begun[-1] if begun and row == rows[0] else None)) is not None:
            lines += [r"\midrule"] if row > rows[0] else []
            lines += (
                [rf"\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\emph{{{tex(title)}}}}} \\"] if title else []
            )
        lines.append(" & ".join(_cell(table, table.rows[row][c]) for c in columns) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    fits = _total(widths, columns) <= PAGE_CM
    return "\n".join(lines) if fits else "\n".join([_FIT, *lines, "}"])


def _spans(table: Table, columns: Sequence[int]) -> list[str]:
    """Return the row of groups of columns with the rules below it."""
    cells, rules, done = [], [], 0
    for group, start, count in table.spans():
        if start not in columns:
            continue
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{tex(group)}}}" if group else " & ".join([""] * count))
        rules += [rf"\cmidrule(lr){{{done + 1}-{done + count}}}"] if group else []
        done += count
    return [" & ".join(cells) + r" \\", *rules] if rules else []


def _cell(table: Table, cell: Cell) -> str:
    sign = tex(DAGGER) if cell.text.endswith(DAGGER) else ""
    body = cited(cell.text.removesuffix(DAGGER))
    body = {"best": rf"\textbf{{{body}}}", "second": rf"\underline{{{body}}}"}.get(cell.mark, body) + sign
    return rf"{body} {{\scriptsize {tex(cell.detail)}}}" if cell.detail and table.details else body


def _width(table: Table, column: int) -> float:
    """Return about how wide a column is, in cm; ``TEXT_CM`` where its text is to be broken into lines."""
    cells = [row[column] for row in table.rows]
    texts = [f"{c.text} {c.detail if table.details else ''}".strip() for c in cells]
    most = max([len(table.columns[column][1]), *map(len, texts)])
    return min(0.145 * most, 100 if column and table.numeric(column) else TEXT_CM)


def _total(widths: Sequence[float], columns: Sequence[int]) -> float:
    return sum(widths[c] for c in columns) + 0.21 * len(columns)
