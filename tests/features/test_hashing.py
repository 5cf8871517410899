"""The index of hashes: every byte read once, every change noticed, writers side by side lose nothing."""

import os
from pathlib import Path

import pandas as pd
import pytest

from magiqa.features import images as hashing
from magiqa.features.images import HashIndex, content_sha256, hash_files, of_part


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Six files that came to rest long ago, as the index sees it."""
    monkeypatch.setattr(hashing, "RACY_NS", 0)
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.png").write_bytes(bytes([i]) * (100 + i))
    return [str(folder / f"{i}.png") for i in range(6)]


def hashed(tmp_path: Path, files: list[str], **options) -> tuple[int, int]:
    """Count the files that were read, and those that were known."""
    index = HashIndex(tmp_path / "cache", tmp_path / "set", **options)
    hashes, failed = hash_files(files, "raise", index)
    assert hashes == [content_sha256(Path(f).read_bytes()) for f in files] and failed == {}
    return index.read, index.known


def test_a_second_time_reads_nothing_and_rehash_reads_all(tmp_path, files):
    assert hashed(tmp_path, files) == (6, 0)
    assert hashed(tmp_path, files) == (0, 6)
    assert hashed(tmp_path, files, rehash=True) == (6, 0)
    assert hashed(tmp_path, [files[0], files[0]]) == (0, 1)


def rewrite(path: str, new: str) -> None:
    """Give a file another content of the same size and time, in place or by the new file."""
    stat = os.stat(path)
    Path(new).write_bytes(b"\xff" * stat.st_size)
    os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(new, path)


@pytest.mark.parametrize("suffix", ["", ".new"])
def test_another_content_of_the_same_size_and_time_is_noticed(tmp_path, files, suffix):
    hashed(tmp_path, files)
    rewrite(files[2], files[2] + suffix)
    assert hashed(tmp_path, files) == (1, 5)


def test_a_file_that_changed_just_before_it_was_read_is_not_trusted(tmp_path, files, monkeypatch):
    monkeypatch.setattr(hashing, "RACY_NS", 10**15)
    hashed(tmp_path, files)
    assert hashed(tmp_path, files) == (6, 0)


def test_a_file_that_changes_while_it_is_read_is_not_trusted(tmp_path, files, monkeypatch):
    read = hashing.read_image

    def reading(path):
        data = read(path)
        if path == files[1]:
            rewrite(path, path)
        return data

    monkeypatch.setattr(hashing, "read_image", reading)
    index = HashIndex(tmp_path / "cache", tmp_path / "set")
    hash_files(files, "raise", index)
    monkeypatch.setattr(hashing, "read_image", read)
    assert hashed(tmp_path, files) == (1, 5)


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-9], lambda d: d.replace(b"0.png", b"1.png"), lambda d: b"", lambda d: b"{}"]
)
def test_a_damaged_index_is_no_index(tmp_path, files, damage):
    hashed(tmp_path, files)
    (file,) = (tmp_path / "cache" / "hashes").glob("*/*.json")
    file.write_bytes(damage(file.read_bytes()))
    assert hashed(tmp_path, files) == (6, 0)


def test_a_cache_that_cannot_be_written_is_said_and_no_error(tmp_path, files):
    (tmp_path / "cache").write_text("in the way")
    index = HashIndex(tmp_path / "cache", tmp_path / "set")
    hash_files(files, "raise", index)
    assert index.warning is not None and "not remembered" in index.warning


def test_a_file_annotated_twice_belongs_to_one_part():
    paths = pd.Series(["a", "b", "a", "c", "d", "b"], index=[3, 4, 5, 7, 8, 9])
    assert list(paths[of_part(paths, "1/2")]) == ["a", "a", "c"]
    assert list(paths[of_part(paths, "2/2")]) == ["b", "d", "b"]
    assert list(paths[of_part(paths, None)]) == list(paths)
