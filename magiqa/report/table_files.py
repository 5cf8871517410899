"""Tables as files: CSV, Markdown, LaTeX, and a document that shows them all.

CSV holds every number to nine digits: sums in another order (another history of the cache) change the sixteenth. The
same table gives the same bytes.
"""

from collections.abc import Sequence

from magiqa.report.latex import latex
from magiqa.report.table import Table
from magiqa.runs.folder import ResultFolder

DIGITS = "%.9g"


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
        results.text(f"tables/{table.name}.md", table.markdown())
        results.text(f"tables/{table.name}.tex", latex(table, table.title, table.notes))
    results.text("tables.tex", document(tables))
