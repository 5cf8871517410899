"""Commands on a stranger's run folder: its places are printed, its cache only read, its text moves no cursor."""

import json
import shutil

import pytest
import tiny

from magiqa.cli import main as cli
from magiqa.features.shard import read_only
from magiqa.studies.evaluate import evaluate


@pytest.fixture
def changed(packed, tmp_path, monkeypatch):
    """A copy of the run whose record says another thing."""
    monkeypatch.setenv("MAGIQA_CACHE", str(tmp_path / "mine"))

    def change(*keys, value=None):
        shutil.copytree(packed / "run", tmp_path / "run", ignore=shutil.ignore_patterns("bundle.*"))
        record = part = json.loads((tmp_path / "run" / "record.json").read_text())
        for key in keys[:-1]:
            part = part[key]
        if keys:
            part[keys[-1]] = value
        (tmp_path / "run" / "record.json").write_text(json.dumps(record))
        return tmp_path / "run"

    return change


@pytest.mark.slow
def test_pack_prints_what_the_record_names_and_typed_ones_win(packed, changed, capsys):
    run = changed()
    assert cli.main(["pack", str(run), tiny.named(packed)]) == 0
    said = capsys.readouterr().out
    for key, place in (("dataset.root", packed / "set"), ("cache_dir", packed / "cache")):
        assert f"{key}={place}: as {run}/record.json says" in said
    typed = [f"cache_dir={packed / 'cache'}", f"dataset.root={packed / 'set'}"]
    assert cli.main(["pack", str(run), tiny.named(packed), *typed]) == 0
    assert "cache_dir=" not in (said := capsys.readouterr().out) and "dataset.root=" not in said


@pytest.mark.slow
def test_a_cache_that_only_a_record_names_is_not_written(packed, changed, tmp_path, capsys):
    run = str(changed("config", "cache_dir", value=str(tmp_path / "theirs")))
    assert cli.main(["pack", run, tiny.named(packed)]) == 2
    assert "only named by a record, so nothing is written there; add cache_dir=" in capsys.readouterr().err
    assert not (tmp_path / "theirs").exists()
    assert cli.main(["pack", run, tiny.named(packed), f"cache_dir={tmp_path / 'typed'}"]) == 0


@pytest.mark.slow
def test_a_launcher_in_a_record_is_not_read(packed, changed, tmp_path):
    launcher = {"_target_": "os.system", "_args_": [f"touch {tmp_path / 'hacked'}"]}
    assert cli.main(["pack", str(changed("config", "launcher", value=launcher)), tiny.named(packed)]) == 0
    assert not (tmp_path / "hacked").exists()


@pytest.mark.slow
def test_escapes_in_names_are_shown_as_text(packed, changed, capsys):
    run = changed("config", "dataset", "root", value=str(packed / "set") + "\x1b]0;owned\x07\u202e")
    assert cli.main(["pack", str(run), tiny.named(packed)]) == 2
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err and "\u202e" not in said.out + said.err
    assert r"\x1b]0;owned\x07\u202e" in said.out


@pytest.mark.slow
def test_a_cache_that_can_only_be_read_serves_reads_with_a_word(packed, tmp_path):
    with read_only(packed / "cache"):
        _, record = evaluate(
            tiny.job(packed, f"out={tmp_path}", "prompts.pairs=[[a lion,a lamb]]"), progress=False
        )
    assert any("the prompts' embeddings are not stored" in w for w in record["warnings"])
    assert record["cache"]["views_encoded"] == 0
