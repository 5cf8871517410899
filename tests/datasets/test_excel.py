"""Excel files of a few kilobytes that claim what no memory holds: one line, at once."""

import io
import time
import zipfile

import pandas as pd
import pytest

from magiqa.datasets.spaq import Spaq
from magiqa.errors import UserError

NAME = "MOS and Image attribute scores.xlsx"
SHEET = "xl/worksheets/sheet1.xml"


def workbook(change=lambda parts: None) -> bytes:
    """A sheet of four rated images, with a change of its parts."""
    plain = io.BytesIO()
    pd.DataFrame({"Image name": [f"{i}.jpg" for i in range(4)], "MOS": [1.0, 2, 3, 4]}).to_excel(
        plain, index=False
    )
    with zipfile.ZipFile(plain) as opened:
        parts = {name: opened.read(name) for name in opened.namelist()}
    change(parts)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as written:
        for name, data in parts.items():
            written.writestr(name, data)
    return out.getvalue()


def rows(parts, xml: bytes) -> None:
    parts[SHEET] = parts[SHEET].replace(b"</sheetData>", xml + b"</sheetData>")


def entities(parts) -> None:
    lines = b'<!ENTITY a0 "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY a%d "%s">' % (i + 1, b"&a%d;" % i * 10) for i in range(9)
    )
    parts[SHEET] = b"<!DOCTYPE x [" + lines + b"]>" + parts[SHEET].partition(b"?>")[2]


def hidden(parts) -> None:
    """Far columns in small letters, in a sheet of another suffix."""
    rows(parts, b'<row r="90000"><c r="xfd90000"><v>1</v></c></row>')
    parts["xl/worksheets/s.dat"] = parts.pop(SHEET)
    for name in ("xl/_rels/workbook.xml.rels", "[Content_Types].xml"):
        parts[name] = parts[name].replace(b"worksheets/sheet1.xml", b"worksheets/s.dat")


def shared(parts) -> None:
    """One text of a million letters for a hundred cells."""
    part = b'<Override PartName="/xl/sharedStrings.xml" ContentType="%s.sharedStrings+xml"/></Types>'
    part %= b"application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts["[Content_Types].xml"] = parts["[Content_Types].xml"].replace(b"</Types>", part)
    space = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    parts["xl/sharedStrings.xml"] = b'<sst xmlns="%s"><si><t>%s</t></si></sst>' % (space, b"a" * 10**6)
    rows(parts, b"".join(b'<row r="%d"><c r="A%d" t="s"><v>0</v></c></row>' % (i, i) for i in range(6, 106)))


BOMBS = {
    "a hidden sheet": (hidden, "its sheets span more cells"),
    "one long text": (shared, "its sheets span more cells or letters"),
    "zeros": (lambda p: p.update({"xl/media.bin": b"\0" * (65 << 20)}), r"it unpacks to \d+ bytes"),
    "a far row": (lambda p: rows(p, b'<row r="99999999999"/>'), "its sheets span more cells"),
    "far columns": (
        lambda p: rows(p, b"".join(b'<row r="%d"><c r="ZZZ%d"><v>1</v></c></row>' % (i, i) for i in range(6, 2000))),
        "its sheets span more cells",
    ),
    "entities": (entities, "it declares a document type"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_one_line_at_once(tmp_path, name):
    change, message = BOMBS[name]
    (tmp_path / NAME).write_bytes(workbook(change))
    started = time.monotonic()
    with pytest.raises(UserError, match=rf"scores.xlsx: cannot be read \({message}") as caught:
        Spaq(str(tmp_path)).load()
    assert "\n" not in str(caught.value) and time.monotonic() - started < 30
