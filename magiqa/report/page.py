"""Self-contained HTML pages that load nothing: the templates `*.j2` of this folder, with `assets/`.

Names of images and groups may hold anything: the templates escape all text, an unknown name in them is an error, and
the script sets text as text.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magiqa import __version__
from magiqa.report.escape import uncited
from magiqa.report.exhibit import Exhibit
from magiqa.report.table import Table

if TYPE_CHECKING:
    from markupsafe import Markup

HERE = Path(__file__).parent


@dataclass
class Block:
    """An article of the report's page; the template shows what it holds, in this order.

    Args:
        title: empty: none. note: below it. run: the place of a run in the script's data.
        facts: (name, value). panels: (score, name, lines, alternative text) of a canvas that the script fills.
        groups: names of the legend. folds: (summary, table) each. remarks: below the tables.
    """

    title: str = ""
    anchor: str = ""
    note: str = ""
    run: int | None = None
    facts: Sequence[tuple[str, object]] = ()
    panels: Sequence[tuple[str, str, list[str], str]] = ()
    groups: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Exhibit] = ()
    folds: Sequence[tuple[str, Table]] = ()
    remarks: Sequence[str] = ()
    gallery: Sequence[tuple[str, Sequence[object]]] = ()
    record: Mapping[str, Any] | None = None


def page(template: str, data: Mapping[str, Any] | None = None, **parts: Any) -> str:
    """Return a page.

    Args:
        template: the name of its file. data: of the page's script. parts: names of the template.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"breakable": breakable, "arxiv": arxiv, "uncited": uncited}
    made.filters["record"] = lambda record: json.dumps(record, indent=1, default=str)
    return made.get_template(template).render(
        version=__version__,
        style=(HERE / "assets" / "report.css").read_text(encoding="utf-8"),
        script=(HERE / "assets" / "report.js").read_text(encoding="utf-8"),
        # an escaped "<" can neither end the script element nor open a comment in it
        data=json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        **parts,
    )


def breakable(name: str) -> "Markup":
    """Return a file's name that a narrow place breaks after its separators, not inside a word.

    Example:
        >>> breakable("a/b_c.png")
        Markup('a/<wbr>b_<wbr>c.png')
    """
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[/_-])(?=.)", str(name)))


def arxiv(text: object) -> list[tuple[str, str]]:
    """Return text in pieces (text, link); only arXiv numbers have a link.

    Example:
        >>> arxiv("MA-CLIP, arXiv:2511.09948, table 1")[1]
        ('arXiv:2511.09948', 'https://arxiv.org/abs/2511.09948')
    """
    pieces = re.split(r"(?<![\d.])((?:arXiv:)?\d{4}\.\d{5})(?!\d)", str(text))
    return [(p, f"https://arxiv.org/abs/{p[-10:]}" if k % 2 else "") for k, p in enumerate(pieces) if p]
