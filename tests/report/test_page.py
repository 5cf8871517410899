"""Reports: what is written, that the page holds all it shows, and what a user can get wrong."""

import html.parser
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from runs import DEMO, NASTY, edit_record, list_files, undrawn, write_run

from magiqa.errors import UserError
from magiqa.report.gallery import Pictures, locate
from magiqa.report.material import Asked
from magiqa.report.report import report
from magiqa.runs.read import Run, read
from magiqa.studies.compare import compare

ASSETS = Path(__file__).parents[2] / "magiqa/report/assets"


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def out(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    with undrawn:
        report(folders, out)
    return out


@pytest.fixture(scope="module")
def page(out: Path) -> Page:
    return Page((out / "report.html").read_text())


@pytest.mark.slow
def test_tables_figures_and_page_are_written(out, folders):
    for stem in ("agreement", "groups_demo", "ablations", "ablation_grid", "compare-demo-comparison"):
        for suffix in ("csv", "md", "tex"):
            text = (out / "tables" / f"{stem}.{suffix}").read_text()
            assert len(text) > 100 and str(folders[0].parent) not in text
            assert suffix == "csv" or DEMO["label"] in text
    for stem in ("demo/predicted", "demo/magnitude", "demo/srcc_by_group", "curves_lambda", "compare-demo"):
        assert all((out / "figures" / f"{stem}.{suffix}").is_file() for suffix in ("png", "pdf", "md", "tex"))


@pytest.mark.slow
@undrawn
def test_everything_regenerates_byte_for_byte(folders, out, tmp_path):
    report(folders, tmp_path)
    files = [f.relative_to(out) for f in out.rglob("*") if f.is_file()]
    assert len(files) > 40
    assert [str(f) for f in files if (out / f).read_bytes() != (tmp_path / f).read_bytes()] == []


def test_folders_of_folders_are_read_and_folders_of_one_name_stay_apart(base, tmp_path):
    runs, sheets = read([base])
    assert [r.name for r in runs] == ["demo", "fixed", "other", "published"]
    assert [s.name for s in sheets] == ["compare-demo-comparison", "grid"]
    shutil.copytree(base / "demo", tmp_path / "Demo")
    assert [r.name for r in read([base / "demo", tmp_path / "Demo"])[0]] == ["demo", "demo-2"]


@pytest.mark.slow
def test_the_page_loads_nothing_and_names_cannot_break_out_of_it(page):
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "data", "action", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
        if tag in ("a", "link"):
            assert attributes["href"].startswith(("#", "https://", "data:,"))
    code = (ASSETS / "report.css").read_text() + (ASSETS / "report.js").read_text()
    assert not re.search(r"https?://|@import|fetch\(|XMLHttpRequest|innerHTML|eval\(", code)
    # a note of the record is shown as text
    assert NASTY in page.text and "<script>alert(1)</script>" in page.text
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert not any(tag == "b" and attributes for tag, attributes in page.tags)


@pytest.mark.slow
def test_the_page_holds_every_point_and_copies_of_the_gallerys_images_alone(base, out, page):
    assert page.text.count("against the magnitude cue") == 2  # of the first run of each set
    script = r'<script type="application/json" id="data">(.*?)</script>'
    data = json.loads(re.search(script, (out / "report.html").read_text())[1])
    scores = pd.read_csv(base / "demo" / "scores.csv")
    np.testing.assert_allclose(data["runs"][0]["q"], scores["q"], rtol=1e-5)
    assert data["runs"][0]["names"] == scores["image"].tolist()
    assert data["runs"][0]["groups"] == [f"gen_{i} <&$>" for i in range(3)]
    assert len(set(data["large"])) == len(data["large"]) <= 60


@pytest.mark.slow
@undrawn
def test_unreachable_images_are_said_to_be_and_thumbnails_may_be_left_out(tmp_path):
    folder = write_run(tmp_path / "run", images=tmp_path / "images")
    (tmp_path / "images" / "image-0003.png").unlink()
    (tmp_path / "images" / "image-0004.png").write_bytes(b"another file of this name")
    report([folder], tmp_path / "out")
    assert "2 of 60 files are not under the data set" in (tmp_path / "out" / "report.html").read_text()
    report([folder], tmp_path / "bare", Asked(thumbnails=False))
    text = (tmp_path / "bare" / "report.html").read_text()
    assert "image/jpeg" not in text and "made without small copies of images" in text


def test_only_named_files_below_the_root_are_looked_for(tmp_path, monkeypatch):
    for folder, color in (("512", 1), ("1024", 2)):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8 * color, 8), "red").save(tmp_path / folder / "x.png")
    size, folders = (tmp_path / "1024" / "x.png").stat().st_size, ["", "512/", "1024/"]
    monkeypatch.setattr(os, "walk", None)
    monkeypatch.setattr(os, "scandir", None)
    assert locate(str(tmp_path), ["x.png"], [size], folders) == [tmp_path / "1024" / "x.png"]
    for root, image, size_, where in (
        (tmp_path, "x.png", size + 99, folders),
        (tmp_path / "512", "../1024/x.png", size, ["512/"]),
        ("/", "x.png", size, folders),
    ):
        assert locate(str(root), [image], [size_], where) == [None]


