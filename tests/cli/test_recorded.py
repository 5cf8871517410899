"""Commands on a stranger's run folder: its places are printed, its cache only read, its text moves no cursor."""

import json

import pytest
import tiny

from magiqa.cli import main as cli
from magiqa.studies.evaluate import evaluate


@pytest.fixture
def made(tmp_path, monkeypatch):
    folder = tiny.make(tmp_path)
    evaluate(tiny.job(folder, f"out={folder / 'run'}"), progress=False)
    monkeypatch.setenv("MAGIQA_CACHE", str(tmp_path / "mine"))
    return folder


@pytest.mark.slow
def test_pack_prints_what_the_record_names_and_typed_ones_win(made, capsys):
    assert cli.main(["pack", str(made / "run"), tiny.named(made)]) == 0
    said = capsys.readouterr().out
    for key, place in (("dataset.root", made / "set"), ("cache_dir", made / "cache")):
        assert f"{key}={place}: as {made / 'run'}/record.json says" in said
    assert (
        cli.main(
            [
                "pack",
                str(made / "run"),
                tiny.named(made),
                f"cache_dir={made / 'cache'}",
                f"dataset.root={made / 'set'}",
            ]
        )
        == 0
    )
    assert "cache_dir=" not in (said := capsys.readouterr().out) and "dataset.root=" not in said


@pytest.mark.slow
def test_a_cache_that_only_a_record_names_is_not_written(made, tmp_path, capsys):
    record = json.loads((made / "run" / "record.json").read_text())
    record["config"]["cache_dir"] = str(tmp_path / "theirs")
    (made / "run" / "record.json").write_text(json.dumps(record))
    assert cli.main(["pack", str(made / "run"), tiny.named(made)]) == 2
    assert (
        "is only named by a record, so nothing is written there; add cache_dir=DIR" in capsys.readouterr().err
    )
    assert not (tmp_path / "theirs").exists()
    assert cli.main(["pack", str(made / "run"), tiny.named(made), f"cache_dir={tmp_path / 'typed'}"]) == 0
    assert (tmp_path / "typed").is_dir()


@pytest.mark.slow
def test_a_launcher_in_a_record_is_not_read(made):
    record = json.loads((made / "run" / "record.json").read_text())
    record["config"]["launcher"] = {"_target_": "os.system", "_args_": [f"touch {made / 'hacked'}"]}
    (made / "run" / "record.json").write_text(json.dumps(record))
    assert cli.main(["pack", str(made / "run"), tiny.named(made)]) == 0
    assert not (made / "hacked").exists()


@pytest.mark.slow
def test_escapes_in_names_are_shown_as_text(made, capsys):
    record = json.loads((made / "run" / "record.json").read_text())
    record["config"]["dataset"]["root"] = str(made / "set") + "\x1b]0;owned\x07\u202e"
    (made / "run" / "record.json").write_text(json.dumps(record))
    assert cli.main(["pack", str(made / "run"), tiny.named(made)]) == 2
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err and "\u202e" not in said.out + said.err
    assert r"\x1b]0;owned\x07\u202e" in said.out


@pytest.mark.slow
def test_a_cache_that_can_only_be_read_serves_reads_with_a_word(made, capsys):
    from magiqa.features.shard import read_only

    with read_only(made / "cache"):
        job = tiny.job(made, f"out={made / 'again'}", "prompts=clipiqa")
        _, record = evaluate(job, progress=False)
    assert any("the prompts' embeddings are not stored" in w for w in record["warnings"])
    assert record["cache"]["views_encoded"] == 0
