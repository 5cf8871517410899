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
import tiny
from PIL import Image
from runs import DEMO, NASTY, list_files, write_run

from magiqa.errors import UserError
from magiqa.report.gallery import Pictures, disagreement, locate
from magiqa.report.material import Asked
from magiqa.report.report import report
from magiqa.runs.read import Run, read
from magiqa.studies.evaluate import evaluate

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
    report(folders, out)
    return out


@pytest.fixture(scope="module")
def page(out: Path) -> Page:
    return Page((out / "report.html").read_text())


def data_of(out: Path) -> dict:
    script = r'<script type="application/json" id="data">(.*?)</script>'
    return json.loads(re.search(script, (out / "report.html").read_text())[1])


@pytest.mark.slow
def test_tables_figures_and_page_are_written(out, folders):
    for stem in ("agreement", "groups_demo", "ablations", "ablation_grid", "compare-demo-comparison"):
        for suffix in ("csv", "md", "tex"):
            text = (out / "tables" / f"{stem}.{suffix}").read_text()
            assert len(text) > 100 and str(folders[0].parent) not in text
            assert suffix == "csv" or DEMO["label"] in text
    for stem in ("demo/predicted", "demo/magnitude", "demo/srcc_by_group", "curves_lambda", "compare-demo"):
        for suffix in ("png", "pdf", "md", "tex"):
            assert (out / "figures" / f"{stem}.{suffix}").stat().st_size > 20
    table = pd.read_csv(out / "tables" / "agreement.csv")
    raw = pd.read_csv(folders[0] / "agreement.csv").set_index(["score", "statistic"])["value"]
    for row in table[table["run"] == "demo"].itertuples():
        value = raw[(row.score, row.statistic)]
        assert abs(row.value) == pytest.approx(abs(value), rel=1e-8)


@pytest.mark.slow
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
    assert (
        NASTY in page.text and "<script>alert(1)</script>" in page.text
    )  # a note of the record, shown as text
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert not any(tag == "b" and attributes for tag, attributes in page.tags)


@pytest.mark.slow
def test_the_page_holds_every_point_and_copies_of_the_gallerys_images_alone(base, out):
    data = data_of(out)
    scores = pd.read_csv(base / "demo" / "scores.csv")
    np.testing.assert_allclose(data["runs"][0]["q"], scores["q"], rtol=1e-5)
    assert data["runs"][0]["names"] == scores["image"].tolist()
    assert data["runs"][0]["groups"] == [f"gen_{i} <&$>" for i in range(3)]
    assert len(set(data["large"])) == len(data["large"]) <= 60


@pytest.mark.slow
def test_the_gallery_says_how_far_an_image_is_over_or_underrated(page):
    assert "Overrated by the predicted score" in page.text and "Underrated by the similarity cue" in page.text
    assert re.search(r"score rank \d+ percentile points above MOS rank", page.text)


@pytest.mark.slow
def test_a_run_of_one_cue_shows_no_fused_score(tmp_path):
    report([write_run(tmp_path / "run", n=20, choices={"fusion": "similarity"})], tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert [a["data-score"] for tag, a in page.tags if tag == "canvas"] == ["q_sim", "q_mag"]
    assert "Overrated by the predicted score" not in page.text


@pytest.mark.slow
def test_a_page_has_a_row_for_another_programs_scores(base, tmp_path):
    scores = pd.read_csv(base / "demo" / "scores.csv")
    scores.assign(score=scores["mos"])[["image", "score"]].to_csv(tmp_path / "musiq.csv", index=False)
    report([base / "demo", base / "fixed"], tmp_path / "out", Asked(metrics=[tmp_path / "musiq.csv"]))
    assert "musiq" in Page((tmp_path / "out" / "report.html").read_text()).text


@pytest.mark.slow
def test_unreachable_images_are_said_to_be_and_thumbnails_may_be_left_out(tmp_path):
    folder = write_run(tmp_path / "run", images=tmp_path / "images")
    (tmp_path / "images" / "image-0003.png").unlink()
    (tmp_path / "images" / "image-0004.png").write_bytes(b"another file of this name")
    report([folder], tmp_path / "out")
    assert "2 of 60 files are not under the data set" in (tmp_path / "out" / "report.html").read_text()
    report([folder], tmp_path / "bare", Asked(thumbnails=False))
    text = (tmp_path / "bare" / "report.html").read_text()
    assert "image/jpeg" not in text and "made without small copies of images" in text


def test_disagreement_is_signed_and_ordered():
    gap = disagreement(pd.Series([0.1, 0.9, 0.5, 0.6]), pd.Series([4.0, 1.0, 2.0, 3.0]))
    assert gap.argmax() == 1 and gap.argmin() == 0 and gap.sum() == pytest.approx(0)


def test_only_named_files_below_the_root_are_looked_for(tmp_path, monkeypatch):
    for folder, color in (("512", 1), ("1024", 2)):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8 * color, 8), "red").save(tmp_path / folder / "x.png")
    size = (tmp_path / "1024" / "x.png").stat().st_size
    monkeypatch.setattr(os, "walk", None)
    monkeypatch.setattr(os, "scandir", None)
    folders = ["", "512/", "1024/"]
    assert locate(str(tmp_path), ["x.png"], [size], folders) == [tmp_path / "1024" / "x.png"]
    for image, size_, where in (
        ("x.png", size + 99, folders),
        ("x.png", size, [""]),
        ("../1024/x.png", size, ["512/"]),
    ):
        assert locate(str(tmp_path / "512" if ".." in image else tmp_path), [image], [size_], where) == [None]
    assert locate("/", ["x.png"], [size], folders) == locate("", ["x.png"], [size], folders) == [None]


