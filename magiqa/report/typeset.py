"""A table and its renderings: CSV, Markdown and LaTeX (booktabs).

A `Table` is built once and rendered three ways (`report.py` adds HTML), so that all of them say the same. CSV holds
every number to nine digits: sums in another order (another history of the cache) change the sixteenth. The same
table gives the same bytes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from magiqa.runs.folder import ResultFolder
from magiqa.runs.names import slug

DAGGER = "†"

DIGITS = "%.9g"

MOST_ROWS = 40  # of a table in Markdown and LaTeX

LINE, TEXT_WIDTH = 4.4, 16.5  # cm in LaTeX: of a column of long text, of the page


@dataclass(frozen=True)
class Cell:
    """One cell: what shows, what it sorts by, and how it is marked."""

    text: str
    value: float | str | None = None
    mark: str = ""  # "best", "second" or ""
    detail: str = ""  # an interval


@dataclass(frozen=True)
class Table:
    """A table, ready to be rendered.

    Args:
        name: the files' name. title: the caption. columns: (group, name) each; columns of one group stand together.
        rows: cells. data: the CSV, nine digits. notes: below the table. rules: rows that a line stands over.
        details: show the intervals in Markdown and LaTeX too.
    """

    name: str
    title: str
    columns: list[tuple[str, str]]
    rows: list[list[Cell]]
    data: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    rules: tuple[int, ...] = ()
    details: bool = True

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


def thin(table: Table) -> tuple[list[list[Cell]], list[str]]:
    """At most `MOST_ROWS` rows, evenly spread, marked ones kept; and the note that says so."""
    total = len(table.rows)
    if total <= MOST_ROWS:
        return table.rows, []
    keep = set(np.linspace(0, total - 1, MOST_ROWS - 4).round().astype(int).tolist())
    for i, row in enumerate(table.rows):
        if any(cell.mark or cell.text.endswith("(reference)") for cell in row):
            keep.add(i)
    return [table.rows[i] for i in sorted(keep)], [
        f"{len(keep)} of {total} rows, evenly spread; the CSV holds all."
    ]


def markdown(table: Table) -> str:
    """A table in Markdown."""
    rows, note = thin(table)
    head = [_md(f"{group} {name}".strip()) for group, name in table.columns]
    lines = [f"**{_md(table.title)}**", "", "| " + " | ".join(head) + " |"]
    lines.append(
        "|" + "|".join(["---", *["---:" if table.numeric(k) else "---" for k in range(1, len(head))]]) + "|"
    )
    for row in rows:
        lines.append("| " + " | ".join(_md_cell(cell, table.details) for cell in row) + " |")
    lines += ["", *(f"{_md(text)}  " for text in [*table.notes, *note])]
    return "\n".join(lines).rstrip() + "\n"


def _md(text: str) -> str:
    """Text that Markdown shows as it is."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|*`\[\]])", r"\\\1", text)


def _md_cell(cell: Cell, details: bool) -> str:
    text = _md(cell.text)
    text = {"best": f"**{text}**", "second": f"<u>{text}</u>"}.get(cell.mark, text)
    return f"{text} {_md(cell.detail)}" if cell.detail and details else text


_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "''",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "·": r"$\cdot$",
    "†": r"$^{\dagger}$",
    "−": "$-$",
    "λ": r"$\lambda$",
    "α": r"$\alpha$",
    "±": r"$\pm$",
}


def tex(text: str) -> str:
    r"""Text that LaTeX shows as it is; a character that a plain pdfLaTeX has not becomes a question mark.

    Example:
        >>> tex("50 % of a_b & λ")
        '50 \\% of a\\_b \\& $\\lambda$'
    """
    text = " ".join(text.split())
    latin = {chr(code) for code in range(0xC0, 0x100)} - set("×÷")
    return "".join(_TEX.get(c, c if ord(c) < 127 or c in latin else "?") for c in text)


