"""Excel and MATLAB files: read as written; those that claim what no memory holds are refused in one line."""

import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
from mini_sets import spaq
from scipy.io import savemat

from magiqa.datasets.matlab import read_mat
from magiqa.datasets.spaq import Spaq
from magiqa.errors import UserError

NAME = "MOS and Image attribute scores.xlsx"
SHEET = "xl/worksheets/sheet1.xml"


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
    spaq(tmp_path, "scores.xlsx")
    with zipfile.ZipFile(tmp_path / "scores.xlsx") as opened:
        parts = {part: opened.read(part) for part in opened.namelist()}
    change(parts)
    (tmp_path / "Annotations").mkdir()
    with zipfile.ZipFile(tmp_path / "Annotations" / NAME, "w", zipfile.ZIP_DEFLATED) as written:
        for part, data in parts.items():
            written.writestr(part, data)
    started = time.monotonic()
    with pytest.raises(UserError, match=rf"scores.xlsx: cannot be read \({message}") as caught:
        Spaq(str(tmp_path)).load()
    assert "\n" not in str(caught.value) and time.monotonic() - started < 30


@pytest.mark.parametrize("compressed", [True, False])
def test_numbers_and_names_are_read_as_written(tmp_path, compressed):
    file = tmp_path / "a.mat"
    names = np.array([["t1.bmp"], ["größe.png"], ["3.JPG"]], dtype=object)
    values = {"names": names, "mos": np.array([[1.5, -2, 3]]), "few": np.array([[1, 2, 300]]), "s": {"x": 1}}
    savemat(file, values, do_compression=compressed)
    assert read_mat(file, "names").tolist() == ["t1.bmp", "größe.png", "3.JPG"]
    assert read_mat(file, "mos").tolist() == [1.5, -2, 3]
    assert read_mat(file, "few").tolist() == [1, 2, 300]
    assert read_mat(file, "s").tolist() == []
    with pytest.raises(UserError, match=r"a.mat: no variable other \(found names, mos, few, s\)"):
        read_mat(file, "other")


def packed(unpacked: int) -> bytes:
    """A compressed variable that unpacks to so many bytes."""
    body = zlib.compress(struct.pack("<II", 14, unpacked - 8) + bytes(unpacked - 8))
    return b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(body)) + body


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (packed(64 << 20), "unpacks to more than any file of labels"),
        (b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 14, 1 << 30), "cut short"),
        (b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, 4) + b"abcd", "incorrect header"),
        (
            b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, 11) + zlib.compress(b"abc"),
            "no variable",
        ),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "no MATLAB file of version 5"),
        (b"", "larger|no MATLAB"),
    ],
)
def test_what_is_no_file_of_labels_is_refused_in_one_line(tmp_path, content, reason):
    file = tmp_path / "a.mat"
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"a.mat: .*({reason})") as caught:
        read_mat(file, "mos")
    assert "\n" not in str(caught.value)
