"""Tables as files: CSV, Markdown, LaTeX, and a document that shows them all.

CSV holds every number to nine digits: sums in another order (another history of the cache) change the sixteenth. The
same table gives the same bytes.
"""

from collections.abc import Sequence
from pathlib import Path

from magiqa.report.table import Table

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


def write_tables(tables: Sequence[Table], out: Path) -> list[Path]:
    """Write each table as CSV, Markdown and LaTeX into `out/tables`, and `out/tables.tex` that shows them all."""
    folder = out / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        stem = folder / table.name
        csv, markdown, latex = (stem.with_name(f"{table.name}.{suffix}") for suffix in ("csv", "md", "tex"))
        table.data.to_csv(csv, index=False, lineterminator="\n", float_format=DIGITS)
        markdown.write_text(table.markdown())
        latex.write_text(table.latex())
        written += [csv, markdown, latex]
    (out / "tables.tex").write_text(document(tables))
    return [*written, out / "tables.tex"]
