"""Sheets of Excel files: few bytes can claim a table that no memory holds, so cells are counted as they are read."""

import warnings
import zipfile
from pathlib import Path

import pandas as pd

from magiqa.errors import UserError

_BYTES = 64 << 20  # unpacked, and of all texts; the largest sheet that is read here, SPAQ's, has a tenth

CELLS = 20_000_000  # of the rectangle that a sheet's cells span, empty ones included


def read_sheets(file: Path) -> dict[str, pd.DataFrame]:
    """Return the cells of each sheet by its name, as they are.

    Raises:
        UserError: the workbook unpacks to more than any table that is read here, or its sheets span more cells.
    """
    from openpyxl import load_workbook

    with zipfile.ZipFile(file) as archive:
        size = sum(part.file_size for part in archive.infolist())
        if size > _BYTES:
            raise UserError(f"it unpacks to {size} bytes, more than a table of labels has")
        if any(b"<!DOCTYPE" in archive.read(part) for part in archive.infolist()):
            raise UserError("it declares a document type, which no sheet needs")
    sheets = {}
    letters = 0
    with file.open("rb") as opened, warnings.catch_warnings():  # of any name
        warnings.simplefilter("ignore")  # openpyxl's, of styles
        for sheet in load_workbook(opened, read_only=True, data_only=True).worksheets:
            sheet.reset_dimensions()  # a wrong claim would hide cells
            rows: list[tuple] = []
            width = 16  # rows without cells count too
            for row in sheet.iter_rows(values_only=True):
                rows.append(row)
                width = max(width, len(row))
                letters += sum(len(cell) for cell in row if isinstance(cell, str))
                if len(rows) * width > CELLS or letters > _BYTES:
                    raise UserError("its sheets span more cells or letters than a table of labels has")
            sheets[sheet.title] = pd.DataFrame(rows)
    return sheets


def read_excel(file: Path, sheet: str | None = None, header: int | None = 0) -> pd.DataFrame:
    """Return a sheet as a table; empty rows are left out, and empty columns where columns have names.

    Args:
        sheet: its name; by default the first. header: the row of the columns' names; None: they are numbers.

    Raises:
        UserError: there is no such sheet; what `read_sheets` raises.
    """
    sheets = read_sheets(file)
    if sheet is not None and sheet not in sheets:
        raise UserError(f"it has no sheet {sheet}")
    table = sheets[sheet or next(iter(sheets))]
    if header is not None:
        table = table.iloc[header + 1 :].set_axis(list(table.iloc[header]), axis=1).reset_index(drop=True)
        table = table.dropna(how="all", axis=1)
    return table.dropna(how="all").infer_objects()