def test_the_samples_images_are_found_and_one_file_is_shown_once(tmp_path, monkeypatch):
    from magiqa.datasets import sample

    monkeypatch.setattr(sample, "PHOTOS", {k: sample.PHOTOS[k] for k in ("camera", "hopper")})
    monkeypatch.setattr(sample, "SEEN", ("jpeg",))
    monkeypatch.setattr(sample, "UNSEEN", ("impulse_noise",))
    table = sample.Sample(str(tmp_path / "sample")).load().table
    scores = table[["image", "ssim"]].assign(bytes=[Path(p).stat().st_size for p in table["path"]])
    record = {"dataset": {"name": "sample", "label": "ssim", "root": str(tmp_path / "sample")}, "fits": {}}
    run = Run("a", tmp_path, record, scores, pd.DataFrame(), None)
    pictures = Pictures([run], shown=True)
    assert [str(path) for path in pictures.paths["a"]] == table["path"].tolist()
    rows = pictures.first_of_each(run, np.arange(len(table)))
    files = table["path"].to_numpy()[rows]
    assert len(set(files)) == len(files) and len(set(table["path"])) < len(table)
    (tmp_path / "sample" / "labels.csv").unlink()
    os.mkfifo(tmp_path / "sample" / "labels.csv")  # a stranger's root: never opened
    assert sample.file_names(tmp_path / "sample") == {}


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
    for name in ("regimes", "bins"):
        pd.DataFrame({"bin": ["low", "high"], "diff": [0.1, -0.2]}).to_csv(
            folder / f"{name}.csv", index=False
        )
    record = json.loads((base / "demo" / "record.json").read_text())
    about = {"name": "regimes", "notes": ["SRCC across bins <measures> the range"]}
    record |= {"command": "experiment", "name": "regimes-x", "experiment": about}
    (folder / "record.json").write_text(json.dumps(record))
    list_files(folder)
    report([folder], tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert "Experiment: regimes" in page.text and "SRCC across bins <measures> the range" in page.text
    assert sum(attributes.get("class") == "sortable" for _, attributes in page.tags) == 2
    assert sum(tag == "img" for tag, _ in page.tags) == 1
    assert (tmp_path / "out" / "figures" / "regimes-x" / "regimes.png").is_file()


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(UserError, match=r"holds no record.json"):
        report([tmp_path], tmp_path / "out")
    with pytest.raises(UserError, match="absent: no such folder"):
        report([tmp_path / "absent"], tmp_path / "out")
    (tmp_path / "file").write_text("")


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
        ("record.json", '{"command": "evaluate", "dataset": {}}', "record.json: dataset.name is missing"),
    ],
)
def test_a_broken_file_is_named_in_one_line(base, tmp_path, file, content, message):
    shutil.copytree(base / "demo", tmp_path / "run")
    (tmp_path / "run" / file).write_text(content)
    if file.endswith(".csv"):
        list_files(tmp_path / "run")
    with pytest.raises(UserError) as caught:
        report([tmp_path / "run"], tmp_path / "out")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_where_a_set_lies_changes_no_table(tmp_path):
    for place in ("a", "elsewhere"):
        made = tiny.make(tmp_path / place)
        job = tiny.job(made, f"cache_dir={tmp_path / 'cache'}")
        evaluate(job.having(out=str(tmp_path / place / "runs" / job.name)), progress=False)
        report([tmp_path / place / "runs"], tmp_path / place / "report", Asked(thumbnails=False))
    made = tmp_path / "a" / "report"
    tables = sorted((made / "tables").iterdir())
    assert {f.suffix for f in tables} == {".csv", ".md", ".tex"}
    for file in tables:
        assert file.read_bytes() == (tmp_path / "elsewhere" / file.relative_to(tmp_path / "a")).read_bytes()
