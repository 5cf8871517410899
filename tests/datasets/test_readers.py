"""Each reader on a miniature set written as the set is distributed, its traps included; the check of a set."""

import re
import shutil
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from PIL import Image
from scipy.io import savemat

from magiqa.cli.main import main
from magiqa.datasets.agiqa1k import Agiqa1k
from magiqa.datasets.agiqa3k import Agiqa3k
from magiqa.datasets.base import fingerprint
from magiqa.datasets.check import check, recognize, render
from magiqa.datasets.csiq import Csiq
from magiqa.datasets.folder import Folder
from magiqa.datasets.image_index import ImageIndex
from magiqa.datasets.kadid10k import Kadid10k
from magiqa.datasets.koniq import Koniq
from magiqa.datasets.livec import Livec
from magiqa.datasets.pipal import Pipal
from magiqa.datasets.sets import sets
from magiqa.datasets.spaq import Spaq
from magiqa.datasets.tid2013 import Tid2013
from magiqa.errors import UserError
from magiqa.images.views import Resize

NO_NUMBER = ", which is no finite number; mend or remove the row"
KONIQ_RAW, KONIQ_SETS = "koniq10k_scores_and_distributions.csv", "koniq10k_distributions_sets.csv"


def picture(path: Path, size: tuple[int, int] = (32, 24)) -> None:
    """A flat image whose color comes from its path, so that no two are the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, tuple(np.random.default_rng(list(str(path).encode())).integers(0, 256, 3))).save(
        path
    )


def workbook(path: Path, rows: list[list], sheet: str = "Sheet1") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    book.active.title = sheet
    for row in rows:
        book.active.append(row)
    book.save(path)


def lines(path: Path, *text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in text))


def raises(message: str):
    """The whole message, which takes one line."""
    assert "\n" not in message
    return pytest.raises(UserError, match=f"^{re.escape(message)}$")


# --- miniature sets -------------------------------------------------------------------------------------------------


def koniq(root: Path) -> None:
    names = [f"{i}.jpg" for i in range(10, 16)]
    raw = [3.83, 2.5, 1.25, 4.5, 3.0, 2.0]
    sets = ["training", "test", "test", "validation", "test", "training"]
    lines(
        root / KONIQ_RAW,
        '"image_name","c1","c2","c3","c4","c5","c_total","MOS","SD","MOS_zscore"',
        *(f'"{n}",0,0,25,73,7,105,{m},0.5,{20 * m}' for n, m in zip(names, raw, strict=True)),
    )
    lines(  # in another order, so that only a join by name gives the right split
        root / KONIQ_SETS,
        "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set",
        *(
            f"{n},0,0,25,73,7,105,{20 * m},0.5,{s}"
            for n, m, s in list(zip(names, raw, sets, strict=True))[::-1]
        ),
    )
    for name in names:
        picture(root / "1024x768" / name, (1024, 768))
        picture(root / "512x384" / name, (512, 384))


def livec(root: Path, images: str = "Images") -> None:
    names = [f"t{i}.bmp" for i in range(1, 8)] + ["3.bmp", "4.bmp", "5.JPG", "t8.bmp"]
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    (root / "Data").mkdir(parents=True)
    savemat(root / "Data" / "AllImages_release.mat", {"AllImages_release": cells})
    savemat(root / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.arange(11.0)[None] * 9})
    savemat(root / "Data" / "AllStdDev_release.mat", {"AllStdDev_release": np.full((1, 11), 18.5)})
    for i, name in enumerate(names):
        picture(root / images / ("trainingImages" if i < 7 else "") / name)


def spaq(
    root: Path, file: str = "Annotations/MOS and Image attribute scores.xlsx", images: str = "TestImage"
) -> None:
    head = ["Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness"]
    workbook(root / file, [head, *([f"0000{i}.jpg", 11.5 * i, 1, 2, 3, 4, 5] for i in range(1, 5))])
    for i in range(1, 5):
        picture(root / images / f"0000{i}.jpg")


def agiqa3k(root: Path) -> None:
    names = [
        "AttnGAN_normal_000.jpg",
        "AttnGAN_normal_001.jpg",
        "sd1.5_lowstep_000.jpg",
        "DALLE2_normal_010.jpg",
    ]
    lines(
        root / "data.csv",
        "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align",
        *(
            f'{n},"a {p}, old",,,,{i + 0.5},0.{i + 1},{4 - i},0.5'
            for i, (n, p) in enumerate(zip(names, "abab", strict=True))
        ),
    )
    for name in names:
        picture(root / name)


def agiqa1k(root: Path) -> None:
    rows = [
        ["dreamStudio_8_9_1_0.jpg", "a cat", 1.0],
        ["dreamStudio_8_9_1_1.jpg", "a cat", 0.441],
        ["SD2_0_0_0_0.jpg", "a dog", 3.0],
        ["dreamStudio_8_9_1_1.jpg", "a cat", 2.084],
        ["SD2_0_0_0_1.jpg", "a dog", 4.0],
    ]
    workbook(root / "AIGC_MOS_Zscore.xlsx", [["Image", "Prompt", "MOS"], *rows])
    lines(root / "AIGC_all.csv", "Image,Score", *(f"{name},9" for name, *_ in rows))
    for name, *_ in rows:
        picture(root / "file" / name)
    picture(root / "file" / "dreamStudio_8_5_0_0.jpg")  # in the folder, not in the list


# thirty grades an image, whose mean and standard deviation the set calls dmos and var
KADID_GRADES = ([5] * 20 + [4] * 7 + [3] * 3, [1] * 24 + [2] * 6, [3] * 30)


def kadid10k(root: Path) -> None:
    names = ["I01_01_01.png", "I01_25_05.png", "I02_10_03.png"]
    lines(
        root / "dmos.csv",
        "dist_img,ref_img,dmos,var",
        *(f"{n},{n[:3]}.png,{np.mean(g)},{np.std(g)}" for n, g in zip(names, KADID_GRADES, strict=True)),
    )
    for name in [*names, "I01.png", "I02.png"]:
        picture(root / "images" / name)


def tid2013(root: Path) -> None:
    lines(root / "mos_with_names.txt", "5.51429 I01_01_1.bmp", "4.2 i25_08_5.bmp", "3.1 I01_24_2.bmp")
    lines(root / "mos_std.txt", "0.1", "0.2", "0.3")
    for name in ("i01_01_1.bmp", "I25_08_5.BMP", "I01_24_2.bmp"):
        picture(root / "distorted_images" / name)


def csiq(root: Path, folders: tuple[str, ...] = ("awgn", "blur", "jpeg2000")) -> None:
    head = [None, None, None, "image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"]
    rows = [
        [None, None, None, "artisanal", 1, "noise", 1, 0.01, 0.0623],
        [None, None, None, 1600, 2, "jpeg 2000", 3, 0.02, 0.5],
        [None, None, None, "1600", 3, "blur", 5, 0.03, 0.9],
    ]
    workbook(root / "csiq.DMOS.xlsx", [["CSIQ"], [None], ["all"], head, *rows], "all_by_image")
    for folder, name in zip(
        folders, ("artisanal.AWGN.1.png", "1600.BLUR.5.png", "1600.jpeg2000.3.png"), strict=True
    ):
        picture(root / "dst_imgs" / folder / name)


def pipal(root: Path, folders: tuple[str, ...] = ("Distortion_1", "Distortion_2", "Distortion_4")) -> None:
    lines(root / "Train_Label" / "A0001.txt", "A0001_00_00.bmp,1520.0648", "A0001_04_11.bmp,1400.5")
    lines(root / "Train_Label" / "A0002.txt", "A0002_06_03.bmp,1300.25")
    for folder, name in zip(folders, ("A0001_00_00.bmp", "A0001_04_11.bmp", "A0002_06_03.bmp"), strict=True):
        picture(root / folder / name)


def folder(root: Path) -> None:
    lines(root / "labels.csv", "image,mos,kind,ref,part,sd", "a.png,1.5,x,r1,0,0.1", "sub/b.png,2.5,y,r1,1,0.2",
          "c.png,3.5,x,r2,1,0.3", "d.png,4.5,y,r2,1,0.4")  # fmt: skip
    for name in ("a.png", "sub/b.png", "c.png", "d.png"):
        picture(root / name)


def tid2008(root: Path) -> None:
    lines(root / "mos_with_names.txt", "5.9706 I01_01_1.bmp", "4.2 i25_08_4.bmp", "3.1 I01_17_2.bmp")
    lines(root / "mos_std.txt", "0.10593", "0.2", "0.3")
    for name in ("I01_01_1.bmp", "I25_08_4.BMP", "I01_17_2.bmp"):
        picture(root / "distorted_images" / name)


def cells(*names: str) -> np.ndarray:
    return np.array([[name] for name in names], dtype=object)


LIVE_TYPES = {"jp2k": 3, "jpeg": 2}  # in place of 982 files


def live(root: Path) -> None:
    root.mkdir(exist_ok=True)
    orgs = np.array([[0, 1, 0, 0, 0]])
    savemat(root / "dmos.mat", {"dmos": np.array([[28.0, 0, 50, 20, 60]]), "orgs": orgs})
    realigned = {
        "dmos_new": np.array([[15.5, 0, 70, -2.6, 50]]),
        "orgs": orgs,
        "dmos_std": np.array([[4.0, 0, 5, 6, 7]]),
    }
    savemat(root / "dmos_realigned.mat", realigned)
    savemat(root / "refnames_all.mat", {"refnames_all": cells("a.bmp", "a.bmp", "b.bmp", "a.bmp", "b.bmp")})
    for kind, count in LIVE_TYPES.items():
        for i in range(count):
            picture(root / kind / f"img{i + 1}.bmp")


def livemd(root: Path) -> None:
    for part, kind, shift in (("Part 1", "blurjpeg", 0), ("Part_2", "blurnoise", 3)):
        folder = root / "To_Release" / part
        names = [f"baby_{kind}1.bmp", f"palace_{kind}2.bmp"]
        for name in names:
            picture(folder / kind / name)
        lists = {
            "distimgs": cells(*names),
            "refimgs": cells("baby.bmp", "palace.bmp"),
            "ref4dist": np.array([[1], [2]]),
        }
        savemat(folder / "Imagelists.mat", lists)
        savemat(folder / "Scores.mat", {"DMOSscores": np.array([[21.5 + shift, 60]]), "Zscores": np.eye(3)})


def flive(root: Path) -> None:
    names = ["blur_dataset/motion0044.jpg", "voc_emotic_ava/a.jpg", "voc_emotic_ava/b.JPG", "EE371R/c.jpg"]
    lines(root / "labels_image.csv", "name,mos", *(f"{n},{70 + i}" for i, n in enumerate(names)))
    lines(root / "labels640.csv", "mos_image,name_image,top", *(f"{70 + i},{names[i]},0" for i in (1, 2, 3)))
    for name in names:
        picture(root / "database" / name)


def uhdiqa(root: Path) -> None:
    rows = [
        ("1.jpg", 0.76, "training"),
        ("2.jpg", 0.5, "validation"),
        *((f"{i}.jpg", 0.1 * i, "test") for i in (3, 4, 5)),
    ]
    text = (f'"{name}",{mos},"{split}",5515,3375,"u"' for name, mos, split in rows)
    lines(root / "uhd-iqa-metadata.csv", "image_name,quality_mos,set,orig_width,orig_height,user_name", *text)
    for name, _, split in rows:
        picture(root / split / name)


BID_GRADES = {1: [1.0, 2, 3], 3: [4.0, 4, 5], 590: [0.5, 0.5, 2]}


def bid(root: Path) -> None:
    rows = [[number, sum(g) / 3, None, *g] for number, g in BID_GRADES.items()]
    workbook(root / "DatabaseGrades.xlsx", [["Image", "Average", "", "Grades"], *rows])
    for number in BID_GRADES:
        picture(root / "ImageDatabase" / f"DatabaseImage{number:04d}.JPG")


def aigiqa20k(root: Path) -> None:
    rows = {
        "train": ["LCM_SDXL_0000.png", "DALLE2_0000.png"],
        "val": ["MJ_1.png"],
        "test": ["IF_2.png", "MJ_3.png", "MJ_4.png"],
    }
    for split, names in rows.items():
        table = [[name, "a cat", 1.5 + len(name) + i] for i, name in enumerate(names)]
        workbook(root / f"info_{split}.xlsx", [["name", "prompt", "mos"], *table])
        for name in names:
            picture(root / split / name)


def aigciqa2023(root: Path, numbered: bool = False) -> None:
    rows = [["Lafite", "042-2.png"], ["Lafite", "000-1.png"], ["Glide", "042-2.png"]]
    workbook(root / "pic-index.xlsx", rows)
    (root / "DATA" / "MOS").mkdir(parents=True)
    for k in (1, 2, 3):
        savemat(root / "DATA" / "MOS" / f"mosz{k}.mat", {"MOSz": np.array([[41.0], [k], [70]])})
    for i, (model, name) in enumerate(rows):
        picture(root / "Image" / (f"allimg/{i}.png" if numbered else f"{model}/{name}"))


@pytest.fixture(autouse=True)
def _small_live(monkeypatch):
    monkeypatch.setattr("magiqa.datasets.live.TYPES", LIVE_TYPES)


MAKE = {f.__name__: f for f in (
    koniq, livec, spaq, agiqa3k, agiqa1k, kadid10k, tid2013, csiq, pipal, tid2008, live, livemd, flive, uhdiqa, bid,
    aigiqa20k, aigciqa2023,
)}  # fmt: skip
FACTS = {  # of each set, the published number of images and its annotation
    "koniq": (10073, KONIQ_RAW), "livec": (1162, "Data/AllMOS_release.mat"), "agiqa3k": (2982, "data.csv"),
    "spaq": (11125, "Annotations/MOS and Image attribute scores.xlsx"), "agiqa1k": (1080, "AIGC_MOS_Zscore.xlsx"),
    "kadid10k": (10125, "dmos.csv"), "tid2013": (3000, "mos_with_names.txt"), "tid2008": (1700, "mos_with_names.txt"),
    "csiq": (866, "csiq.DMOS.xlsx"), "pipal": (23200, "Train_Label/A0002.txt"), "live": (779, "dmos_realigned.mat"),
    "livemd": (450, "To_Release/Part 1/Scores.mat"), "flive": (39810, "labels_image.csv"),
    "uhdiqa": (6073, "uhd-iqa-metadata.csv"), "bid": (586, "DatabaseGrades.xlsx"),
    "aigiqa20k": (20000, "info_val.xlsx"), "aigciqa2023": (2400, "DATA/MOS/mosz1.mat"),
}  # fmt: skip
READERS = {name: (make, sets()[name], *FACTS[name]) for name, make in MAKE.items()}


def test_every_packaged_reader_is_tested_here():
    assert set(READERS) == set(sets(on_disk=True))


# --- what all readers share -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READERS)
def test_every_reader_finds_all_images_and_says_what_it_expected(name, tmp_path):
    make, reader, expected, _ = READERS[name]
    make(tmp_path)
    labels = reader(root=str(tmp_path)).load()
    assert (labels.name, labels.expected) == (name, expected)
    assert all(Path(p).is_absolute() and Path(p).is_file() for p in labels.table["path"])
    assert labels.table["mos"].dtype == np.float64
    assert labels.cluster is None or labels.cluster in labels.table
    assert f"{len(labels.table)} annotated images, where {expected} were published" in labels.notes
    Path(labels.table["path"].iloc[-1]).unlink()
    table = reader(root=str(tmp_path)).load().table  # a missing image keeps its row
    assert list(table["path"]) == [*labels.table["path"][:-1], ""]


@pytest.mark.parametrize("name", READERS)
def test_what_is_missing_empty_or_damaged_is_named(name, tmp_path):
    make, reader, _, annotation = READERS[name]
    with pytest.raises(
        UserError, match=rf"dataset.root={tmp_path}/gone: no such folder; get the set from http"
    ):
        reader(root=str(tmp_path / "gone")).load()
    with pytest.raises(
        UserError, match=r"^\S+: annotation files? \S.* (is|are) missing; put (it|them) there"
    ):
        reader(root=str(tmp_path)).load()
    make(tmp_path)
    file = tmp_path / annotation
    file.write_bytes(b"")
    with pytest.raises(
        UserError, match=rf"^{re.escape(str(file))}: the annotation file is empty; fetch it again"
    ):
        reader(root=str(tmp_path)).load()
    file.write_bytes(b"\x00\xff\xfe\n\n")
    with pytest.raises(UserError, match=rf"^{re.escape(str(file))}: [^\n]+$"):
        reader(root=str(tmp_path)).load()


@pytest.mark.parametrize("name", READERS)
def test_a_folder_is_recognized_by_what_it_holds(name, tmp_path):
    make, _, _, annotation = READERS[name]
    make(tmp_path)
    assert recognize(str(tmp_path))[0][0] == name
    (tmp_path / annotation).unlink()
    named = tmp_path.rename(tmp_path.parent / sets()[name].folder)
    assert sets()[name].title in dict(recognize(str(named)))[name]


def test_the_list_of_sets_says_counts_pages_and_which_are_here(tmp_path, monkeypatch, capsys):
    agiqa3k(tmp_path / "AGIQA-3K")
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


def test_every_takes_rows_after_the_split_and_says_so(tmp_path):
    koniq(tmp_path)
    full = Koniq(root=str(tmp_path), split="test", mos="zscore").load()
    assert (len(full.table), full.expected, full.annotated) == (3, 2015, 3)
    with raises(
        f"{tmp_path / KONIQ_SETS}: 2 images are too few (dataset.every=2 of 3), agreement needs at least 3"
    ):
        Koniq(root=str(tmp_path), split="test", mos="zscore", every=2).load()
    labels = Koniq(root=str(tmp_path), every=2).load()
    assert list(labels.table["image"]) == ["10.jpg", "12.jpg", "14.jpg"]
    assert (labels.every, labels.annotated, labels.expected) == (2, 6, 10073)
    assert "one row in 2: 3 of 6" in labels.notes


@pytest.mark.parametrize("every", [0, -1, 2.5, True])
def test_every_must_be_a_whole_number(every, tmp_path):
    folder(tmp_path)
    with raises(f"dataset.every={every} must be a whole number from 1"):
        Folder(root=str(tmp_path), every=every).load()


def test_the_fingerprint_follows_names_and_labels_only(tmp_path):
    folder(tmp_path / "a")
    folder(tmp_path / "b")
    first = fingerprint(Folder(root=str(tmp_path / "a")).load())
    assert first == fingerprint(Folder(root=str(tmp_path / "b")).load())
    text = (tmp_path / "b" / "labels.csv").read_text()
    (tmp_path / "b" / "labels.csv").write_text(text.replace("4.5", "4.5000001"))
    assert first != fingerprint(Folder(root=str(tmp_path / "b")).load())
    assert first != fingerprint(Folder(root=str(tmp_path / "a"), higher_is_better=False).load())


def test_a_tilde_in_the_root_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder(tmp_path / "own set")
    assert Folder(root="~/own set").load().table["path"][0] == str(tmp_path / "own set" / "a.png")


def test_names_that_differ_in_case_only_are_never_guessed(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "A.png")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system does not tell case")
    index = ImageIndex([tmp_path])
    assert index.find("A.png") == str(tmp_path / "A.png")
    with raises(f"a.PNG: could be {tmp_path / 'A.png'} or {tmp_path / 'a.png'}; keep one of them"):
        index.find("a.PNG")


def test_the_first_known_folder_wins_and_the_other_is_told(tmp_path):
    spaq(tmp_path)
    picture(tmp_path / "Dataset" / "00002.jpg")
    labels = Spaq(root=str(tmp_path)).load()
    assert labels.table["path"][1] == str(tmp_path / "TestImage" / "00002.jpg")
    assert labels.layout == (
        "Annotations/MOS and Image attribute scores.xlsx; images in TestImage/ "
        "(not used: files of the same names in Dataset/)"
    )


# --- KonIQ-10k ------------------------------------------------------------------------------------------------------


def test_koniq_raw_and_zscored_mos_come_from_their_own_columns(tmp_path):
    koniq(tmp_path)
    raw = Koniq(root=str(tmp_path)).load()
    assert list(raw.table["mos"]) == [3.83, 2.5, 1.25, 4.5, 3.0, 2.0]
    assert list(raw.table["split"]) == ["training", "test", "test", "validation", "test", "training"]
    assert list(raw.table["mos_std"]) == [0.5] * 6
    test = Koniq(root=str(tmp_path), split="test", mos="zscore", size="512x384").load()
    assert dict(zip(test.table["image"], test.table["mos"], strict=True)) == {
        "14.jpg": 60,
        "12.jpg": 25,
        "11.jpg": 50,
    }
    assert {Path(p).parent.name for p in test.table["path"]} == {"512x384"}
    assert (raw.variant, test.variant) == ("", "test_512")
    assert "mos: zscore MOS, column MOS of koniq10k_distributions_sets.csv" in test.notes
    (tmp_path / KONIQ_SETS).unlink()
    alone = Koniq(root=str(tmp_path), mos="zscore").load()
    assert alone.table["mos"][0] == pytest.approx(76.6)
    assert "mos: zscore MOS, column MOS_zscore of koniq10k_scores_and_distributions.csv" in alone.notes


def test_koniq_refuses_the_wrong_file_and_the_wrong_images(tmp_path):
    koniq(tmp_path)
    raw, sets = tmp_path / KONIQ_RAW, tmp_path / KONIQ_SETS
    page = "http://database.mmsp-kn.de/koniq-10k-database.html"
    both = raw.read_text(), sets.read_text()
    raw.write_text(both[1])
    with raises(
        f"{raw}: column MOS reaches 90, so it is no raw MOS of 1-5; put {KONIQ_RAW} there (from {page}), or use "
        "dataset.mos=zscore"
    ):
        Koniq(root=str(tmp_path)).load()
    sets.write_text(both[0])
    with raises(
        f"{sets}: column MOS reaches 4.5, so it is no z-scored MOS of 1-100; put {KONIQ_SETS} there (from "
        f"{page}), or use dataset.mos=raw"
    ):
        Koniq(root=str(tmp_path), mos="zscore").load()
    raw.write_text(both[0])
    sets.unlink()
    with raises(f"{tmp_path}: annotation file {KONIQ_SETS} is missing; put it there (from {page})"):
        Koniq(root=str(tmp_path), split="test").load()
    shutil.rmtree(tmp_path / "1024x768")
    (tmp_path / "512x384").rename(tmp_path / "images")
    with raises(
        f"{tmp_path / 'images' / '10.jpg'}: 512x384, not dataset.size=1024x768; use the images or the "
        "variant of that size"
    ):
        Koniq(root=str(tmp_path)).load()
    assert (Koniq(root=str(tmp_path), size="512x384").load().table["path"] != "").all()


def test_koniq_as_it_is_unzipped_is_found_and_its_sets_csv_alone_names_the_option(tmp_path):
    koniq(tmp_path)
    (tmp_path / "koniq10k_1024x768").mkdir()
    (tmp_path / "1024x768").rename(tmp_path / "koniq10k_1024x768" / "1024x768")
    found = Koniq(str(tmp_path)).load()
    assert found.table["path"].str.contains("koniq10k_1024x768/1024x768").all()
    (tmp_path / KONIQ_RAW).unlink()
    with pytest.raises(UserError, match=r"holds koniq10k_distributions_sets.csv only.*dataset=koniq_zscore"):
        Koniq(str(tmp_path)).load()


def test_koniq_unknown_options():
    with raises("dataset.split=train is not known: use all, training, validation, test"):
        Koniq(root="x", split="train")
    with raises("dataset.size=256x192 is not known: use 1024x768, 512x384"):
        Koniq(root="x", size="256x192")


# --- LIVE-C, SPAQ ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", ["Images", "images"])
def test_livec_with_and_without_the_practice_images(images, tmp_path):
    livec(tmp_path, images)
    plain, practice = Livec(root=str(tmp_path)).load(), Livec(root=str(tmp_path), practice=True).load()
    assert list(plain.table["image"]) == ["3.bmp", "4.bmp", "5.JPG", "t8.bmp"]
    assert list(plain.table["mos"]) == [63, 72, 81, 90]
    assert (plain.expected, practice.expected, len(practice.table)) == (1162, 1169, 11)
    assert (practice.table["path"] != "").all()
    assert "7 practice images left out" in plain.notes
    assert "7 practice images included" in practice.notes


def test_livec_files_that_do_not_belong_together(tmp_path):
    livec(tmp_path)
    file = tmp_path / "Data" / "AllMOS_release.mat"
    savemat(file, {"AllMOS_release": np.arange(10.0)})
    with raises(f"{file}: 10 MOS for 11 images and 11 deviations; fetch the files again"):
        Livec(root=str(tmp_path)).load()
    savemat(file, {"other": np.arange(11.0)})
    with raises(f"{file}: no variable AllMOS_release (found other); is it the right annotation file?"):
        Livec(root=str(tmp_path)).load()


@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("MOS_and_Image_attribute_scores.xlsx", "Dataset/TestImage"),
        ("Annotations/mos and image attribute scores.xlsx", "Dataset"),
    ],
)
def test_spaq_layouts_and_variants(file, images, tmp_path):
    spaq(tmp_path, file, images)
    labels = Spaq(root=str(tmp_path), resize=Resize("squash", 448)).load()
    assert list(labels.table["mos"]) == [11.5, 23, 34.5, 46]
    assert (labels.table["path"] != "").all()
    assert labels.variant == ""
    for resize, variant in (
        (None, "native"),
        (Resize("short_side", 512), "512"),
        (Resize("short_side", 448, "bilinear"), "448short"),
        (Resize("squash", 224), "squash_224_bicubic"),
    ):
        assert Spaq(root=str(tmp_path), resize=resize).load().variant == variant


# --- AGIQA ----------------------------------------------------------------------------------------------------------


def test_agiqa3k_generators_prompts_and_both_labels(tmp_path):
    agiqa3k(tmp_path)
    labels = Agiqa3k(root=str(tmp_path)).load()
    assert list(labels.table["group"]) == [
        "AttnGAN_normal",
        "AttnGAN_normal",
        "sd1.5_lowstep",
        "DALLE2_normal",
    ]
    assert list(labels.table["prompt"]) == ["a a, old", "a b, old", "a a, old", "a b, old"]
    assert labels.cluster == "prompt"
    assert list(labels.table["mos_std"]) == [0.1, 0.2, 0.3, 0.4]
    align = Agiqa3k(root=str(tmp_path), label_column="mos_align").load()
    assert list(align.table["mos"]) == [4, 3, 2, 1]
    assert align.variant == "align"
    with raises("dataset.label_column=mos is not known: use mos_quality, mos_align"):
        Agiqa3k(root=str(tmp_path), label_column="mos")


def test_agiqa3k_as_distributed(real_data):
    labels = Agiqa3k(root=str(real_data / "datasets" / "AGIQA-3K")).load()
    counts = labels.table["group"].value_counts()
    assert len(labels.table) == labels.expected == 2982
    assert len(counts) == 10
    assert counts.between(290, 300).all()
    assert labels.table["mos"].between(0, 4.49).all()
    assert labels.table["mos"].max() > 4.4
    assert (labels.table["path"] != "").all()
    assert labels.table["prompt"].nunique() == 300
    assert labels.notes == ()


@pytest.mark.parametrize(
    ("policy", "mos", "expected"),
    [
        ("keep", [1, 0.441, 3, 2.084, 4], 1080),
        ("first", [1, 0.441, 3, 4], 1079),
        ("last", [1, 3, 2.084, 4], 1079),
        ("mean", [1, 1.2625, 3, 4], 1079),
        ("drop", [1, 3, 4], 1078),
    ],
)
def test_agiqa1k_duplicate_policies(policy, mos, expected, tmp_path):
    agiqa1k(tmp_path)
    labels = Agiqa1k(root=str(tmp_path), duplicate=policy).load()
    assert list(labels.table["mos"]) == pytest.approx(mos)
    assert labels.expected == expected
    assert any("dreamStudio_8_9_1_1.jpg" in note for note in labels.notes)
    assert set(labels.table["group"]) == {"dreamStudio", "SD2"}


def test_agiqa1k_duplicate_errors(tmp_path):
    agiqa1k(tmp_path)
    with raises(
        f"{tmp_path / 'AIGC_MOS_Zscore.xlsx'}: annotated twice: dreamStudio_8_9_1_1.jpg; choose with "
        "dataset.duplicate=keep, first, last, mean or drop"
    ):
        Agiqa1k(root=str(tmp_path), duplicate="error").load()
    with raises("dataset.duplicate=both is not known: use keep, first, last, mean, drop, error"):
        Agiqa1k(root=str(tmp_path), duplicate="both")


# --- sets with references -------------------------------------------------------------------------------------------


def test_kadid_dmos_is_not_turned_and_var_is_a_deviation(tmp_path):
    kadid10k(tmp_path)
    labels = Kadid10k(root=str(tmp_path)).load()
    assert list(labels.table["mos"]) == pytest.approx([137 / 30, 1.2, 3.0])
    assert labels.higher_is_better
    assert list(labels.table["group"]) == ["gaussian blur", "contrast change", "jpeg"]
    assert list(labels.table["level"]) == [1, 5, 3]
    assert list(labels.table["reference"]) == ["I01.png", "I01.png", "I02.png"]
    assert list(labels.table["mos_std"]) == pytest.approx([np.std(grades) for grades in KADID_GRADES])
    file = tmp_path / "dmos.csv"
    file.write_text(file.read_text().replace("I01_25_05", "I01_26_05"))
    with raises(
        f"{file}: 'I01_26_05.png' is not of the form I01_TT_LL.png (TT 01-25, LL 01-05); is it the right "
        "annotation file?"
    ):
        Kadid10k(root=str(tmp_path)).load()


def test_tid2013_names_that_differ_in_case(tmp_path):
    tid2013(tmp_path)
    labels = Tid2013(root=str(tmp_path)).load()
    assert [Path(p).name for p in labels.table["path"]] == ["i01_01_1.bmp", "I25_08_5.BMP", "I01_24_2.bmp"]
    assert list(labels.table["reference"]) == ["I01", "I25", "I01"]
    assert labels.table["group"][1] == "gaussian blur"
    assert list(labels.table["mos_std"]) == [0.1, 0.2, 0.3]
    lines(tmp_path / "mos_std.txt", "0.1")
    with raises(f"{tmp_path / 'mos_std.txt'}: 1 deviations for 3 images; fetch it again"):
        Tid2013(root=str(tmp_path)).load()


@pytest.mark.parametrize("folders", [("awgn", "blur", "jpeg2000"), ("AWGN", "BLUR", "JPEG2000")])
def test_csiq_dmos_is_turned_once_and_says_so(folders, tmp_path):
    csiq(tmp_path, folders)
    labels = Csiq(root=str(tmp_path)).load()
    assert list(labels.table["mos"]) == [-0.0623, -0.5, -0.9]
    assert not labels.higher_is_better
    assert "dmos is lower = better: mos = -dmos" in labels.notes
    assert list(labels.table["image"]) == ["artisanal.AWGN.1.png", "1600.jpeg2000.3.png", "1600.BLUR.5.png"]
    assert list(labels.table["reference"]) == ["artisanal", "1600", "1600"]
    assert list(labels.table["group"]) == ["noise", "jpeg 2000", "blur"]
    assert (labels.table["path"] != "").all()


def test_csiq_unpacked_twice_is_not_guessed(tmp_path):
    csiq(tmp_path)
    shutil.copytree(tmp_path / "dst_imgs" / "awgn", tmp_path / "dst_imgs" / "copy")
    one, two = (tmp_path / "dst_imgs" / f / "artisanal.AWGN.1.png" for f in ("awgn", "copy"))
    with raises(f"artisanal.AWGN.1.png: could be {one} or {two}; keep one of them"):
        Csiq(root=str(tmp_path)).load()


@pytest.mark.parametrize("folders", [("Distortion_1", "Distortion_2", "Distortion_4"), ("Train_Dist",) * 3])
def test_pipal_layouts(folders, tmp_path):
    pipal(tmp_path, folders)
    labels = Pipal(root=str(tmp_path)).load()
    assert list(labels.table["mos"]) == [1520.0648, 1400.5, 1300.25]
    assert list(labels.table["group"]) == ["type 00", "type 04", "type 06"]
    assert list(labels.table["reference"]) == ["A0001", "A0001", "A0002"]
    assert list(labels.table["level"]) == [0, 11, 3]


def test_pipal_refuses_mixed_scales(tmp_path):
    pipal(tmp_path)
    lines(tmp_path / "Train_Label" / "A0201.txt", "A0201_00_00.bmp,0.6213")
    with raises(
        f"{tmp_path / 'Train_Label'}: the score of A0201_00_00.bmp is 0.6213, not an Elo of 900 or more: labels of the "
        "validation part (0-1) are mixed in; keep Train_Label only"
    ):
        Pipal(root=str(tmp_path)).load()


def test_published_sets_refuse_nan_as_mos(tmp_path):
    agiqa1k(tmp_path)
    file = tmp_path / "AIGC_MOS_Zscore.xlsx"
    table = pd.read_excel(file)
    table.loc[2, "MOS"] = np.nan
    table.to_excel(file, index=False)
    with raises(f"{file}: column MOS holds nan in row 3, which is no finite number; mend or remove the row"):
        Agiqa1k(root=str(tmp_path)).load()


# --- the check ------------------------------------------------------------------------------------------------------


def test_check_of_a_good_set(tmp_path):
    folder(tmp_path)
    for name in ("a.png", "sub/b.png", "c.png", "d.png"):
        picture(tmp_path / name, (300, 256))
    report = check(Folder(root=str(tmp_path), group_column="kind"))
    assert report.usable
    assert (report.problems, report.warnings) == ((), ())
    text = render(report)
    for part in (
        "labels.csv; images as it names them",
        "4 annotated; 4 good, 0 missing, 0 unreadable",
        "mos 1.5 to 4.5, 4 different values; higher = better",
        "2: x 2, y 2",
        "300x256; shortest side 256, longest 300",
    ):
        assert part in text
    assert text.endswith("\nusable")


def test_check_names_what_is_wrong(tmp_path):
    folder(tmp_path)
    (tmp_path / "a.png").unlink()
    (tmp_path / "c.png").write_bytes((tmp_path / "c.png").read_bytes()[:60])  # opens, but does not decode
    shutil.copy(tmp_path / "d.png", tmp_path / "sub" / "b.png")
    report = check(Folder(root=str(tmp_path), higher_is_better=False))
    assert not report.usable
    assert report.missing == ("a.png",)
    assert [name for name, _ in report.unreadable] == ["c.png"]
    assert report.twins == (("sub/b.png", "d.png"),)
    assert report.small == ("sub/b.png", "d.png")
    assert report.problems[0] == "1 images are missing: a.png"
    assert report.problems[1].startswith(f"1 images cannot be read: {tmp_path / 'c.png'}: ")
    assert report.warnings[0] == "1 images are there under more than one name: sub/b.png=d.png"
    assert "lower = better as distributed, negated by the reader" in " ".join(render(report).split())
    assert render(report).endswith("\nNOT usable as it is")


def test_check_refuses_an_incomplete_annotation_whatever_every_is(tmp_path):
    spaq(tmp_path)
    message = "4 annotated images, where 11125 were published: complete or replace the annotation file"
    assert message in check(Spaq(root=str(tmp_path))).problems


def test_check_takes_the_resize_of_the_protocol_into_account(tmp_path):
    spaq(tmp_path)
    assert len(check(Spaq(root=str(tmp_path))).small) == 4
    assert check(Spaq(root=str(tmp_path), resize=Resize("squash", 448))).small == ()


def test_check_of_the_real_set(real_data):
    report = check(Agiqa3k(root=str(real_data / "datasets" / "AGIQA-3K"), every=20))
    assert report.usable
    assert "2982 annotated of 2982 expected; 150 of them looked at (every=20); 150 good" in render(report)


# --- LIVE and the sets of 2020 to 2024 --------------------------------------------------------------------------------


def test_live_has_two_label_files_and_says_which(tmp_path):
    live(tmp_path)
    labels = sets()["live"](root=str(tmp_path)).load()
    assert list(labels.table["image"]) == ["jp2k/img1.bmp", "jp2k/img3.bmp", "jpeg/img1.bmp", "jpeg/img2.bmp"]
    assert list(labels.table["mos"]) == [-15.5, -70, 2.6, -50] and not labels.higher_is_better
    assert list(labels.table["mos_std"]) == [4, 5, 6, 7] and list(labels.table["reference"]) == [
        f"{c}.bmp" for c in "abab"
    ]
    assert "labels: dmos_new of dmos_realigned.mat; 1 references left out" in labels.notes
    original = sets()["live"](root=str(tmp_path), dmos="original").load()
    assert list(original.table["mos"]) == [-28, -50, -20, -60] and original.variant == "original"
    assert "labels: dmos of dmos.mat; 1 references left out" in original.notes
    savemat(tmp_path / "refnames_all.mat", {"refnames_all": cells("a.bmp")})
    with pytest.raises(UserError, match="1 refnames_all, expected 5; fetch the files again"):
        sets()["live"](root=str(tmp_path)).load()


def test_livemd_has_as_many_references_as_scenes(tmp_path):
    livemd(tmp_path)
    table = sets()["livemd"](root=str(tmp_path)).load().table
    assert list(table["mos"]) == [-21.5, -60, -24.5, -60]
    assert (
        list(table["reference"]) == ["baby", "palace"] * 2
        and list(table["group"]) == ["blurjpeg"] * 2 + ["blurnoise"] * 2
    )


@pytest.mark.parametrize(
    ("name", "split", "images"),
    [
        ("flive", "test", ["voc_emotic_ava/a.jpg", "voc_emotic_ava/b.JPG", "EE371R/c.jpg"]),
        ("uhdiqa", "test", ["3.jpg", "4.jpg", "5.jpg"]),
        ("aigiqa20k", "test", ["IF_2.png", "MJ_3.png", "MJ_4.png"]),
    ],
)
def test_official_splits(tmp_path, name, split, images):
    MAKE[name](tmp_path)
    labels = sets()[name](root=str(tmp_path), split=split).load()
    assert list(labels.table["image"]) == images and labels.variant == split
    assert labels.expected == {"flive": 1827, "uhdiqa": 900, "aigiqa20k": 4000}[name]


def test_uhdiqa_tells_its_effort_before_it_is_encoded(tmp_path):
    uhdiqa(tmp_path)
    (effort,) = sets()["uhdiqa"](root=str(tmp_path)).load().warnings
    assert "about 460 windows each" in effort and "2,300 in all" in effort
    assert sets()["uhdiqa"](root=str(tmp_path), resize=Resize("short_side", 512)).load().warnings == ()


def test_bid_computes_the_deviation_of_the_grades(tmp_path):
    bid(tmp_path)
    table = sets()["bid"](root=str(tmp_path)).load().table
    assert list(table["mos"]) == pytest.approx([np.mean(g) for g in BID_GRADES.values()])
    assert list(table["mos_std"]) == pytest.approx([np.std(g, ddof=1) for g in BID_GRADES.values()])
    (tmp_path / "DatabaseGrades.xlsx").rename(tmp_path / "DatabaseGrades.xls")
    with pytest.raises(UserError, match=r"old Excel file; save it as DatabaseGrades.xlsx"):
        sets()["bid"](root=str(tmp_path)).load()


def test_aigiqa20k_generators_end_at_the_last_underscore(tmp_path):
    aigiqa20k(tmp_path)
    assert set(sets()["aigiqa20k"](root=str(tmp_path)).load().table["group"]) == {
        "LCM_SDXL",
        "DALLE2",
        "MJ",
        "IF",
    }


@pytest.mark.parametrize("numbered", [False, True])
def test_aigciqa2023_images_are_known_by_model_and_name(tmp_path, numbered):
    aigciqa2023(tmp_path, numbered)
    labels = sets()["aigciqa2023"](root=str(tmp_path), mos="authenticity").load()
    assert list(labels.table["image"]) == ["Lafite/042-2.png", "Lafite/000-1.png", "Glide/042-2.png"]
    assert list(labels.table["mos"]) == [41, 2, 70] and list(labels.table["prompt"]) == ["042", "000", "042"]
    assert len(set(labels.table["path"])) == 3 and all(labels.table["path"])
