"""Names in a stranger's labels.csv: what leaves the root is refused, unless the user says so."""

import os

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from magiqa.datasets.check import check
from magiqa.datasets.folder import Folder
from magiqa.errors import UserError, one_line
from magiqa.features.images import find_images


def folder(tmp_path, *names: str, **more) -> Folder:
    root = tmp_path / "set"
    root.mkdir(exist_ok=True)
    rows = []
    for i in range(4):
        Image.new("RGB", (300, 300), (60 * i, 0, 0)).save(root / f"{i}.png")
        rows.append(f"{i}.png,{i}")
    rows += [f"{name},{5 + i}" for i, name in enumerate(names)]
    (root / "labels.csv").write_text("\n".join(["image,mos", *rows]) + "\n")
    return Folder(str(root), **more)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "~/x.jpg", "../secret.png", "a/../../secret.png", "./../set2/x.png", "/etc"]
)
def test_a_name_that_leads_out_of_the_root_is_refused_and_the_key_is_named(tmp_path, name):
    Image.new("RGB", (300, 300)).save(tmp_path / "secret.png")
    with pytest.raises(UserError, match=r"labels.csv: 1 names lead out .* add dataset.outside_root=true"):
        folder(tmp_path, name).load()


def test_who_says_so_has_names_that_lead_out_and_a_note_of_it(tmp_path):
    Image.new("RGB", (300, 300)).save(tmp_path / "secret.png")
    labels = folder(tmp_path, "../secret.png", str(tmp_path / "secret2.png"), outside_root=True).load()
    assert labels.table["path"].tolist()[4:] == [str(tmp_path / "secret.png"), ""]
    assert "outside_root: 2 names lead out of the root" in labels.warnings
    assert folder(tmp_path, outside_root=True).load().notes == ()


def test_absolute_names_and_links_inside_the_root_are_followed(tmp_path):
    (tmp_path / "store").mkdir()
    Image.new("RGB", (300, 300)).save(tmp_path / "store" / "x.png")
    (tmp_path / "alias").symlink_to(tmp_path / "set")
    made = folder(tmp_path, str(tmp_path / "set" / "5.png"), "linked/x.png", "one.png")
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "set" / "one.png").symlink_to(tmp_path / "store" / "x.png")
    for root in (made.root, str(tmp_path / "alias")):
        assert [bool(p) for p in Folder(root).load().table["path"]] == [True] * 4 + [False, True, True]


@pytest.mark.slow
def test_what_is_no_file_is_said_and_skipped_as_such(tmp_path):
    made = folder(tmp_path, "pipe.png", "dir.png", "dev.png", "loop.png", "gone.png")
    root = tmp_path / "set"
    os.mkfifo(root / "pipe.png")
    (root / "dir.png").mkdir()
    (root / "dev.png").symlink_to("/dev/zero")
    (root / "loop.png").symlink_to(root / "loop.png")
    report = check(made, progress=False)
    reasons = dict(report.unreadable)
    for name, words in (
        ("pipe", "named pipe"),
        ("dir", "folder"),
        ("dev", "device"),
        ("loop", "loop of links"),
    ):
        assert words in reasons[f"{name}.png"]
    assert report.missing == ("gone.png",)
    set_ = tiny.make(tmp_path / "tiny")
    (set_ / "set" / "03.png").unlink()
    os.mkfifo(set_ / "set" / "03.png")
    skipping = tiny.job(set_, "on_error=skip")
    (skipped,) = find_images(skipping, skipping.source.dataset.load()).skipped
    assert skipped["image"] == "03.png" and "is a named pipe" in skipped["reason"]


cells = st.text(max_size=12) | st.sampled_from(
    ["../x", "/etc/passwd", "0.png", "nan", "1e999", '"', "a\0b", "=1"]
)


@given(st.lists(st.lists(cells, min_size=1, max_size=3), max_size=6), st.binary(max_size=20))
@settings(max_examples=150, deadline=None)
@pytest.mark.slow
def test_any_labels_are_read_or_refused_in_one_line_and_name_nothing_outside(tmp_path_factory, rows, end):
    root = tmp_path_factory.mktemp("any")
    text = "image,mos\n" + "\n".join(",".join(row) for row in rows)
    (root / "labels.csv").write_bytes(text.encode("utf-8", "surrogatepass") + end)
    try:
        labels = Folder(str(root)).load()
    except UserError as error:
        assert "\n" not in one_line(error)
        return
    assert all(not path or path.startswith(f"{root}/") for path in labels.table["path"])
