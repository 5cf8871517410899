"""Each reader on a miniature set written as the set is distributed, its traps included; the check of a set."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from mini_sets import (
    BID_GRADES,
    FACTS,
    KADID_GRADES,
    KONIQ_RAW,
    KONIQ_SETS,
    LIVE_TYPES,
    MAKE,
    aigciqa2023,
    cells,
    csiq,
    folder,
    lines,
    livec,
    pipal,
    spaq,
    workbook,
)
from scipy.io import savemat

from magiqa.cli.main import main
from magiqa.datasets.base import fingerprint, sets
from magiqa.datasets.check import check, recognize, render
from magiqa.datasets.folder import Folder
from magiqa.datasets.image_index import ImageIndex
from magiqa.errors import UserError
from magiqa.images.views import Resize


@pytest.fixture(autouse=True)
def _small_live(monkeypatch):
    monkeypatch.setattr("magiqa.datasets.live.TYPES", LIVE_TYPES)


def load(name: str, root: Path, **options):
    """Labels of the miniature of a set, made first where it is not there."""
    if not root.is_dir() or not any(root.iterdir()):
        MAKE[name](root)
    return sets()[name](root=str(root), **options).load()


def refused(message: str, name: str, root: Path, **options) -> None:
    """Check that a reader refuses a set in one line that holds these words."""
    with pytest.raises(UserError, match=message) as caught:
        load(name, root, **options)
    assert "\n" not in str(caught.value)


# --- what all readers share -----------------------------------------------------------------------------------------


def test_every_packaged_reader_is_tested_here():
    assert set(MAKE) == set(FACTS) == set(sets(on_disk=True))


@pytest.mark.parametrize("name", MAKE)
def test_every_reader_finds_all_images_and_says_what_it_expected(name, tmp_path):
    labels = load(name, tmp_path)
    expected, annotation = FACTS[name]
    assert (labels.name, labels.expected) == (name, expected)
    assert all(Path(p).is_absolute() and Path(p).is_file() for p in labels.table["path"])
    assert labels.table["mos"].dtype == np.float64
    assert labels.cluster is None or labels.cluster in labels.table
    assert f"{len(labels.table)} annotated images, where {expected} were published" in labels.notes
    assert recognize(str(tmp_path))[0][0] == name
    Path(labels.table["path"].iloc[-1]).unlink()
    table = load(name, tmp_path).table  # a missing image keeps its row
    assert list(table["path"]) == [*labels.table["path"][:-1], ""]
    (tmp_path / annotation).unlink()
    named = tmp_path.rename(tmp_path.parent / sets()[name].folder)
    assert sets()[name].title in dict(recognize(str(named)))[name]


@pytest.mark.parametrize("name", MAKE)
def test_what_is_missing_empty_or_damaged_is_named(name, tmp_path):
    reader = sets()[name]
    with pytest.raises(
        UserError,
        match=rf"dataset.root={tmp_path}/gone: no such folder; get the set from http.*{reader.folder}/",
    ):
        reader(root=str(tmp_path / "gone")).load()
    with pytest.raises(
        UserError, match=r"^\S+: annotation files? \S.* (is|are) missing; put (it|them) there"
    ):
        reader(root=str(tmp_path)).load()
    MAKE[name](tmp_path)
    file = tmp_path / FACTS[name][1]
    for content, reason in (
        (b"", "the annotation file is empty; fetch it again"),
        (b"\x00\xff\xfe\n\n", ".+"),
    ):
        file.write_bytes(content)
        refused(rf"^{re.escape(str(file))}: {reason}", name, tmp_path)


# of each set and variant: its name, its published number of images, and columns
LABELS = {
    "koniq": ({}, "", 10073, {"mos": [3.83, 2.5, 1.25, 4.5, 3.0, 2.0], "mos_std": [0.5] * 6,
              "split": ["training", "test", "test", "validation", "test", "training"], "ratings": [105] * 6}),
    "koniq test": ({"split": "test", "mos": "zscore", "size": "512x384"}, "test_512", 2015,
                   {"image": ["14.jpg", "12.jpg", "11.jpg"], "mos": [60, 25, 50]}),
    "livec": ({}, "", 1162, {"image": ["3.bmp", "4.bmp", "5.JPG", "t8.bmp"], "mos": [63, 72, 81, 90]}),
    "livec practice": ({"practice": True}, "practice", 1169, {"mos": list(range(0, 99, 9))}),
    "spaq": ({"resize": Resize("squash", 448)}, "", 11125, {"mos": [11.5, 23, 34.5, 46]}),
    "spaq native": ({}, "native", 11125, {}),
    "spaq 512": ({"resize": Resize("short_side", 512)}, "512", 11125, {}),
    "spaq 448short": ({"resize": Resize("short_side", 448, "bilinear")}, "448short", 11125, {}),
    "agiqa3k": ({}, "", 2982, {"group": ["AttnGAN_normal", "AttnGAN_normal", "sd1.5_lowstep", "DALLE2_normal"],
                "prompt": ["a a, old", "a b, old"] * 2, "mos_std": [0.1, 0.2, 0.3, 0.4]}),
    "agiqa3k align": ({"label_column": "mos_align"}, "align", 2982, {"mos": [4, 3, 2, 1]}),
    "agiqa1k": ({}, "", 1080, {"mos": [1, 0.441, 3, 2.084, 4],
                "group": ["dreamStudio", "dreamStudio", "SD2", "dreamStudio", "SD2"]}),
    "agiqa1k drop": ({"duplicate": "drop"}, "duplicate_drop", 1078, {"mos": [1, 3, 4]}),
    "kadid10k": ({}, "", 10125, {"mos": [137 / 30, 1.2, 3], "level": [1, 5, 3],
                 "reference": ["I01.png", "I01.png", "I02.png"],
                 "group": ["gaussian blur", "contrast change", "jpeg"], "mos_std": [np.std(g) for g in KADID_GRADES],
                 "ratings": [30] * 3}),
    "tid2013": ({}, "", 3000, {"mos": [5.51429, 4.2, 3.1], "reference": ["I01", "I25", "I01"],
                "mos_std": [0.1, 0.2, 0.3],
                "group": ["additive gaussian noise", "gaussian blur", "sparse sampling and reconstruction"]}),
    "csiq": ({}, "", 866, {"image": ["artisanal.AWGN.1.png", "1600.jpeg2000.3.png", "1600.BLUR.5.png"],
             "mos": [-0.0623, -0.5, -0.9], "reference": ["artisanal", "1600", "1600"],
             "group": ["noise", "jpeg 2000", "blur"]}),
    "pipal": ({}, "train", 23200, {"mos": [1520.0648, 1400.5, 1300.25], "group": ["type 00", "type 04", "type 06"],
              "reference": ["A0001", "A0001", "A0002"], "level": [0, 11, 3]}),
    "tid2008": ({}, "", 1700, {"mos": [5.9706, 4.2, 3.1], "mos_std": [0.10593, 0.2, 0.3], "level": [1, 4, 2]}),
    "live": ({}, "", 779, {"image": ["jp2k/img1.bmp", "jp2k/img3.bmp", "jpeg/img1.bmp", "jpeg/img2.bmp"],
             "mos": [-15.5, -70, 2.6, -50], "mos_std": [4, 5, 6, 7], "reference": [f"{c}.bmp" for c in "abab"]}),
    "live original": ({"dmos": "original"}, "original", 779, {"mos": [-28, -50, -20, -60]}),
    "livemd": ({}, "", 450, {"mos": [-21.5, -60, -24.5, -60], "reference": ["baby", "palace"] * 2,
               "group": ["blurjpeg"] * 2 + ["blurnoise"] * 2}),
    "flive": ({}, "", 39810, {"mos": [70, 71, 72, 73], "group": ["blur_dataset", *["voc_emotic_ava"] * 2, "EE371R"]}),
    "flive test": ({"split": "test"}, "test", 1827, {"mos": [71, 72, 73]}),
    "uhdiqa test": ({"split": "test"}, "test", 900, {"image": ["3.jpg", "4.jpg", "5.jpg"]}),
    "bid": ({}, "", 586, {"mos": [np.mean(g) for g in BID_GRADES.values()],
            "mos_std": [np.std(g, ddof=1) for g in BID_GRADES.values()], "ratings": [3] * 3}),
    "aigiqa20k": ({}, "", 20000, {"group": ["LCM_SDXL", "DALLE2", "MJ", "IF", "MJ", "MJ"]}),
    "aigiqa20k test": ({"split": "test"}, "test", 4000, {"image": ["IF_2.png", "MJ_3.png", "MJ_4.png"]}),
    "aigciqa2023 authenticity": ({"mos": "authenticity"}, "authenticity", 2400, {"mos": [41, 2, 70],
        "image": ["Lafite/042-2.png", "Lafite/000-1.png", "Glide/042-2.png"], "prompt": ["042", "000", "042"]}),
}  # fmt: skip


@pytest.mark.parametrize("case", LABELS)
def test_labels_of_every_variant(case, tmp_path):
    options, variant, expected, columns = LABELS[case]
    labels = load(case.partition(" ")[0], tmp_path, **options)
    assert (labels.variant, labels.expected) == (variant, expected)
    assert all(labels.table["path"])
    for column, values in columns.items():
        exact = isinstance(values[0], str)
        assert list(labels.table[column]) == (values if exact else pytest.approx(values)), column


NOTES = {
    "koniq": ("mos: raw MOS, column MOS of koniq10k_scores_and_distributions.csv", {}),
    "livec": ("7 practice images left out", {}),
    "kadid10k": ("dmos is higher = better despite its name: taken as it is", {}),
    "csiq": ("dmos is lower = better: mos = -dmos", {}),
    "live": ("labels: dmos_new of dmos_realigned.mat; 1 references left out", {}),
    "agiqa3k": ("mos is mos_align: fit to the prompt, not quality", {"label_column": "mos_align"}),
    "agiqa1k": ("annotated twice and left out: dreamStudio_8_9_1_1.jpg", {"duplicate": "drop"}),
}


def test_uhdiqa_tells_views_time_and_memory(tmp_path):
    (effort,) = load("uhdiqa", tmp_path, split="test").warnings
    assert "1,380 in all" in effort and "hours of one CPU core" in effort and "GB of memory" in effort


@pytest.mark.parametrize("name", NOTES)
def test_traps_are_told_in_a_note(name, tmp_path):
    note, options = NOTES[name]
    assert note in load(name, tmp_path, **options).notes


def test_every_takes_rows_after_the_split_and_says_so(tmp_path):
    split = {"split": "test", "mos": "zscore"}
    assert load("koniq", tmp_path, **split).annotated == 3
    refused(
        r"2 images are too few \(dataset.every=2 of 3\), agreement needs at least 3",
        "koniq",
        tmp_path,
        **split,
        every=2,
    )
    labels = load("koniq", tmp_path, every=2)
    assert list(labels.table["image"]) == ["10.jpg", "12.jpg", "14.jpg"]
    assert (labels.every, labels.annotated, labels.expected) == (2, 6, 10073)
    assert "one row in 2: 3 of 6" in labels.notes


def test_the_fingerprint_follows_names_and_labels_only(tmp_path):
    folder(tmp_path / "a")
    folder(tmp_path / "b")
    first = fingerprint(Folder(root=str(tmp_path / "a")).load())
    assert first == fingerprint(Folder(root=str(tmp_path / "b")).load())
    text = (tmp_path / "b" / "labels.csv").read_text()
    (tmp_path / "b" / "labels.csv").write_text(text.replace("4.5", "4.5000001"))
    assert first != fingerprint(Folder(root=str(tmp_path / "b")).load())
    assert first != fingerprint(Folder(root=str(tmp_path / "a"), higher_is_better=False).load())


# --- layouts, and what does not belong together ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "more"),
    [
        (livec, ("images",)),
        (spaq, ("MOS_and_Image_attribute_scores.xlsx", "Dataset/TestImage")),
        (spaq, ("Annotations/mos and image attribute scores.xlsx", "Dataset")),
        (csiq, (("AWGN", "BLUR", "JPEG2000"),)),
        (pipal, (("Train_Dist",) * 3,)),
        (aigciqa2023, (True,)),
    ],
)
def test_other_layouts_in_circulation(make, more, tmp_path):
    make(tmp_path, *more)
    assert all(load(make.__name__, tmp_path).table["path"])


def test_koniq_refuses_the_wrong_file_and_the_wrong_images(tmp_path):
    load("koniq", tmp_path)
    raw, zscored = tmp_path / KONIQ_RAW, tmp_path / KONIQ_SETS
    texts = raw.read_text(), zscored.read_text()
    raw.write_text(texts[1])
    refused("reaches 90, so it is no raw MOS of 1-5; .* or use dataset.mos=zscore", "koniq", tmp_path)
    zscored.write_text(texts[0])
    words = "reaches 4.5, so it is no z-scored MOS of 1-100; .* use dataset.mos=raw"
    refused(words, "koniq", tmp_path, mos="zscore")
    zscored.unlink()
    raw.write_text(texts[0])
    shutil.rmtree(tmp_path / "1024x768")
    (tmp_path / "512x384").rename(tmp_path / "images")
    refused(r"images/10.jpg: 512x384, not dataset.size=1024x768", "koniq", tmp_path)
    assert all(load("koniq", tmp_path, size="512x384").table["path"])


APART = {
    "livec": (lambda r: savemat(r / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.arange(10.0)}),
              "10 AllMOS_release, expected 11; fetch the files again"),
    "live": (lambda r: savemat(r / "refnames_all.mat", {"refnames_all": cells("a.bmp")}),
             "1 refnames_all, expected 5; fetch the files again"),
    "tid2013": (lambda r: lines(r / "mos_std.txt", "0.1"), "mos_std.txt: 1 deviations for 3 images; fetch it again"),
    "kadid10k": (lambda r: lines(r / "dmos.csv", "dist_img,ref_img,dmos,var", "I01_26_05.png,I01.png,4,0.5"),
                 r"dmos.csv: 'I01_26_05.png' is not of the form I01_TT_LL.png"),
    "pipal": (lambda r: lines(r / "Train_Label" / "A0201.txt", "A0201_00_00.bmp,0.6213"),
              "A0201_00_00.bmp is 0.6213, not an Elo .* keep Train_Label only"),
    "csiq": (lambda r: shutil.copytree(r / "dst_imgs" / "awgn", r / "dst_imgs" / "copy"),
             r"artisanal.AWGN.1.png: could be \S+ or \S+; keep one of them"),
    "bid": (lambda r: (r / "DatabaseGrades.xlsx").rename(r / "DatabaseGrades.xls"),
            "old Excel file; save it as DatabaseGrades.xlsx"),
    "agiqa1k": (lambda r: workbook(r / "AIGC_MOS_Zscore.xlsx",
                                   [["Image", "Prompt", "MOS"], ["a.jpg", "a", 1], ["b.jpg", "a", ""]]),
                "column MOS holds nan in row 2, which is no finite number"),
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_files_that_do_not_belong_together_are_named(name, tmp_path):
    change, message = APART[name]
    load(name, tmp_path)
    change(tmp_path)
    refused(message, name, tmp_path)


def test_agiqa3k_as_distributed(real_data):
    labels = sets()["agiqa3k"](root=str(real_data / "datasets" / "AGIQA-3K")).load()
    counts = labels.table["group"].value_counts()
    assert len(labels.table) == labels.expected == 2982
    assert len(counts) == 10 and counts.between(290, 300).all()
    assert labels.table["mos"].between(0, 4.49).all() and labels.table["mos"].max() > 4.4
    assert all(labels.table["path"]) and labels.table["prompt"].nunique() == 300
    assert labels.notes == ()


# --- the check, the list of sets ------------------------------------------------------------------------------------


def test_check_names_what_is_wrong(tmp_path):
    folder(tmp_path)
    assert render(check(Folder(root=str(tmp_path), group_column="kind"))).endswith("\nusable")
    (tmp_path / "a.png").unlink()
    (tmp_path / "c.png").write_bytes((tmp_path / "c.png").read_bytes()[:60])  # opens, but does not decode
    shutil.copy(tmp_path / "d.png", tmp_path / "sub" / "b.png")
    report = check(Folder(root=str(tmp_path), higher_is_better=False))
    assert not report.usable and render(report).endswith("\nNOT usable as it is")
    assert "1 images are missing: a.png" in report.problems[0] and "c.png" in report.problems[1]
    assert "more than one name: sub/b.png=d.png" in report.warnings[0]
    assert report.warnings[1].startswith("2 images have a side under 224")
    assert "lower = better as distributed, negated by the reader" in render(report)


def test_check_of_a_published_set(tmp_path):
    spaq(tmp_path)
    report = check(sets()["spaq"](root=str(tmp_path), resize=Resize("squash", 448)))
    assert any(line.startswith("4 annotated images, where 11125 were published") for line in report.problems)
    assert report.warnings == ()  # none is small after the protocol's resize


def test_the_list_of_sets_says_counts_pages_and_which_are_here(tmp_path, monkeypatch, capsys):
    load("agiqa3k", tmp_path / "AGIQA-3K")
    monkeypatch.setenv("MAGIQA_DATA", str(tmp_path))
    assert main(["datasets"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name} " in out and reader.page in out for name, reader in sets(on_disk=True).items())
    assert "koniq        KonIQ-10k    10,073  higher  training 7,058, validation 1,000, test 2,015" in out
    assert f"agiqa3k      {tmp_path}/AGIQA-3K" in out and "live         LIVE" in out
    assert main(["check", str(tmp_path / "AGIQA-3K")]) == 2
    assert "AGIQA-3K: 4 of 2982 images annotated, 4 there" in capsys.readouterr().out
    assert main(["check", str(tmp_path)]) == 2
    assert (
        "looks like no known set; for a table of ratings: magiqa check dataset=folder"
        in capsys.readouterr().out
    )


def test_names_that_differ_in_case_only_are_never_guessed(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "A.png").touch()
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system does not tell case")
    assert ImageIndex([tmp_path]).find("A.png") == str(tmp_path / "A.png")
    with pytest.raises(UserError, match=r"a.PNG: could be \S+/A.png or \S+/a.png; keep one of them"):
        ImageIndex([tmp_path]).find("a.PNG")
