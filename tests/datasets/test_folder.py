"""Anyone's ratings: every container and dress is read to the right numbers, every mistake is one line with a remedy."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from magiqa.datasets.folder import Folder
from magiqa.errors import UserError

IMAGES = ("a.png", "sub/b.png", "C.JPG", "größe.png")
MOS = dict(zip(IMAGES, (1.5, 2.25, 3.5, 4.75), strict=True))
SD = dict(zip(IMAGES, (0.1, 0.2, 0.3, 0.4), strict=True))
ROWS = [(name, MOS[name], SD[name]) for name in IMAGES]


@pytest.fixture
def root(tmp_path):
    for name in IMAGES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def load(root: Path, name: str = "labels.csv", content: str | bytes | None = None, **options):
    """Labels of a table with this content."""
    if content is not None:
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return Folder(root=str(root), annotation=name, **options).load()


def mos_of(labels) -> dict[str, float]:
    """The MOS by the content of each file, which says its name."""
    paths = labels.table["path"]
    return dict(zip([Path(p).read_bytes().decode() for p in paths], labels.table["mos"], strict=True))


def table(
    separator: str = ",", head: str | None = "image,mos", form: str = "{0},{1}", end: str = "\n"
) -> str:
    """The four ratings as text."""
    lines = [head] * (head is not None) + [form.format(*row) for row in ROWS]
    return "".join(line.replace(",", separator) + end for line in lines)


def workbook(**sheets: list) -> bytes:
    out = io.BytesIO()
    with pd.ExcelWriter(out, engine="openpyxl") as book:
        for name, rows in sheets.items():
            pd.DataFrame(rows).to_excel(book, sheet_name=name, index=False, header=False)
    return out.getvalue()


RECORDS = [{"img_path": n, "gt_score": m} for n, m, _ in ROWS]
TALK = [
    {"id": f"{n}->{m}", "image": n, "conversations": [{"from": "gpt", "value": "good"}]} for n, m, _ in ROWS
]
READABLE = {
    "comma": ("a.csv", table(), {}),
    "tab": ("a.tsv", table("\t"), {}),
    "semicolon and decimal comma": ("a.csv", table(";").replace(".5", ",5").replace(".25", ",25").replace(".75", ",75"),
                                    {"decimal": ","}),
    "given separator": ("a.txt", table("|"), {"separator": "|"}),
    "name first, no header": ("a.csv", table(head=None), {}),
    "score first, blank": ("mos_with_names.txt", table(head=None, form="{1} {0}"), {}),
    "name, score, deviation": ("a.txt", table("\t", None, "{0},{1},{2}"), {}),
    "carriage returns": ("a.txt", table("\t", None, end="\r"), {}),
    "windows line ends": ("a.csv", table(end="\r\n"), {}),
    "byte-order mark": ("a.csv", table().encode("utf-8-sig"), {}),
    "utf-16": ("a.txt", table("\t").encode("utf-16"), {}),
    "latin-1": ("a.csv", table().encode("latin-1"), {"encoding": "latin-1"}),
    "blanks": ("a.csv", table(head="mos, image", form="{1} , {0} "), {}),
    "quoted prompt": ("a.csv", table(head="name,prompt,mos", form='{0},"a ""red"" cat, old",{1}'), {}),
    "known names": ("a.csv", table(head="Image name,MOS,Brightness", form="{0},{1},3"), {}),
    "named columns": ("a.csv", table(head="picture,rating"), {"image_column": "picture", "mos_column": "rating"}),
    "numbered columns": ("a.txt", table(head=None, form="7,{0},9,{1}"), {"mos_column": "4"}),
    "reference list": ("a.csv", table(head="ref_name,dist_name,dmos", form="r.png,{0},{1}"),
                       {"higher_is_better": True}),
    "template": ("a.csv", "dir,file,mos\n" + "".join(f"{n.rpartition('/')[0] or '.'},{n.rpartition('/')[2]},{m}\n"
                                                   for n, m, _ in ROWS), {"image_column": "{dir}/{file}"}),
    "workbook": ("a.xlsx", workbook(MOS=[["image", "mos"], *MOS.items()]), {}),
    "sheet by name": ("a.xlsx", workbook(readme=[["x"]], MOS=[["image", "mos"], *MOS.items()]), {"sheet": "MOS"}),
    "records": ("a.json", json.dumps(RECORDS), {}),
    "columns": ("a.json", json.dumps({"Image": list(MOS), "MOS": list(MOS.values())}), {}),
    "by image": ("a.json", json.dumps({n: {"mos": f"{m} ", "std": "1"} for n, m, _ in ROWS}), {}),
    "score by image": ("a.json", json.dumps(MOS), {}),
    "score in id": ("a.json", json.dumps(TALK), {}),
    "lines": ("a.jsonl", "".join(json.dumps(r) + "\n" for r in RECORDS), {}),
    "json named csv": ("a.csv", json.dumps(RECORDS), {}),
    "counts": ("a.csv", "image,c1,c2,c3,c4,c5\na.png,2,2,0,0,0\nsub/b.png,1,1,2,0,0\nC.JPG,0,0,2,2,0\n"
               "größe.png,0,0,0,1,3\n",
               {"mos_column": "c1..c5"}),
    "column a rater": ("a.csv", "image,r1,r2\na.png,1,2\nsub/b.png,2.25,\nC.JPG,3,4\ngröße.png,5,4.5\n",
                       {"rater_columns": "r1..r2"}),
    "row a rating": ("a.csv", "rater,image,score\nx,a.png,1\nx,sub/b.png,2.25\ny,a.png,2\nx,C.JPG,3.5\n"
                     "z,größe.png,4.75\n",
                     {"rater_column": "rater"}),
    "prefix": ("a.csv", table(form="my/photos/{0},{1}"), {"strip_prefix": "my/photos/"}),
    "added prefix": ("a.csv", table(form="../{0},{1}"), {"add_prefix": "sub/"}),
    "backslash": ("a.csv", table().replace("sub/", "sub\\"), {}),
    "case": ("a.csv", table().replace("sub/b.png", "Sub/B.PNG").replace("C.JPG", "c.jpg"), {}),
    "decomposed": ("a.csv", table().replace("ö", "o\u0308"), {}),
    "elsewhere": ("a.csv", table(form="D:\\x\\{0},{1}").replace("x\\sub/b", "y\\b"), {}),
    "dots": ("a.csv", table(form="./sub/../{0},{1}"), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", READABLE)
def test_every_dress_gives_the_same_labels(root, case):
    name, content, options = READABLE[case]
    assert mos_of(load(root, name, content, **options)) == MOS


def test_spread_and_number_of_ratings_are_numpys(root):
    votes = [[1, 1, 2, 2], [1, 2, 3, 3], [3, 3, 4, 4], [4, 5, 5, 5]]
    labels = load(root, *READABLE["counts"][:2], **READABLE["counts"][2])
    assert labels.table["mos_std"].tolist() == pytest.approx([np.std(v, ddof=1) for v in votes])
    assert labels.table["ratings"].tolist() == [4] * 4
    name, text, options = READABLE["column a rater"]
    labels = load(root, name, text, **options)  # one rating has no spread
    assert "mos: mean of 1 to 2 ratings an image" in labels.notes and "mos_std" not in labels.table
    with pytest.raises(UserError, match="holds nan in row 2"):
        load(root, name, text.replace("2.25,", ","), **options)
    labels = load(root, *READABLE["row a rating"][:2], **READABLE["row a rating"][2])
    assert labels.table["ratings"].tolist() == [2, 1, 1, 1]


def test_hugging_face_folders_need_no_name(root):
    frame = pd.DataFrame({"file_name": list(MOS), "mos": list(MOS.values()), "image": [{"bytes": b"x"}] * 4})
    frame[["file_name", "mos"]].to_json(root / "metadata.jsonl", orient="records", lines=True)
    assert mos_of(Folder(root=str(root)).load()) == MOS
    inner = "file_name,mos\nb.png,1\nnone.png,2\ngone.png,3\n"  # names are relative to the table there
    labels = load(root, "sub/metadata.csv", inner)
    assert [bool(path) for path in labels.table["path"]] == [True, False, False]
    pytest.importorskip("pyarrow")
    (root / "metadata.jsonl").unlink()
    frame.to_parquet(root / "metadata.parquet")
    assert mos_of(Folder(root=str(root)).load()) == MOS


def test_columns_and_direction(root):
    text = table(head="image,dmos,kind,ref,sd", form="{0},{1},k,r,{2}")
    labels = load(root, "a.csv", text, higher_is_better=False, group_column="kind", reference_column="ref",
                  mos_std_column="sd")  # fmt: skip
    assert mos_of(labels) == {name: -value for name, value in MOS.items()}
    assert labels.table["mos_std"].tolist() == list(SD.values())
    assert (
        set(labels.table["group"]) == {"k"} and labels.cluster == "reference" and not labels.higher_is_better
    )
    assert "dmos is lower = better: mos = -dmos" in labels.notes


@pytest.mark.parametrize("name", ["meta_info_LIVEDataset.csv", "live.json", "dmos"])
def test_direction_is_asked_where_scores_may_be_differences(root, name):
    head = "image,dmos" if name == "dmos" else "image,mos"
    content = json.dumps(RECORDS) if name.endswith("json") else table(head=head)
    with pytest.raises(UserError, match=r"may be a difference .*higher_is_better=false.* or =true"):
        load(root, name, content)
    assert mos_of(load(root, name, higher_is_better=True)) == MOS


SPLITS = table(head="image,mos,part", form="{0},{1},2").replace("3.5,2", "3.5,0")
TEST = {name: value for name, value in MOS.items() if name != "C.JPG"}
LIST = "a.png\nsub/b.png\ngröße.png\n"


@pytest.mark.parametrize(
    ("options", "file"),
    [
        ({"split": "test", "split_column": "part"}, None),
        ({"split": "2", "split_column": "part"}, None),
        ({"split_file": "test.txt"}, LIST.encode()),
        ({"split_file": "test.txt"}, LIST.replace("\n", "\t3.2\tother\n").encode()),
        (
            {"split_file": "test.txt", "split": "test"},
            json.dumps({"train": ["C.JPG"], "test": list(TEST)}).encode(),
        ),
        ({"split_file": "test.txt"}, b"a.png\nb.png\n" + "größe.png".encode()),
        ({"split_file": "test.txt"}, (LIST.replace("\n", ",Test\n") + "C.JPG,Train\n").encode()),
        ({"split_file": "test.txt", "split_row": 1}, [[2, -1, -1], [3, 1, 0]]),
    ],
)
def test_splits(root, options, file):
    if isinstance(file, bytes):
        (root / "test.txt").write_bytes(file)
    elif file:
        np.save(root / "rows.npy", np.array(file))
        (root / "rows.npy").rename(root / "test.txt")
    labels = load(root, "a.csv", SPLITS, **options)
    assert mos_of(labels) == TEST
    assert any("3 of 4 rows" in note for note in labels.notes)


def test_split_by_folder(root):
    for name in ("val/a.png", "val/b.png", "val/c.png", "train/a.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(name.encode())
    text = "image,mos\nval/a.png,1\ntrain/a.png,2\nval/b.png,3\nval/c.png,4\n"
    assert mos_of(load(root, "a.csv", text, split="validation")) == {
        "val/a.png": 1,
        "val/b.png": 3,
        "val/c.png": 4,
    }


BAD = {
    "pickle": (b"\x80\x04x", {}, "is a pickle, which may run code"),
    "old workbook": (b"\xd0\xcf\x11\xe0x", {}, "save it as CSV, or a workbook as .xlsx"),
    "several sheets": (workbook(a=[["x"]], b=[["y"]]), {}, "add dataset.sheet=NAME, one of a, b"),
    "no sheet": (workbook(a=[["x"]], b=[["y"]]), {"sheet": "c"}, "no sheet dataset.sheet=c; it has a, b"),
    "encoding": (table().encode("latin-1"), {}, "not in UTF-8; add dataset.encoding=NAME"),
    "unknown encoding": (table(), {"encoding": "klingon"}, "unknown encoding: klingon"),
    "utf-16 of utf-8": (table(), {"encoding": "utf-16"}, "not in utf-16; leave dataset.encoding out for UTF-8"),
    "unknown columns": (table(head="picture,rating"), {}, "add dataset.image_column=NAME, one of picture, rating"),
    "two scores": (table(head="image,score,gt_score", form="{0},{1},{1}"), {}, "add dataset.mos_column=NAME"),
    "no column": (table(), {"group_column": "kind"}, "no column kind"),
    "wider row": ("image,mos\na.png,5,05\n", {}, "cannot be read"),
    "no rows": ("image,mos\n", {}, "holds no rows"),
    "decimal comma": ("image;mos\na.png;1,5\nb.png;2\n", {}, "is no finite number; add dataset.decimal=,"),
    "text as mos": ("image,mos\na.png,1\nb.png,good\n", {}, "column mos holds 'good' in row 2"),
    "nan as mos": ("image,mos\na.png,NaN\nb.png,\n", {}, "column mos holds 'NaN' in row 1 (and 1 more)"),
    "infinite": ("image,mos\na.png,inf\nb.png,1\n", {}, "column mos holds 'inf' in row 1"),
    "no name": ("image,mos\na.png,1\n,2\n", {}, "column image is empty in row 2"),
    "few": ("image,mos\na.png,1\nb.png,2\n", {}, "2 images are too few"),
    "all equal": ("image,mos\na.png,2\nb.png,2\nc.png,2\n", {}, "all values of mos are 2.0"),
    "twice": ("image,mos\na.png,1\n./a.png,2\nb.png,3\n", {}, "rated more than once: a.png, ./a.png"),
    "twice by case": ("image,mos\nC.JPG,1\nc.jpg,2\nb.png,3\n", {}, "rated more than once: C.JPG, c.jpg"),
    "twice in json": ('{"a.png": 1, "a.png": 2, "b.png": 3}', {}, "rated more than once: a.png"),
    "nested json": ("[" * 100_000, {}, "is nested too deeply"),
    "no records": ('["a.png", "b.png"]', {}, "holds no list of records"),
    "split": (SPLITS, {"split": "val", "split_column": "part"}, "no row has dataset.split=val"),
    "no split": (table(), {"split": "val"}, "names has none, sub; name the column (dataset.split_column=NAME)"),
    "votes": ("image,c1,c2\na.png,1,-1\n", {"mos_column": "c1..c2"}, "c1..c2 holds a number below 0"),
    "a long first line": ("image,mos" + "," * 2_000_000 + "\n" + "a,1\n" * 20, {}, "first line is longer than"),
    "a wide row": ("image,mos\na.png,1" + "," * 20_000 + "\n" + "b.png,1\n" * 50_000, {}, "rows of 20002 columns"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_one_short_line(root, case):
    content, options, message = BAD[case]
    name = "labels.json" if "json" in case or "records" in case else "labels.csv"
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load(root, name, content, **options)
    line = str(caught.value)
    assert (
        line.startswith(f"{root / name}: ") and "\n" not in line and len(line.replace(str(root), "")) <= 300
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04x", "is a pickle or too large, and never opened"),
        (b"a.png\nnone.png\n", "1 names are not in the annotation (none.png)"),
        (b"a.png,train\n", "no name is of the split"),
        (b"\x93NUMPYx", "of row numbers"),
        (b'{"test": 3}', "is no JSON of lists"),
    ],
)
def test_wrong_lists_of_a_split_are_named(root, content, message):
    (root / "list.txt").write_bytes(content)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load(root, "labels.csv", table(), split_file="list.txt")
    assert str(caught.value).startswith(f"{root / 'list.txt'}: ")


def test_base_names_that_are_not_unique_are_not_guessed(root):
    (root / "other").mkdir()
    (root / "other" / "b.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"far/b.png: could be .* or .*; name its folder in the table"):
        load(root, "labels.csv", "image,mos\nfar/b.png,1\na.png,2\nC.JPG,3\n")
    both = load(root, "labels.csv", "image,mos\nfar/a.png,1\nnear/a.png,2\nC.JPG,3\n")
    assert [bool(path) for path in both.table["path"]] == [False, False, True]


def test_parquet_rows_that_share_a_long_text_take_no_memory(root):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * 10**6]))
    parquet.write_table(pa.table({"image": names, "mos": [1.0] * 1000}), root / "long.parquet")
    with pytest.raises(UserError, match=r"long.parquet: .* bytes are more than a table of ratings has"):
        Folder(root=str(root), annotation="long.parquet").load()


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "~/x.jpg", "../secret.png", "..\\x.png", "a/../../secret.png", "./../x/y.png", "/etc"],
)
def test_a_name_that_leads_out_of_the_root_is_refused_and_the_key_is_named(root, name):
    with pytest.raises(UserError, match=r"labels.csv: 1 names lead out .* add dataset.outside_root=true"):
        load(root, "labels.csv", f"{table()}{name},5\n")


def test_who_says_so_has_names_that_lead_out_and_a_note_of_it(root):
    text = f"image,mos\nb.png,1\n../a.png,2\n{root / 'C.JPG'},3\n../none.png,4\n"
    labels = load(root / "sub", "labels.csv", text, outside_root=True)
    assert labels.table["path"].tolist() == [
        *(str(root / name) for name in ("sub/b.png", "a.png", "C.JPG")),
        "",
    ]
    assert "outside_root: 3 names lead out of the root" in labels.warnings
    assert load(root, "labels.csv", table(), outside_root=True).notes == ()


def test_absolute_names_and_links_inside_the_root_are_followed(root, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    (store / "x.png").write_bytes(b"x")
    (store / "alias").symlink_to(root)
    (root / "linked").symlink_to(store)
    (root / "one.png").symlink_to(store / "x.png")
    text = f"{table()}linked/x.png,1\none.png,2\n{root / 'gone.png'},3\n"
    for place in (root, store / "alias"):
        assert [bool(p) for p in load(place, "labels.csv", text).table["path"]] == [True] * 6 + [False]
