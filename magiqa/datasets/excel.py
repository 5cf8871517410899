"""Sheets of Excel files: few bytes can claim a table that no memory holds, so their size is read first."""

import re
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.parsers import expat

import pandas as pd

from magiqa.errors import UserError

_XML_BYTES = 64 << 20  # unpacked; the largest sheet that is read here, SPAQ's, has a tenth

CELLS = 20_000_000  # of the rectangle that a sheet's cells span, empty ones included

_COLUMN = re.compile(r"[A-Za-z]{1,3}")


def read_excel(file: Path, **options: Any) -> pd.DataFrame:
    """A sheet, as pandas reads it.

    Args:
        options: of ``pandas.read_excel``.

    Raises:
        UserError: it unpacks to more than any table that is read here, or spans more cells.
    """
    with zipfile.ZipFile(file) as opened:
        parts = [part for part in opened.infolist() if not part.is_dir()]
        size = sum(part.file_size for part in parts)
        if size > _XML_BYTES:
            raise UserError(f"it unpacks to {size} bytes, more than a table of labels has")
        for part in parts:  # a sheet may have any name
            with suppress(expat.ExpatError):  # a picture, or XML that pandas refuses at the same place
                _check_part(opened, part)
    table = pd.read_excel(file, **options)
    for sheet in table.values() if isinstance(table, dict) else [table]:
        # cells may share one long text, of which each row gets a copy later
        if (
            sum(len(cell) for name in sheet for cell in [name, *sheet[name]] if isinstance(cell, str))
            > _XML_BYTES
        ):
            raise UserError(f"its cells hold more than {_XML_BYTES} letters, more than a table of labels has")
    return table


def _check_part(opened: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    """Go through a part's elements, none of which is kept."""
    from openpyxl.utils import column_index_from_string

    rows = columns = column = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal rows, columns, column
        kind, place = name.rpartition(":")[2], attributes.get("r", "")
        if kind == "row":
            rows, column = max(rows + 1, int(place or 0)), 0
        elif kind == "c":
            letters = _COLUMN.match(place)
            column = column_index_from_string(letters[0]) if letters else column + 1
            columns = max(columns, column)
        if rows * max(columns, 1) > CELLS:
            raise UserError(f"its sheet spans {rows} x {columns} cells, more than a table of labels has")

    def doctype(*_: object) -> None:
        raise UserError("it declares a document type, which no sheet needs")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = doctype
    with opened.open(part) as file:
        parser.ParseFile(file)
