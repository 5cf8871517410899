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


def hashed(tmp_path: Path, files: list[str], **options) -> HashIndex:
    index = HashIndex(tmp_path / "cache", tmp_path / "set", **options)
    found, failed = hash_files(files, "raise", index)
    assert found == [content_sha256(Path(f).read_bytes()) for f in files] and failed == {}
    return index


def counts(index: HashIndex) -> tuple[int, int]:
    return index.read, index.known


def test_a_second_time_reads_nothing_and_rehash_reads_all(tmp_path, files):
    assert counts(hashed(tmp_path, files)) == (6, 0)
    assert counts(hashed(tmp_path, files)) == (0, 6)
    assert counts(hashed(tmp_path, files, rehash=True)) == (6, 0)
    assert counts(hashed(tmp_path, [files[0], files[0]])) == (0, 1)


def rewritten(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


def rewritten_in_place_with_its_time(path: Path) -> None:
    stat = path.stat()
    with open(path, "r+b") as file:
        file.write(b"\xff")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replaced_with_its_time(path: Path) -> None:
    stat, other = path.stat(), path.with_suffix(".new")
    other.write_bytes(b"\xff" * stat.st_size)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [rewritten, rewritten_in_place_with_its_time, replaced_with_its_time])
def test_another_content_of_the_same_size_is_noticed(tmp_path, files, change):
    hashed(tmp_path, files)
    change(Path(files[2]))
    assert counts(hashed(tmp_path, files)) == (1, 5)


def test_a_file_that_changed_just_before_it_was_read_is_not_trusted(tmp_path, files, monkeypatch):
    monkeypatch.setattr(hashing, "RACY_NS", 10**15)
    hashed(tmp_path, files)
    assert counts(hashed(tmp_path, files)) == (6, 0)


def test_a_file_that_changes_while_it_is_read_is_not_trusted(tmp_path, files, monkeypatch):
    read = hashing.read_image

    def reading(path):
        data = read(path)
        if path == files[1]:
            rewritten(Path(path))
        return data

    monkeypatch.setattr(hashing, "read_image", reading)
    index = HashIndex(tmp_path / "cache", tmp_path / "set")
    hash_files(files, "raise", index)
    monkeypatch.setattr(hashing, "read_image", read)
    assert counts(hashed(tmp_path, files)) == (1, 5)


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-9], lambda d: d.replace(b"0.png", b"1.png"), lambda d: b"", lambda d: b"{}"]
)
def test_a_damaged_index_is_no_index(tmp_path, files, damage):
    index = hashed(tmp_path, files)
    (file,) = index.folder.glob("*.json")
    file.write_bytes(damage(file.read_bytes()))
    assert counts(hashed(tmp_path, files)) == (6, 0)


def test_a_cache_that_cannot_be_written_is_said_and_no_error(tmp_path, files):
    (tmp_path / "cache").write_text("in the way")
    index = hashed(tmp_path, files)
    assert index.warning is not None and "not remembered" in index.warning


def test_a_file_annotated_twice_belongs_to_one_part():
    paths = pd.Series(["a", "b", "a", "c", "d", "b"], index=[3, 4, 5, 7, 8, 9])
    assert list(paths[of_part(paths, "1/2")]) == ["a", "a", "c"]
    assert list(paths[of_part(paths, "2/2")]) == ["b", "d", "b"]
    assert list(paths[of_part(paths, None)]) == list(paths)
