"""`magiqa score`: which files are meant, the ranking, what is written, what cannot be scored."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from PIL import Image
from runs import undrawn

from magiqa.cli.main import main
from magiqa.errors import UserError
from magiqa.studies.evaluate import evaluate
from magiqa.studies.score import find_files


@pytest.fixture
def score(folder, tmp_path, monkeypatch, capsys):
    """Run `magiqa score` on the tiny model in an empty folder: code, output, error."""
    monkeypatch.chdir(tmp_path)

    def call(*argv: object) -> tuple[int, str, str]:
        code = main(["score", *map(str, argv), *tiny.scoring(folder), "cache_dir=cache"])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_words_mean_files_folders_globs_and_lists(tmp_path):
    (tmp_path / "deep").mkdir()
    names = ["B.JPG", "a.png", "deep/a.png", "deep/c.webp", "notes.txt"]
    upper, a, deep_a, deep_c, notes = (str(tmp_path / name) for name in names)
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert find_files([str(tmp_path)]) == [upper, a]
    assert find_files([str(tmp_path)], recursive=True) == [upper, a, deep_a, deep_c]
    assert find_files([f"{tmp_path}/*.png", a]) == [a]
    assert find_files([f"{tmp_path}/**/*.png"]) == [a, deep_a]
    assert find_files(["-", "x.png"], ["one.png\n", "\n", " two.png \n"]) == ["one.png", "two.png", "x.png"]
    assert find_files([notes]) == [notes]


def test_no_picture_of_a_folder_is_passed_over_in_silence(tmp_path):
    names = {"a.3fr", "b.IIQ", "c.x3f", "d.heics", "e.heic", "f.dng", "g.jxl", "h.exr", "i.png"}
    for name in {*names, "notes.txt", "labels.csv"}:
        (tmp_path / name).write_bytes(b"x")
    assert {Path(file).name for file in find_files([str(tmp_path)])} == names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give files, folders, globs, or -"),
        (["-"], "standard input is empty"),
        (["*.nosuch"], "no file matches"),
        (
            [str(tiny.__file__).rsplit("/", 2)[0] + "/tests/golden"],
            "holds no images; its sub-folders .* recursive=true",
        ),
    ],
)
def test_what_means_no_file_is_named(words, message):
    with pytest.raises(UserError, match=message):
        find_files(words)


@pytest.mark.slow
def test_the_ranking_is_that_of_evaluate_to_the_last_digit(score, folder, tmp_path):
    evaluate(tiny.job(folder, f"out={tmp_path / 'run'}", "cache_dir=cache"), progress=False)
    run = pd.read_csv(tmp_path / "run" / "scores.csv").sort_values("q", ascending=False, kind="stable")
    code, out, _ = score(folder / "set", "csv=own.csv", "json=own.json", "top=2", "bottom=1")
    own, cues = pd.read_csv("own.csv"), ["q", "q_sim", "q_mag", "w_sim"]
    names = [Path(p).name for p in own["image"]]
    assert code == 0 and names == list(run["image"])
    np.testing.assert_array_equal(own[cues], run[cues])
    content = json.loads(Path("own.json").read_text())
    assert content["images"] == own.to_dict("records") and content["skipped"] == []
    assert content["backbone"]["label"] == "untrained, seed 0" and "untrained, seed 0" in " ".join(
        out.split()
    )
    shown = [line.split()[:2] for line in out.splitlines() if line[:1].isdigit()][1:]
    assert [(n, Path(p).name) for n, p in shown] == [("1", names[0]), ("2", names[1]), ("24", names[23])]


@pytest.mark.slow
def test_what_cannot_be_scored_comes_last_with_its_reason_and_the_exit_code(score, folder, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"nothing")
    Image.new("RGB", (40, 90)).save(tmp_path / "small.png")
    good = folder / "set" / "03.png"
    code, out, err = score("broken.png", good, "small.png", "missing.png", "html=a.html")
    assert code == 2 and "1 images" in out and str(good) in out and "broken" not in out
    tail = err[err.index("could not be scored: 3 of 4") :].splitlines()
    assert [line.split(":")[0].strip() for line in tail[1:]] == ["broken.png", "small.png", "missing.png"]
    assert "views.small=upscale" in err and "on_error" not in err
    assert "broken.png: not an image" in Path("a.html").read_text()
    code, out, err = score("broken.png", "csv=b.csv", "map=maps")
    assert code == 2 and "0 images" in out and Path("b.csv").read_text().startswith("image,q,")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 on a Mac")
def test_file_names_that_are_no_utf8_are_written_as_escapes(score, folder, tmp_path):
    photos = [tmp_path / os.fsdecode(b"\xca\xfd%d.png" % i) for i in range(2)]
    for photo in photos:
        photo.write_bytes((folder / "set" / "03.png").read_bytes())
    code, _, _ = score(*photos, "csv=a.csv", "html=a.html", "json=a.json", "map=maps")
    assert code == 0 and len(list(Path("maps").glob("*.png"))) == 2
    names = set(pd.read_csv("a.csv")["image"])
    assert len(names) == 2 and all(r"\udcca\udcfd" in name for name in names)
    assert all(name in Path("a.html").read_text(encoding="utf-8") for name in names)
    assert {row["image"] for row in json.loads(Path("a.json").read_text())["images"]} == {*map(str, photos)}


@pytest.mark.slow
def test_pairs_of_ones_own(score, folder):
    typed = "pairs=[[Sharp photo.,Blurry photo.],[Good photo.,Bad photo.]]"
    code, out, _ = score(folder / "set", typed, "csv=a.csv")
    table = pd.read_csv("a.csv")
    names = ["Sharp photo.", "Good photo."]
    assert code == 0 and list(table.columns[5:]) == names and "own prompts" in out
    np.testing.assert_allclose(table["q_sim"], table[names].mean(axis=1), rtol=1e-12)


@pytest.mark.slow
def test_the_contact_sheet_shows_the_best_first_and_escapes_names(score, folder, tmp_path):
    name = "<script>&\"'.png"
    (tmp_path / name).write_bytes((folder / "set" / "05.png").read_bytes())
    code, _, _ = score(name, *sorted((folder / "set").glob("*.png"))[:4], "html=sheet.html", "csv=a.csv")
    page = Path("sheet.html").read_text()
    assert code == 0 and "<script>" not in page and "&lt;script&gt;" in page
    assert "untrained, seed 0" in page and page.count("data:image/jpeg;base64,") == 5
    assert not any(word in page for word in ("http://", "https://", 'src="/'))
    table = pd.read_csv("a.csv")
    at = [page.index(f"<b>{q:.4f}</b>") for q in table["q"]]
    assert at == sorted(at)


@pytest.mark.slow
@undrawn
def test_maps_share_one_scale_and_a_second_call_replaces_them(score, folder):
    files = sorted((folder / "set").glob("*.png"))
    assert score(*files[:3], "map=maps", "window=32", "stride=32")[0] == 0
    record = json.loads(Path("maps/record.json").read_text())
    assert sorted(name[2:] for name in record["images"]) == ["00.png", "01.png", "02.png"]
    assert (record["window"], record["stride"], {*record["scale"]}) == (32, 32, {"q", "q_sim", "q_mag"})
    assert score(files[5], "map=maps")[0] == 0
    assert sorted(p.name for p in Path("maps").iterdir()) == ["1-05.png", "record.json"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["top=0"], "top=0 must be a whole number from 1"),
        (["bottom=few"], "bottom=few must be a whole number"),
        (["stride=8"], "of maps: add map=DIR"),
        (["recursive=maybe"], "recursive=maybe must be true or false"),
        (["csv="], "csv= names no file"),
        (["bundle=x.zip"], "bundle=x.zip is not understood"),
        (["fusion.alhpa=2"], "did you mean fusion.alpha"),
        (["csv=/dev/null/a.csv"], "csv=/dev/null/a.csv: cannot be written"),
        (["pairs=[[one]]"], "two texts"),
    ],
)
@pytest.mark.slow
def test_mistakes_are_named(score, folder, argv, message):
    code, _, err = score(folder / "set" / "01.png", *argv)
    assert code == 2 and message in err
