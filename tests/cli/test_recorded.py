"""A stranger's, a moved and a changed folder: what it names is shown, nothing of it is trusted or lost."""

import shutil

import pandas as pd
import pytest
import tiny
from runs import edit_record

from magiqa.cli import main as cli
from magiqa.features.shard import read_only
from magiqa.studies.evaluate import evaluate

pytestmark = pytest.mark.slow


@pytest.fixture
def theirs(packed, tmp_path, monkeypatch):
    """A copy of the run that nobody here wrote."""
    monkeypatch.setenv("MAGIQA_CACHE", str(tmp_path / "mine"))
    return shutil.copytree(packed / "run", tmp_path / "run", ignore=shutil.ignore_patterns("bundle.*"))


def test_pack_prints_what_the_record_names_and_typed_ones_win(packed, theirs, capsys):
    command = ["pack", str(theirs), tiny.named(packed)]
    places = {"dataset.root": packed / "set", "cache_dir": packed / "cache"}
    assert cli.main(command) == 0
    screen = capsys.readouterr().out
    assert all(f"{key}={place}: as {theirs}/record.json says" in screen for key, place in places.items())
    assert cli.main([*command, *(f"{key}={place}" for key, place in places.items())]) == 0
    screen = capsys.readouterr().out
    assert not any(f"{key}=" in screen for key in places)


def test_a_cache_that_only_a_record_names_is_not_written_and_its_launcher_is_not_read(
    packed, theirs, tmp_path, capsys
):
    launcher = {"_target_": "os.system", "_args_": [f"touch {tmp_path / 'hacked'}"]}
    edit_record(theirs, config={"cache_dir": str(tmp_path / "elsewhere"), "launcher": launcher})
    command = ["pack", str(theirs), tiny.named(packed)]
    assert cli.main(command) == 2
    assert "only named by a record, so nothing is written there; add cache_dir=" in capsys.readouterr().err
    assert cli.main([*command, f"cache_dir={packed / 'cache'}"]) == 0
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path / "hacked").exists()


def test_escapes_in_names_are_shown_as_text(packed, theirs, capsys):
    edit_record(theirs, config={"dataset": {"root": str(packed / "set") + "\x1b]0;owned\x07\u202e"}})
    assert cli.main(["pack", str(theirs), tiny.named(packed)]) == 2
    screen = capsys.readouterr()
    assert "\x1b" not in screen.out + screen.err and "\u202e" not in screen.out + screen.err
    assert r"\x1b]0;owned\x07\u202e" in screen.out


def test_a_cache_that_can_only_be_read_serves_reads_with_a_word(packed, tmp_path):
    job = tiny.job(packed, f"out={tmp_path}", "prompts.pairs=[[a lion,a lamb]]")
    with read_only(packed / "cache"):
        _, record = evaluate(job, progress=False)
    assert any("the prompts' embeddings are not stored" in w for w in record["warnings"])
    assert record["cache"]["views_encoded"] == 0


def scores(folder):
    return pd.read_csv(folder / "scores.csv").set_index("image")


def test_an_image_that_is_replaced_or_there_twice_or_skipped_has_its_own_scores(packed, tmp_path):
    images = shutil.copytree(packed / "set", tmp_path / "set")
    shutil.copy(images / "07.png", images / "03.png")  # replaced, and a duplicate
    (images / "05.png").write_bytes(b"no image")
    job = tiny.job(packed, f"dataset.root={images}", "on_error=skip", f"out={tmp_path / 'a'}")
    _, record = evaluate(job, progress=False)
    assert [skipped["image"] for skipped in record["dataset"]["skipped"]] == ["05.png"]
    cues = ["q_sim", "q_mag", "q"]
    expected = scores(packed / "run")[cues].drop("05.png")
    expected.loc["03.png"] = expected.loc["07.png"]
    pd.testing.assert_frame_equal(scores(tmp_path / "a")[cues], expected, check_exact=True)


def test_a_folder_that_was_moved_has_the_same_scores_and_packs_where_it_is_now(packed, tmp_path, capsys):
    images, run = shutil.copytree(packed / "set", tmp_path / "set"), tmp_path / "run"
    evaluate(tiny.job(packed, f"dataset.root={images}", f"out={run}"), progress=False)
    images.rename(tmp_path / "moved")
    moved = f"dataset.root={tmp_path / 'moved'}"
    command = ["pack", str(run), f"cache_dir={packed / 'cache'}", tiny.named(packed)]
    assert cli.main(command) == 2
    assert f"dataset.root={images}: no such folder" in capsys.readouterr().err
    assert cli.main([*command, moved]) == 0
    _, record = evaluate(tiny.job(packed, moved, f"out={tmp_path / 'again'}"), progress=False)
    assert record["cache"]["views_encoded"] == 0 and scores(tmp_path / "again").equals(scores(run))