def test_a_page_shows_only_images_that_the_records_author_had(base):
    (run,), _ = read([base / "demo"])

    def pictures(run: Run) -> set[bool]:
        return {i.large is not None for _, images in Pictures([run], True).gallery(run) for i in images}

    assert pictures(run) == {True}
    guessed = run.scores.assign(laplacian=run.scores["laplacian"] + 1)
    assert pictures(replace(run, scores=guessed)) == {False}
    assert pictures(replace(run, scores=run.scores.drop(columns="laplacian"))) == {False}


def test_any_other_result_is_shown_with_its_tables_figures_and_notes(base, tmp_path):
    folder = tmp_path / "regimes"
    (folder / "figures").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(folder / "figures" / "regimes.png")
    (folder / "regimes.csv").write_text("bin,diff\nlow,0.1\nhigh,-0.2\n")
    shutil.copy(base / "demo" / "record.json", folder)
    note = "SRCC across bins <measures> the range"
    about = {"name": "regimes", "notes": [note]}
    edit_record(list_files(folder), command="experiment", name="regimes-x", experiment=about)
    report([folder], tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert "Experiment: regimes" in page.text and note in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 1
    assert (tmp_path / "out" / "figures" / "regimes-x" / "regimes.png").is_file()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("record.json", "{", "record.json: not readable as JSON"),
        ("scores.csv", "", "scores.csv: not readable as CSV"),
        ("scores.csv", "image,mos\na,1\n", "scores.csv: the column q_sim is missing"),
        ("agreement.csv", "score\nq\n", "agreement.csv: the column statistic is missing"),
        (
            "groups.csv",
            "group,score,statistic,value\na,q,srcc,1\n",
            "groups.csv: the column ci_low is missing",
        ),
        ("comparison.csv", "a,b,diff\nq,q_sim,much\n", "comparison.csv: column diff holds 'much', no number"),
        ("record.json", '{"command": "evaluate", "dataset": {}}', "record.json: backbone is missing"),
    ],
)
def test_a_broken_file_is_named_in_one_line(base, tmp_path, file, content, message):
    shutil.copytree(base / "demo", tmp_path / "run")
    (tmp_path / "run" / file).write_text(content)
    if file.endswith(".csv"):
        list_files(tmp_path / "run")
    with undrawn, pytest.raises(UserError, match=rf"{message}.*\Z"):
        report([tmp_path / "run"], tmp_path / "out")


def test_a_table_cut_at_a_line_end_is_refused(base, tmp_path):
    table = shutil.copytree(base / "demo", tmp_path / "run") / "scores.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:11]))
    message = r"scores.csv: is not what its record says \(other sha256, 60 rows there, 10 here\)"
    for reader in (read, compare):
        with pytest.raises(UserError, match=message):
            reader([table.parent] if reader is read else table.parent)
