"""Tables of ratings in any container: text with separators, Excel, JSON, JSON lines, Parquet.

A file is a stranger's: nothing of it is run (pickles are refused), and its size is checked before memory is taken. Few
bytes of a workbook can claim a table that no memory holds, so its cells are counted as they are read.
"""

import csv
import importlib.util
import json
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from magiqa.datasets.columns import is_header
from magiqa.errors import UserError

_TEXT_BYTES = 256 << 20
_HEAD = 64 << 10  # the lines that the form of a text is found from
_JSON_BYTES = 64 << 20  # Python objects take many times the memory of their text
_SEPARATORS = "\t;,"
_DECIMAL, _LETTER = re.compile(r"-?\d+\.\d+"), re.compile(r"[^\W\d_e]", re.IGNORECASE)
_EXCEL, _PARQUET, _OLD_EXCEL, _PICKLE, _NUMPY = (
    b"PK\x03\x04",
    b"PAR1",
    b"\xd0\xcf\x11\xe0",
    b"\x80",
    b"\x93NUMPY",
)


@dataclass(frozen=True)
class Container:
    """The user's words about a file.

    Args:
        encoding: of text and JSON; by default UTF-8, or UTF-16 with its mark. separator: of columns in a text; by
            default found from its first lines. sheet: of a workbook.
    """

    encoding: str | None = None
    separator: str | None = None
    sheet: str | None = None

    def read(self, file: Path) -> pd.DataFrame:
        """Return the table: columns have names (text) where the container names them, else numbers from 0.

        Raises:
            UserError: the file cannot be read; one line says why and what to do.
        """
        with file.open("rb") as opened:
            head = opened.read(_HEAD)
        try:
            return self._read(file, head)
        except UserError as error:
            raise UserError(f"{file}: {error}") from None
        except UnicodeError:
            raise UserError(
                f"{file}: the text is not in {self.encoding or 'UTF-8'}; "
                + (
                    "leave dataset.encoding out for UTF-8, or give"
                    if self.encoding
                    else "add dataset.encoding=NAME,"
                )
                + " another, such as gbk, latin-1 or utf-16"
            ) from None
        except RecursionError:
            raise UserError(f"{file}: is nested too deeply for a table; mend or replace it") from None
        except Exception as error:  # parsers raise what they like
            reason = " ".join(str(error).split())[:150] or type(error).__name__
            raise UserError(f"{file}: cannot be read ({reason}); mend or replace it") from None

    def _read(self, file: Path, head: bytes) -> pd.DataFrame:
        suffix = file.suffix.lower()
        if suffix in (".pkl", ".pickle") or head.startswith(_PICKLE):
            raise UserError("is a pickle, which may run code and is never opened; save the table as CSV")
        if head.startswith((_OLD_EXCEL, _NUMPY)) or suffix == ".mat":
            raise UserError("holds no table that is read here; save it as CSV, or a workbook as .xlsx")
        if head.startswith(_EXCEL):
            return self._workbook(file)
        if head.startswith(_PARQUET):
            return _parquet(file)
        if file.stat().st_size > _TEXT_BYTES:
            raise UserError(f"{file.stat().st_size} bytes are more than a table of ratings has")
        if suffix in (".json", ".jsonl", ".ndjson") or re.match(rb"\s*[\[{]\s*[\[{\"]", head):
            return self._json(file, suffix)
        return self._text(file, head)

    def _text_encoding(self, head: bytes) -> str:
        marked = head.startswith((b"\xff\xfe", b"\xfe\xff"))
        if (self.encoding or "").lower().startswith("utf-16") and b"\0" not in head:
            raise UnicodeError  # any bytes decode, to Chinese
        return self.encoding or ("utf-16" if marked else "utf-8-sig")

    def _text(self, file: Path, head: bytes) -> pd.DataFrame:
        encoding, whole = self._text_encoding(head), len(head) < _HEAD
        lines = re.split(r"\r\n|\r|\n", head.decode(encoding, errors="strict" if whole else "ignore"))
        first = next((k for k, line in enumerate(lines) if line.strip()), 0)
        sample = [line for line in lines[: None if whole else -1] if line.strip()][:50]
        if not sample and not whole:
            raise UserError(f"its first line is longer than {_HEAD} bytes; is it the right file?")
        separator = self.separator or _separator(sample)
        rows = [row for row in _split(sample, separator) if row] or [[""]]
        _check_cells(file, max(map(len, rows)))
        headed = is_header([cell.strip() for cell in rows[0]])
        if len(rows) == headed:
            raise UserError("holds no rows; mend or replace it")
        # pandas reads decimal numbers and names fast; codes such as 007 stay as they are written
        cells = [[cell.strip() for cell in column] for column in zip(*rows[headed:], strict=False)]
        plain = [all(map(_DECIMAL.fullmatch, column)) or all(map(_LETTER.search, column)) for column in cells]
        texts = [k for k in range(len(rows[0])) if k >= len(plain) or not plain[k]]
        old = tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)
        exact: Any = {"float_precision": "round_trip"} if old else {}
        table = pd.read_csv(
            file,
            sep=r"\s+" if separator == " " else separator,
            header=None,
            skiprows=first + 1 if headed else 0,
            dtype=dict.fromkeys(texts, str),
            keep_default_na=False,
            low_memory=False,
            encoding=encoding,
            skipinitialspace=separator != " ",
            **exact,
        ).fillna("")
        if headed and len(table.columns) != len(rows[0]):
            raise ValueError(f"its header names {len(rows[0])} columns, its rows have {len(table.columns)}")
        return table.set_axis(rows[0], axis=1) if headed else table

    def _workbook(self, file: Path) -> pd.DataFrame:
        sheets = read_sheets(file)
        if self.sheet is None and len(sheets) > 1:
            raise UserError(f"has several sheets; add dataset.sheet=NAME, one of {', '.join(sheets)[:120]}")
        if self.sheet is not None and self.sheet not in sheets:
            raise UserError(f"has no sheet dataset.sheet={self.sheet}; it has {', '.join(sheets)[:120]}")
        table = sheets[self.sheet or next(iter(sheets))].dropna(how="all").dropna(how="all", axis=1)
        return table.astype(object).where(table.notna(), "")

    def _json(self, file: Path, suffix: str) -> pd.DataFrame:
        if file.stat().st_size > _JSON_BYTES:
            raise UserError(f"{file.stat().st_size} bytes are more than a JSON table of ratings has")
        data = file.read_bytes()
        text = data.decode(self._text_encoding(data))
        if suffix in (".jsonl", ".ndjson"):
            lines = [line for line in text.split("\n") if line.strip()]
            return _table_of([json.loads(line, object_pairs_hook=_unique) for line in lines])
        return _table_of(json.loads(text, object_pairs_hook=_unique))


