"""An exhibit: a table, or a figure with its caption."""

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from magiqa.report.escape import md, tex
from magiqa.report.style import is_wide, styled
from magiqa.report.table import Table
from magiqa.runs.config import Style


@dataclass(frozen=True)
class Exhibit:
    """A table or a figure.

    Args:
        kind: for ``only=``. name: of its files. caption: 40 words or fewer.
        table: the table, or None. draw: writes the figure's files for a path without suffix, or None.
        of: the run or result that it belongs to; empty for all of them. wide: as wide as a page, whatever the style.
        twin: shows what another exhibit shows: for the page, not for a paper. png: the figure's file, once it is drawn.
    """

    kind: str
    name: str
    caption: str
    table: Table | None = None
    draw: Callable[[Path], list[Path]] | None = None
    of: str = ""
    wide: bool = False
    twin: bool = False
    png: Path | None = None

    @property
    def uri(self) -> str:
        """The drawn figure as a data URI."""
        return (
            "data:image/png;base64," + base64.b64encode(self.png.read_bytes() if self.png else b"").decode()
        )


def draw(exhibit: Exhibit, folder: Path, style: Style) -> Exhibit:
    """Draw a figure into a folder, with its caption in Markdown and LaTeX, and return it; return a table as it is."""
    if exhibit.draw is None:
        return exhibit
    chosen = replace(style, width="page") if exhibit.wide else style
    caption = exhibit.caption
    with styled(chosen, caption.partition(". ")[0]):
        png, *others = exhibit.draw(folder / exhibit.name)
        wide = is_wide()
    if others and others[-1].name.endswith("-names.txt"):
        caption += f" Names that no font here has are numbered: {others[-1].name}."
    write_captions(folder, {exhibit.name: caption})
    return replace(exhibit, caption=caption, wide=wide, png=png)


def write_captions(folder: Path, captions: Mapping[str, str]) -> None:
    """Write the captions of figures beside them, in Markdown and LaTeX."""
    for name, caption in captions.items():
        (folder / f"{name}.md").write_text(md(caption) + "\n", encoding="utf-8")
        (folder / f"{name}.tex").write_text(tex(caption) + "\n", encoding="utf-8")


def draw_all(exhibits: Iterable[Exhibit], folder: Path, style: Style) -> None:
    """Draw the figures among exhibits into a folder."""
    for exhibit in exhibits:
        draw(exhibit, folder, style)
