"""MATLAB files of labels: what SciPy writes is read, and what claims too much is refused in one line."""

import struct
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from magiqa.datasets.matlab import read_mat
from magiqa.errors import UserError


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


def bomb(unpacked: int) -> bytes:
    """A compressed variable that unpacks to so many bytes."""
    body = zlib.compress(struct.pack("<II", 14, unpacked - 8) + bytes(unpacked - 8))
    return b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(body)) + body


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (bomb(64 << 20), "unpacks to more than any file of labels"),
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
