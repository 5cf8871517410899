"""A full disk, a cut table, two commands in one folder: one line from every command, and nothing lost."""

import json
import shutil

import pandas as pd
import pytest
import tiny

from magiqa.cli import main as cli
from magiqa.runs.folder import ResultFolder
from magiqa.studies.evaluate import evaluate

pytestmark = pytest.mark.slow


def commands(packed, out):
    run = str(packed / "run")
    return {
        "evaluate": ["evaluate", *tiny.overrides(packed, f"out={out}")],
        "evaluate with figures": ["evaluate", *tiny.overrides(packed, f"out={out}", "figures=true")],
        "ablate": ["ablate", *tiny.overrides(packed, "ablation=lambda", f"out={out}")],
        "compare": ["compare", run, f"out={out}"],
        "report": ["report", run, f"out={out}", "thumbnails=false"],
        "paper": ["paper", run, f"out={out}"],
        "pack": ["pack", run, f"out={out}", f"cache_dir={packed / 'cache'}", tiny.named(packed)],
    }


def test_a_table_cut_at_a_line_end_is_refused_by_every_reader(packed, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(packed / "run", run)
    text = (run / "scores.csv").read_text().splitlines(keepends=True)
    (run / "scores.csv").write_text("".join(text[:11]))
    for args in (["compare", str(run)], ["compare", str(packed / "run"), str(run)], ["report", str(run)]):
        capsys.readouterr()
        assert cli.main([*args, f"out={tmp_path / 'out'}"]) == 2
        message = "scores.csv: is not what its record says (other sha256, 24 rows there, 10 here)"
        assert message in capsys.readouterr().err


def test_the_second_of_two_commands_into_one_folder_is_refused_at_its_start(packed, tmp_path, capsys):
    out, run = tmp_path / "out", str(packed / "run")
    commands = {
        "evaluate": tiny.overrides(packed),
        "ablate": tiny.overrides(packed, "ablation=lambda"),
        "experiment": tiny.overrides(packed, "experiment=weights"),
        "compare": [run],
        "report": [run, "thumbnails=false"],
        "paper": [run],
    }
    with ResultFolder(out, "evaluate"):
        for name, args in commands.items():
            assert cli.main([name, *args, f"out={out}"]) == 2
            err = capsys.readouterr().err
            assert err.count("\n") == 1 and "is writing there; wait for it, or set out=DIR" in err


def scores(folder):
    return pd.read_csv(folder / "scores.csv", dtype={"image": str}).set_index("image")


def test_an_image_that_is_replaced_or_there_twice_or_skipped_has_its_own_scores(packed, tmp_path):
    shutil.copytree(packed / "set", tmp_path / "set")
    where = [f"dataset.root={tmp_path / 'set'}", "on_error=skip"]
    (tmp_path / "set" / "03.png").write_bytes(
        (tmp_path / "set" / "07.png").read_bytes()
    )  # replaced, and a duplicate
    (tmp_path / "set" / "05.png").write_bytes(b"no image")
    evaluate(tiny.job(packed, *where, f"out={tmp_path / 'a'}"), progress=False)
    was, now = scores(packed / "run"), scores(tmp_path / "a")
    assert list(now.index) == [name for name in was.index if name != "05.png"]
    cues = ["q_sim", "q_mag", "q"]
    assert (
        now.loc["03.png", cues].tolist()
        == was.loc["07.png", cues].tolist()
        == now.loc["07.png", cues].tolist()
    )
    others = [name for name in now.index if name != "03.png"]
    assert now.loc[others, cues].equals(was.loc[others, cues])
    assert (
        json.loads((tmp_path / "a" / "record.json").read_text())["dataset"]["skipped"][0]["image"] == "05.png"
    )


def test_a_folder_that_was_moved_has_the_same_scores_and_packs_where_it_is_now(packed, tmp_path, capsys):
    shutil.copytree(packed / "set", tmp_path / "set")
    run = tmp_path / "run"
    evaluate(tiny.job(packed, f"dataset.root={tmp_path / 'set'}", f"out={run}"), progress=False)
    (tmp_path / "set").rename(tmp_path / "moved")
    assert cli.main(["pack", str(run), f"cache_dir={packed / 'cache'}", tiny.named(packed)]) == 2
    assert f"dataset.root={tmp_path / 'set'}: no such folder" in capsys.readouterr().err
    moved = f"dataset.root={tmp_path / 'moved'}"
    assert cli.main(["pack", str(run), f"cache_dir={packed / 'cache'}", tiny.named(packed), moved]) == 0
    _, record = evaluate(tiny.job(packed, moved, f"out={tmp_path / 'again'}"), progress=False)
    assert record["cache"]["views_encoded"] == 0 and scores(tmp_path / "again").equals(scores(run))
