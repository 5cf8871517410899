"""A full disk, a cut table, two commands in one folder: one line from every command, and nothing lost."""

import json
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pandas as pd
import pytest
import tiny

from magiqa.cli import main as cli
from magiqa.runs.folder import ResultFolder
from magiqa.studies.evaluate import evaluate

pytestmark = pytest.mark.slow


@contextmanager
def full_disk(most):
    """Files of more than so many bytes are refused by the kernel: a disk that fills while a command writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tiny.make(tmp_path_factory.mktemp("survival"))
    evaluate(tiny.job(folder, f"out={folder / 'run'}"), progress=False)
    return folder


def commands(made, out):
    run = str(made / "run")
    return {
        "evaluate": ["evaluate", *tiny.overrides(made, f"out={out}")],
        "evaluate with figures": ["evaluate", *tiny.overrides(made, f"out={out}", "figures=true")],
        "ablate": ["ablate", *tiny.overrides(made, "ablation=lambda", f"out={out}")],
        "compare": ["compare", run, f"out={out}"],
        "report": ["report", run, f"out={out}", "thumbnails=false"],
        "paper": ["paper", run, f"out={out}"],
        "pack": ["pack", run, f"out={out}", f"cache_dir={made / 'cache'}", tiny.named(made)],
    }


@pytest.mark.parametrize(
    "name", ["evaluate", "evaluate with figures", "ablate", "compare", "report", "paper", "pack"]
)
def test_a_full_disk_is_one_line(made, tmp_path, capsys, name):
    out = tmp_path / "out"
    with full_disk(9000 if name == "evaluate with figures" else 300):
        ended = cli.main(commands(made, out)[name])
    err = capsys.readouterr().err
    said = [line for line in err.splitlines() if line and "encode:" not in line]
    assert ended == 2 and len(said) == 1, err
    assert said[0].startswith(f"magiqa: out={out}: cannot be written (File too large); ")
    left = [] if not out.is_dir() else [p.name for p in out.rglob("*") if p.is_file()]
    if name != "evaluate with figures":
        assert left == []
    else:  # its tables were there before the figures began
        assert "record.json" in left and not [n for n in left if n.endswith(".png")]


@pytest.mark.parametrize("lines", [11, 24, 1])
def test_a_table_cut_at_a_line_end_is_refused_by_every_reader(made, tmp_path, capsys, lines):
    run = tmp_path / "run"
    evaluate(tiny.job(made, f"out={run}"), progress=False)
    text = (run / "scores.csv").read_text().splitlines(keepends=True)
    (run / "scores.csv").write_text("".join(text[:lines]))
    for args in (["compare", str(run)], ["compare", str(made / "run"), str(run)], ["report", str(run)]):
        capsys.readouterr()
        assert cli.main([*args, f"out={tmp_path / 'out'}"]) == 2
        err = capsys.readouterr().err
        assert (
            f"scores.csv: is not what its record says (other sha256, 24 rows there, {lines - 1} here)" in err
        )


def test_the_second_of_two_commands_into_one_folder_is_refused_at_its_start(made, tmp_path, capsys):
    out = tmp_path / "out"
    with ResultFolder(out, "evaluate"):
        for name, args in commands(made, out).items():
            if name == "pack":
                continue
            capsys.readouterr()
            assert cli.main(args) == 2
            err = capsys.readouterr().err
            assert err.count("\n") == 1 and "is writing there; wait for it, or set out=DIR" in err
    assert cli.main(commands(made, out)["evaluate"]) == 0
    assert json.loads((out / "record.json").read_text())["command"] == "evaluate"


def test_links_in_a_folder_that_came_from_elsewhere_lead_no_command_out(made, tmp_path, capsys):
    run, mine = tmp_path / "run", tmp_path / "mine"
    evaluate(tiny.job(made, f"out={run}"), progress=False)
    mine.mkdir()
    for name in ("comparison.csv", "picture.png"):
        (mine / name).write_text("mine")
    (run / "comparison.csv").unlink(missing_ok=True)
    (run / "comparison.csv").symlink_to(mine / "comparison.csv")
    cli.main(["compare", str(run)])  # refused, or the link itself is replaced
    (run / "comparison.csv").unlink()
    (run / "figures").symlink_to(mine)
    capsys.readouterr()
    assert cli.main(["evaluate", *tiny.overrides(made, f"out={run}", "figures=true")]) == 2
    assert "figures: is a link, and results are written into no link" in capsys.readouterr().err
    assert {p.name: p.read_text() for p in mine.iterdir()} == {
        "comparison.csv": "mine",
        "picture.png": "mine",
    }


READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'  # which binds root too


@pytest.mark.long
@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="only root can mount")
def test_a_cache_on_a_disk_that_can_only_be_read_serves_reads_with_a_word(made, tmp_path):
    shutil.copytree(made / "cache", tmp_path / "cache")

    def run(name, *more):
        args = tiny.overrides(made, f"cache_dir={tmp_path / 'cache'}", f"out={tmp_path / name}", *more)
        command = [sys.executable, "-m", "magiqa.cli.main", "evaluate", *args]
        mounted = ["unshare", "-m", "sh", "-c", READ_ONLY, str(tmp_path / "cache"), *command]
        return subprocess.run(mounted, capture_output=True, text=True, timeout=300)

    known = run("known", "prompts=clipiqa")
    assert known.returncode == 0, known.stderr
    assert "are not stored" in known.stdout + known.stderr
    new = run("new", "views.stride=16")
    said = [line for line in new.stderr.splitlines() if line.startswith("magiqa:")]
    assert new.returncode == 2 and len(said) == 1
    assert "the cache cannot be written (Read-only file system)" in said[0]


def scores(folder):
    return pd.read_csv(folder / "scores.csv", dtype={"image": str}).set_index("image")


def test_an_image_that_is_replaced_or_there_twice_or_skipped_has_its_own_scores(made, tmp_path):
    shutil.copytree(made / "set", tmp_path / "set")
    where = [f"dataset.root={tmp_path / 'set'}", "on_error=skip"]
    (tmp_path / "set" / "03.png").write_bytes(
        (tmp_path / "set" / "07.png").read_bytes()
    )  # replaced, and a duplicate
    (tmp_path / "set" / "05.png").write_bytes(b"no image")
    evaluate(tiny.job(made, *where, f"out={tmp_path / 'a'}"), progress=False)
    was, now = scores(made / "run"), scores(tmp_path / "a")
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


def test_a_folder_that_was_moved_has_the_same_scores_and_packs_where_it_is_now(made, tmp_path, capsys):
    shutil.copytree(made / "set", tmp_path / "set")
    run = tmp_path / "run"
    evaluate(tiny.job(made, f"dataset.root={tmp_path / 'set'}", f"out={run}"), progress=False)
    (tmp_path / "set").rename(tmp_path / "moved")
    assert cli.main(["pack", str(run), f"cache_dir={made / 'cache'}", tiny.named(made)]) == 2
    assert f"dataset.root={tmp_path / 'set'}: no such folder" in capsys.readouterr().err
    moved = f"dataset.root={tmp_path / 'moved'}"
    assert cli.main(["pack", str(run), f"cache_dir={made / 'cache'}", tiny.named(made), moved]) == 0
    _, record = evaluate(tiny.job(made, moved, f"out={tmp_path / 'again'}"), progress=False)
    assert record["cache"]["views_encoded"] == 0 and scores(tmp_path / "again").equals(scores(run))