def _tex_cell(cell: Cell, details: bool) -> str:
    text = tex(cell.text)
    if isinstance(cell.value, float) and text.startswith("-"):
        text = f"$-${text[1:]}"
    body, dagger = (
        (text.removesuffix(_TEX[DAGGER]), _TEX[DAGGER]) if text.endswith(_TEX[DAGGER]) else (text, "")
    )
    body = {"best": rf"\textbf{{{body}}}", "second": rf"\underline{{{body}}}"}.get(cell.mark, body) + dagger
    return rf"{body} {{\scriptsize {tex(cell.detail)}}}" if cell.detail and details else body


def latex(table: Table) -> str:
    """A table in LaTeX: needs array, booktabs and graphicx."""
    rows, note = thin(table)
    widths = [_width(table, rows, k) for k in range(len(table.columns))]
    spec = "".join(
        "r"
        if k and table.numeric(k)
        else rf">{{\raggedright\arraybackslash}}p{{{LINE}cm}}"
        if width == LINE
        else "l"
        for k, width in enumerate(widths)
    )
    groups = table.spans()
    wide = sum(widths) + 0.4 * len(widths) > TEXT_WIDTH
    # a table that is too wide is scaled to the line; a narrow one would be enlarged
    lines = [
        "% needs \\usepackage{array,booktabs,graphicx}",
        r"\begin{table}[htbp]",
        r"\centering\small",
        rf"\caption{{{tex(table.title)}}}\smallskip",
        rf"\label{{tab:{slug(table.name).replace('_', '-')}}}",
        *([r"\resizebox{\textwidth}{!}{%"] if wide else []),
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
    ]
    if any(group for group, _, _ in groups):
        lines.append(
            " & ".join(
                rf"\multicolumn{{{count}}}{{c}}{{{tex(group)}}}" if group else " & ".join([""] * count)
                for group, _, count in groups
            )
            + r" \\"
        )
        lines += [rf"\cmidrule(lr){{{start + 1}-{start + count}}}" for group, start, count in groups if group]
    lines += [" & ".join(tex(name) for _, name in table.columns) + r" \\", r"\midrule"]
    for i, row in enumerate(rows):
        if i in table.rules and rows is table.rows:
            lines.append(r"\midrule")
        lines.append(" & ".join(_tex_cell(cell, table.details) for cell in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}" + ("%\n}" if wide else "")]
    text = tex(" ".join([*table.notes, *note]))
    lines.append(rf"\par\smallskip\begin{{minipage}}{{\textwidth}}\footnotesize {text}\end{{minipage}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _width(table: Table, rows: list[list[Cell]], k: int) -> float:
    """About how wide a column gets, in cm; `LINE` where its text is to be broken into lines."""
    texts = [f"{row[k].text} {row[k].detail if table.details else ''}".strip() for row in rows]
    most = max([len(table.columns[k][1]), *map(len, texts)])
    return min(0.16 * most, 100 if k and table.numeric(k) else LINE)


def document(tables: Sequence[Table]) -> str:
    """A LaTeX document that shows all tables, to be compiled beside the folder `tables`."""
    head = [r"\documentclass[10pt]{article}", r"\usepackage[utf8]{inputenc}"]
    head += [
        r"\usepackage[margin=2cm]{geometry}",
        r"\usepackage{array,booktabs,graphicx}",
        r"\begin{document}",
    ]
    body = [rf"\input{{tables/{table.name}.tex}}\clearpage" for table in tables]
    return "\n".join([*head, *body, r"\end{document}"]) + "\n"


def write_tables(tables: Sequence[Table], results: ResultFolder) -> None:
    """Write each table as CSV, Markdown and LaTeX into `tables/`, and `tables.tex` that shows them all."""
    for table in tables:
        results.csv(f"tables/{table.name}", table.data, float_format=DIGITS)
        results.text(f"tables/{table.name}.md", markdown(table))
        results.text(f"tables/{table.name}.tex", latex(table))
    results.text("tables.tex", document(tables))