def _split(lines: list[str], separator: str) -> Iterable[list[str]]:
    if separator == " ":
        return (line.split() for line in lines)
    return csv.reader(lines, delimiter=separator, skipinitialspace=True)


def _separator(lines: list[str]) -> str:
    """Return the separator that gives all lines the same number of cells, two or more; else a blank."""
    for separator in _SEPARATORS:
        widths = {len(row) for row in _split(lines, separator)}
        if len(widths) == 1 and max(widths) > 1:
            return separator
    likely = max(_SEPARATORS, key="".join(lines[:1]).count)
    return likely if likely in "".join(lines[:1]) and {len(line.split()) for line in lines} != {2} else " "


def _check_cells(file: Path, columns: int) -> None:
    """Refuse a text of more cells than any table of ratings, before it is read."""
    with file.open("rb") as opened:
        rows = sum(max(b.count(b"\n"), b.count(b"\r")) for b in iter(lambda: opened.read(1 << 20), b""))
    if rows * columns > CELLS:
        raise UserError(f"{rows} rows of {columns} columns are more than a table of ratings has")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise UserError(f"rated more than once: {twice[:60]}; keep one entry an image")
    return mapping


def _table_of(content: Any) -> pd.DataFrame:
    """Return the table of a JSON file: a list of records, columns, or records or scores keyed by the image.

    Columns of lists and of records are left out.
    """
    if isinstance(content, Mapping):
        if content and all(isinstance(column, list) for column in content.values()):
            return pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in content.items()})
        values = [v if isinstance(v, Mapping) else {"mos": v} for v in content.values()]
        content = [{"image": name, **value} for name, value in zip(content, values, strict=True)]
    if not content or not all(isinstance(record, Mapping) for record in content):
        raise UserError('holds no list of records such as {"image": ..., "mos": ...}')
    names = dict.fromkeys(
        n for record in content for n, v in record.items() if not isinstance(v, list | Mapping)
    )
    if len(names) * len(content) > CELLS:
        raise UserError(f"{len(content)} records of {len(names)} fields are more than a table of ratings has")
    return pd.DataFrame(
        [[record.get(n, "") for n in names] for record in content], columns=list(names), dtype=object
    )


def _parquet(file: Path) -> pd.DataFrame:
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError("is Parquet, which needs pyarrow; pip install pyarrow, or save the table as CSV")
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, meta = pq.read_schema(file), pq.read_metadata(file)
    plain = [f.name for f in schema if not pa.types.is_nested(f.type) and not pa.types.is_binary(f.type)]
    size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    if meta.num_rows * max(len(plain), 1) <= CELLS and size <= _TEXT_BYTES:
        # rows may share one long text, of which each gets a copy later
        table = pq.ParquetFile(file, read_dictionary=plain).read(columns=plain).to_pandas().astype(object)
        size = sum(len(cell) for name in table for cell in table[name] if isinstance(cell, str))
        if size <= _TEXT_BYTES:
            return table
    raise UserError(
        f"{meta.num_rows} rows of {len(plain)} columns and {size} bytes are more than a table of ratings has"
    )


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
