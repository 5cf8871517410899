"""An exhibit: a table, or a figure that is still to be drawn, with its caption."""

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
    """

    kind: str
    name: str
    caption: str
    table: Table | None = None
    draw: Callable[[Path], list[Path]] | None = None
    of: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Drawn:
    """A figure's files and its caption."""

    png: Path
    name: str
    caption: str
    wide: bool

    @property
    def alt(self) -> str:
        """A text for readers who cannot see the figure."""
        return f"{self.name}; the tables hold its numbers"

    @property
    def uri(self) -> str:
        """The PNG as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png.read_bytes()).decode()


def draw(exhibit: Exhibit, folder: Path, style: Style) -> Drawn:
    """Draw a figure into a folder, its caption beside it in Markdown and LaTeX."""
    assert exhibit.draw is not None
    stem = folder / exhibit.name
    chosen = Style(width="page", font=style.font, title=style.title) if exhibit.wide else style
    with styled(chosen, exhibit.caption.partition(". ")[0]):
        files = exhibit.draw(stem)
        wide = is_wide()
    caption = exhibit.caption
    if any(file.name.endswith("-names.txt") for file in files):
        caption += f" Names that no font here has are numbered: {stem.name}-names.txt."
    write_captions(folder, {exhibit.name: caption})
    return Drawn(next(file for file in files if file.suffix == ".png"), exhibit.name, caption, wide)


def write_captions(folder: Path, captions: Mapping[str, str]) -> None:
    """Write the captions of figures beside them, in Markdown and LaTeX."""
    for name, caption in captions.items():
        (folder / f"{name}.md").write_text(md(caption) + "\n", encoding="utf-8")
        (folder / f"{name}.tex").write_text(tex(caption) + "\n", encoding="utf-8")


def draw_all(exhibits: Iterable[Exhibit], folder: Path, style: Style) -> None:
    """Draw the figures among exhibits into a folder."""
    for exhibit in exhibits:
        if exhibit.draw:
            draw(exhibit, folder, style)
