"""One self-contained HTML page that loads nothing: `page.html.j2`, with `assets/report.css` and `assets/report.js`.

Names of images and groups may hold anything: the template escapes all text, and the script sets text as text.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from magiqa import __version__
from magiqa.report.escape import uncited
from magiqa.report.exhibit import Drawn
from magiqa.report.gallery import Shown
from magiqa.report.style import COLORS
from magiqa.report.table import Table
from magiqa.report.template import HERE, environment

EMPTY: dict[str, Any] = {"runs": [], "large": []}


@dataclass(frozen=True)
class Panel:
    """A canvas that the script fills with a scatter plot, and its heading."""

    score: str
    name: str
    lines: list[str]
    alt: str


@dataclass(frozen=True)
class Fold:
    """Something folded away under a summary: a table or a list."""

    summary: str
    table: Table | None = None
    items: Sequence[str] = ()


@dataclass
class Block:
    """An article of the page; the template shows what it holds, in this order.

    Args:
        title: empty: none. note: below it. run: the place of a run in the script's data.
        facts: (name, value); empty values are left out. colors: of the legend's names, fewer where there are too many.
    """

    title: str = ""
    anchor: str = ""
    note: str = ""
    run: int | None = None
    facts: Sequence[tuple[str, object]] = ()
    panels: Sequence[Panel] = ()
    groups: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Drawn] = ()
    folds: Sequence[Fold] = ()
    gallery: Sequence[tuple[str, list[Shown]]] = ()
    record: Mapping[str, Any] | None = None

    @property
    def mapped(self) -> bool:
        """Return whether the gallery has maps."""
        return any(image.map is not None for _, images in self.gallery for image in images)

    @property
    def shown_facts(self) -> list[tuple[str, object]]:
        """Return the facts that have a value."""
        return [(name, value) for name, value in self.facts if value not in (None, "", [])]


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    anchor: str
    title: str
    blocks: Sequence[Block]
    note: str = ""


@dataclass
class Page:
    """The page's parts, in order, the labels of weights that are not published ones, and the script's data."""

    folders: int
    labels: Sequence[str] = ()
    sections: list[Section] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def html(self) -> str:
        """Return the whole page."""
        templates = environment()
        templates.filters["arxiv"] = arxiv
        templates.filters["uncited"] = uncited
        templates.filters["record"] = lambda record: json.dumps(record, indent=1, default=str)
        data = {"colors": list(COLORS), **EMPTY, **self.data}
        return templates.get_template("page.html.j2").render(
            page=self,
            colors=COLORS,
            version=__version__,
            style=(HERE / "assets" / "report.css").read_text(encoding="utf-8"),
            script=(HERE / "assets" / "report.js").read_text(encoding="utf-8"),
            # an escaped "<" can neither end the script element nor open a comment in it
            data=json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        )


def arxiv(text: object) -> list[tuple[str, str]]:
    """Return text in pieces (text, link); only arXiv numbers have a link.

    Example:
        >>> arxiv("MA-CLIP, arXiv:2511.09948, table 1")[1]
        ('arXiv:2511.09948', 'https://arxiv.org/abs/2511.09948')
    """
    pieces = re.split(r"(?<![\d.])((?:arXiv:)?\d{4}\.\d{5})(?!\d)", str(text))
    return [(p, f"https://arxiv.org/abs/{p[-10:]}" if k % 2 else "") for k, p in enumerate(pieces) if p]
