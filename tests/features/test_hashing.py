"""The index of hashes: every byte read once, every change noticed, writers side by side lose nothing."""

import json
import os
import threading
from pathlib import Path

import pandas as pd
import pytest
import tiny
from PIL import Image

from magiqa.features import hashing
from magiqa.features.cache_upkeep import hashes, prune
from magiqa.features.hashing import HashIndex, content_sha256, hash_files
from magiqa.features.images import of_part
from magiqa.features.source import prepare
from magiqa.images.decode import Limits
from magiqa.runs.provenance import Clock


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


def counts(index: HashIndex) -> tuple[int, int, int]:
    return index.read, index.known, index.bytes


def test_a_second_time_reads_nothing_and_rehash_reads_all(tmp_path, files):
    size = sum(os.path.getsize(f) for f in files)
    assert counts(hashed(tmp_path, files)) == (6, 0, size)
    assert counts(hashed(tmp_path, files)) == (0, 6, 0)
    assert counts(hashed(tmp_path, files, rehash=True)) == (6, 0, size)
    assert counts(hashed(tmp_path, [files[0], files[0]])) == (0, 1, 0)


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
    assert counts(hashed(tmp_path, files)) == (1, 5, os.path.getsize(files[2]))


def test_a_file_that_changed_just_before_it_was_read_is_not_trusted(tmp_path, files, monkeypatch):
    monkeypatch.setattr(hashing, "RACY_NS", 10**15)
    hashed(tmp_path, files)
    assert counts(hashed(tmp_path, files))[:2] == (6, 0)


def test_the_clock_of_the_disk_counts_where_it_is_behind(tmp_path, files, monkeypatch):
    monkeypatch.setattr(hashing, "RACY_NS", 2 * 10**9)
    now = hashing.time.time_ns
    monkeypatch.setattr(
        hashing.time, "time_ns", lambda: now() + 3600 * 10**9
    )  # this machine's is an hour ahead
    hashed(tmp_path, files)
    assert counts(hashed(tmp_path, files))[:2] == (6, 0)


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
    assert counts(hashed(tmp_path, files))[:2] == (1, 5)


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-9], lambda d: d.replace(b"0.png", b"1.png"), lambda d: b"", lambda d: b"{}"]
)
def test_a_damaged_index_is_no_index(tmp_path, files, damage):
    index = hashed(tmp_path, files)
    (file,) = index.folder.glob("*.json")
    file.write_bytes(damage(file.read_bytes()))
    assert counts(hashed(tmp_path, files))[:2] == (6, 0)


@pytest.mark.slow
def test_writers_side_by_side_lose_nothing_and_many_files_become_one(tmp_path, files):
    folder = tmp_path / "set"
    many = [str(folder / f"many-{i}.png") for i in range(200)]
    for i, path in enumerate(many):
        Path(path).write_bytes(i.to_bytes(4, "big"))
    threads = [
        threading.Thread(target=lambda part=i: [hashed(tmp_path, [f]) for f in many[part::5]])
        for i in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts(hashed(tmp_path, many))[:2] == (0, 200)
    hashed(tmp_path, files)
    assert len(list(HashIndex(tmp_path / "cache", folder).folder.glob("*"))) <= hashing.MOST_FILES + 5


def test_an_interrupted_command_keeps_what_it_read(tmp_path, files, monkeypatch):
    read = hashing.read_image

    def stopping(path):
        if path == files[5]:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(hashing, "read_image", stopping)
    with pytest.raises(KeyboardInterrupt):
        hash_files(files, "raise", HashIndex(tmp_path / "cache", tmp_path / "set"))
    monkeypatch.setattr(hashing, "read_image", read)
    assert counts(hashed(tmp_path, files))[:2] == (1, 5)


def test_a_cache_that_cannot_be_written_is_said_and_no_error(tmp_path, files):
    (tmp_path / "cache").write_text("in the way")
    index = hashed(tmp_path, files)
    assert index.warning is not None and "not remembered" in index.warning


def test_the_index_is_listed_and_goes_with_prune_all(tmp_path, files):
    hashed(tmp_path, files)
    assert hashes(tmp_path / "cache").startswith("hashes of images: 1 roots, 0.0 MB")
    assert prune(tmp_path / "cache", "corrupt") == (0, 0)
    assert prune(tmp_path / "cache", "all")[0] == 1
    assert counts(hashed(tmp_path, files))[:2] == (6, 0)


@pytest.mark.slow
def test_parts_read_every_byte_once_in_all(tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "RACY_NS", 0)
    folder = tiny.make(tmp_path)
    size = sum(f.stat().st_size for f in (folder / "set").glob("*.png"))
    parts = [prepare(tiny.job(folder, f"part={i}/8"), Clock(), progress=False) for i in range(1, 9)]
    found = [part.record["cache"]["hashes"] for part in parts]
    assert sum(f["bytes"] for f in found) == size and sum(f["read"] for f in found) == tiny.N
    assert sorted(i for part in parts for i in set(part.images)) == sorted(
        set().union(*(p.images for p in parts))
    )
    whole = prepare(tiny.job(folder), Clock(), progress=False)
    assert whole.record["cache"] | {"made_by": 0, "key": 0} == {
        "key": 0,
        "images_cached": tiny.N,
        "views_encoded": 0,
        "made_by": 0,
        "hashes": {"read": 0, "bytes": 0, "known": tiny.N},
    }
    again = prepare(tiny.job(folder).having(rehash=True), Clock(), progress=False)
    assert again.record["cache"]["hashes"]["read"] == tiny.N
    assert json.dumps(again.images) == json.dumps(whole.images)


def test_a_file_annotated_twice_belongs_to_one_part():
    paths = pd.Series(["a", "b", "a", "c", "d", "b"], index=[3, 4, 5, 7, 8, 9])
    assert list(paths[of_part(paths, "1/2")]) == ["a", "a", "c"]
    assert list(paths[of_part(paths, "2/2")]) == ["b", "d", "b"]
    assert list(paths[of_part(paths, None)]) == list(paths)


def test_what_an_option_changes_is_remembered_without_reading_again(tmp_path):
    (tmp_path / "set").mkdir()
    file = tmp_path / "set" / "clear.png"
    Image.new("RGBA", (30, 20), (9, 9, 9, 0)).save(file)
    os.utime(file, ns=(1, 1))
    plain = content_sha256(file.read_bytes())
    found = []
    for limits in (Limits(), Limits(alpha="white"), Limits()):
        index = HashIndex(tmp_path / "cache", tmp_path / "set", limits=limits)
        found.append(hash_files([str(file)], "raise", index)[0][0])
        assert index.traits == {"alpha": 1}
    assert found[0] == found[2] == plain != found[1]
