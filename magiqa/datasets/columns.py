"""The columns of a table of ratings: header or not, which column holds the image and which the score."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from magiqa.errors import UserError, some

# names in circulation, without regard to case
IMAGES = (
    "image", "img", "img_path", "img_name", "image_path", "image_name", "image name", "image path", "name", "file_name",
    "filename", "path", "dist_img", "dist_name", "dis_img_path", "generated_image", "source_id",
)  # fmt: skip
SCORES = (
    "mos", "gt_score", "score", "dmos", "quality_mos", "mos_quality", "qmos", "mos_q", "mosz1", "elo_score", "jod",
)  # fmt: skip
_FILE = re.compile(r"\.(?:jpe?g|png|bmp|tiff?|webp|gif|ppm|jp2|avif|heic)$", re.IGNORECASE)
_SCORE_IN_ID = re.compile(r"->\s*(-?\d+(?:\.\d+)?)\s*$")
_RANGE = re.compile(r"(.*?)(\d+)\.\.(.*?)(\d+)")


class Columns:
    """A table's columns by their roles.

    Args:
        file: for messages. table: from `magiqa.datasets.containers.Container.read`.
        keys: messages name the keys of ``dataset=folder``.

    Attributes:
        table: rows below the header, columns with names; without a header "1", "2", ... notes: for the user.
    """

    def __init__(self, file: Path, table: pd.DataFrame, keys: bool = True) -> None:
        self.file, self.keys = file, keys
        self.notes: list[str] = []
        self.headed = True
        if table.empty:
            raise UserError(f"{file}: holds no rows; mend or replace it")
        if all(isinstance(column, int) for column in table.columns):
            first = [str(cell).strip() for cell in table.iloc[0]]
            self.headed = is_header(first)
            names = first if self.headed else [str(k + 1) for k in range(len(first))]
            table = table.iloc[int(self.headed) :].reset_index(drop=True).set_axis(names, axis=1)
        table.columns = [str(name).strip() for name in table.columns]
        twice = table.columns.duplicated()
        if twice.any():
            self.notes.append(f"several columns are called {table.columns[twice][0]}: the first counts")
            table = table.loc[:, ~twice]
        if table.empty:
            raise UserError(f"{file}: holds no rows; mend or replace it")
        self.table = table

    def named(self, column: str, key: str) -> pd.Series:
        """Return the column that the user named.

        Raises:
            UserError: there is none of that name.
        """
        if column not in self.table:
            raise UserError(f"{self.file}: no column {column} (dataset.{key}); {self._choice(key)}")
        return self.table[column]

    def images(self, column: str | None) -> pd.Series:
        """Return the names of the images: of a column, or of a template such as ``{model}/{image_name}``."""
        if column is None:
            return self.table[self._fitting("image_column", IMAGES)].astype(str).str.strip()
        if "{" not in column:
            return self.named(column, "image_column").astype(str).str.strip()
        names: pd.Series | str = ""
        for i, part in enumerate(re.split(r"{(.*?)}", column)):
            names = names + (self.named(part, "image_column").astype(str).str.strip() if i % 2 else part)
        assert isinstance(names, pd.Series)
        return names

    def scores(self, column: str | None) -> pd.Series:
        """Return the scores: of a column, of the one known column, or of ids such as ``name->4.63``."""
        if column is not None:
            return self.named(column, "mos_column")
        if self.headed and "id" in self.table and not self._known(SCORES):
            scores = self.table["id"].astype(str).str.extract(_SCORE_IN_ID)[0]
            if scores.notna().all():
                self.notes.append("mos: the number behind -> in column id")
                return scores.rename("id")
        return self.table[self._fitting("mos_column", SCORES)]

    def several(self, columns: Sequence[str], key: str) -> pd.DataFrame:
        """Return several columns, ``c1..c10`` written out."""
        return pd.concat([self.named(c, key) for column in columns for c in written_out(column)], axis=1)

    def _known(self, names: Sequence[str]) -> list[str]:
        columns = [column for column in self.table if column.lower() in names]
        plain = [column for column in columns if column == names[0]]  # magiqa's own form: image, mos
        if plain and len(columns) > 1:
            self.notes.append(
                f"column {plain[0]} is taken, not {some([c for c in columns if c not in plain])}"
            )
        return plain or columns

    def _fitting(self, key: str, names: Sequence[str]) -> str:
        """Return the one column that fits.

        Raises:
            UserError: none fits, or several do.
        """
        columns = self._known(names) if self.headed else self._by_content(key)
        if len(columns) == 1:
            return columns[0]
        problem = f"columns {', '.join(columns)} all fit" if columns else "no column has a known name"
        raise UserError(f"{self.file}: {problem}; {self._choice(key)}")

    def _by_content(self, key: str) -> list[str]:
        """Return the columns of a table without a header that hold names of images, or the first of numbers."""
        head = self.table.head(100).astype(str)
        if key == "image_column":
            columns = [c for c in head if head[c].str.strip().str.contains(_FILE).all()]
        else:
            numbers = [
                c for c in head if pd.to_numeric(head[c].str.replace(",", "."), errors="coerce").notna().all()
            ]
            columns = numbers[:1]
        if len(columns) == 1:
            self.notes.append(f"no header: column {columns[0]} is the {'image' if 'image' in key else 'mos'}")
        return columns

    def _choice(self, key: str) -> str:
        header = "" if self.headed else " (no header: columns by number)"
        if not self.keys:
            return f"call it {key.partition('_')[0]}"
        return f"add dataset.{key}=NAME, one of {some([c[:40] for c in self.table])}{header}"


def written_out(column: str) -> list[str]:
    """Write out a range of columns.

    Example:
        >>> written_out("c1..c3"), written_out("mos")
        (['c1', 'c2', 'c3'], ['mos'])
    """
    match = _RANGE.fullmatch(column)
    if match is None or match[1] != match[3] or not 0 <= int(match[4]) - int(match[2]) < 1000:
        return [column]
    return [f"{match[1]}{k}" for k in range(int(match[2]), int(match[4]) + 1)]


def is_header(cells: Sequence[str]) -> bool:
    """Tell a header by a known name, or by having no number and no image."""
    if any(cell.lower() in (*IMAGES, *SCORES) for cell in cells):
        return True
    numeric = pd.to_numeric(pd.Series([c.replace(",", ".") for c in cells]), errors="coerce").notna()
    return not numeric.any() and not any(_FILE.search(cell) for cell in cells)
