"""Miniatures of the data sets as they are distributed, their traps included."""

from pathlib import Path

import numpy as np
import openpyxl
from PIL import Image
from scipy.io import savemat

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
