"""A results folder under attack: kills at every step, a full disk, links, and two commands at once."""

import json
import os
import resource
import shutil
import signal
from functools import partial

import pandas as pd
import pytest

from magiqa.errors import UserError
from magiqa.runs import folder
from magiqa.runs.folder import ResultFolder
from magiqa.runs.read import read_listed

FILES = ["scores.csv", "agreement.csv"]


def write(path, value, name="evaluate", figure=""):
    """A command's results: two tables and a figure, all of one value."""
    with ResultFolder(path, name, FILES) as results:
        results.csv("scores", pd.DataFrame({"q": [value] * 3}))
        results.csv("agreement", pd.DataFrame({"srcc": [value]}))
        results.figure_path(f"{figure or 'plot'}.png").write_text(f"drawn {value}")
        return results.record({"magiqa": "0", "command": name, "value": value})


def read(path):
    """Return the record of a folder after checking each file that it lists."""
    record = json.loads((path / "record.json").read_text())
    for name in record["files"]:
        read_listed(path, record, name)
    return record


def names(path):
    return {p.relative_to(path).as_posix() for p in path.rglob("*") if not p.is_dir()}


def test_the_record_lists_rows_and_sha256_and_nothing_else_is_left(tmp_path):
    record = write(tmp_path, 1.5)
    assert read(tmp_path) == record
    assert record["files"]["scores.csv"]["rows"] == 3
    assert names(tmp_path) == {*FILES, "record.json", "figures/plot.png"}
    write(tmp_path, 2.5, figure="other")  # no two runs mix
    assert read(tmp_path)["value"] == 2.5
    assert names(tmp_path) == {*FILES, "record.json", "figures/other.png"}


def in_child(work):
    """Run in a process of its own; how it ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("step", range(8))
def test_killed_at_any_step_the_folder_holds_one_run_whole_or_none(tmp_path, monkeypatch, step):
    write(tmp_path, 1.0)
    (tmp_path / "mine.csv").write_text("mine")
    calls = []

    def killed(real, *args, **more):
        calls.append(args)
        if len(calls) > step:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **more)

    def work():
        monkeypatch.setattr(os, "replace", partial(killed, os.replace))
        monkeypatch.setattr(folder, "_remove", partial(killed, folder._remove))
        write(tmp_path, 2.0, figure="new")

    assert os.WIFSIGNALED(in_child(work)) == (step < 7)  # later than the last step it is done
    try:
        assert read(tmp_path)["value"] in (1.0, 2.0)
    except FileNotFoundError as error:
        assert error.filename == str(tmp_path / "record.json")
    except UserError as error:  # never wrong without a word
        assert "is not what its record says" in str(error) or "no such file" in str(error)
    assert (tmp_path / "mine.csv").read_text() == "mine"
    write(tmp_path, 3.0)  # its lock is taken over, its remains are known for magiqa's
    assert read(tmp_path)["value"] == 3.0
    assert names(tmp_path) == {*FILES, "record.json", "figures/plot.png", "mine.csv"}


def test_a_second_command_is_refused_in_one_line_at_its_start(tmp_path):
    words = "another magiqa command is writing there; wait .*out=DIR"
    with ResultFolder(tmp_path, "evaluate", FILES), pytest.raises(UserError, match=words):
        write(tmp_path, 1.0)
    write(tmp_path, 2.0)


@pytest.mark.parametrize("what", ["table", "figure", "record"])
def test_a_full_disk_is_one_line_and_the_earlier_run_is_all_there(tmp_path, what):
    """A file may be 20 kB: the kernel itself refuses what is larger."""
    write(tmp_path / "o", 1.0)
    big, small = "x" * 50_000, "x"

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with pytest.raises(UserError) as caught, ResultFolder(tmp_path / "o", "evaluate", FILES) as results:
            results.csv("scores", pd.DataFrame({"image": [big if what == "table" else small]}))
            results.figure_path("plot.png").write_text(big if what == "figure" else small)
            results.record({"magiqa": "0", "big": big if what == "record" else small})
        (tmp_path / "error").write_text(str(caught.value))

    assert in_child(work) == 0
    message = (tmp_path / "error").read_text()
    assert message.startswith(f"out={tmp_path / 'o'}: cannot be written (File too large); set out=DIR")
    assert read(tmp_path / "o")["value"] == 1.0
    assert names(tmp_path / "o") == {*FILES, "record.json", "figures/plot.png"}


def test_no_write_and_no_removal_follows_a_link(tmp_path):
    theirs, run = tmp_path / "theirs", tmp_path / "run"
    theirs.mkdir()
    (theirs / "plot.png").write_text("mine")
    write(run, 1.0)
    (run / "scores.csv").unlink()
    (run / "scores.csv").symlink_to(theirs / "plot.png")
    write(run, 2.0)
    assert read(run)["value"] == 2.0 and not (run / "scores.csv").is_symlink()
    for name, words in (("figures", "and results are written into no link"), (".lock", "keeps its lock")):
        shutil.rmtree(run)
        run.mkdir()
        (run / name).symlink_to(theirs)
        with pytest.raises(UserError, match=rf"{name}: is a link, .*{words}"):
            write(run, 2.0)
    assert {p.name: p.read_text() for p in theirs.iterdir()} == {"plot.png": "mine"}


@pytest.mark.parametrize("name", ["../mine.csv", "/mine.csv", "sub/../../mine.csv", "figures", ".", ""])
def test_a_record_that_lists_other_places_has_nothing_removed_there(tmp_path, name):
    run, mine = tmp_path / "run", tmp_path / "mine.csv"
    mine.write_text("mine")
    write(run, 1.0)
    record = json.loads((run / "record.json").read_text())
    listed = str(mine) if name == "/mine.csv" else name
    (run / "record.json").write_text(json.dumps(record | {"files": {**record["files"], listed: {}}}))
    (run / ".writing.json").write_text(json.dumps({"magiqa": "0", "files": {listed: {}, "sub/x": {}}}))
    write(run, 2.0)
    assert mine.read_text() == "mine" and read(run)["value"] == 2.0


def test_what_no_record_lists_is_not_overwritten_and_nothing_is_removed_for_it(tmp_path):
    write(tmp_path, 1.0)
    (tmp_path / "figures" / "mine.png").write_text("mine")
    with pytest.raises(UserError, match=r"figures/mine.png: would be overwritten, and no record there says"):
        write(tmp_path, 2.0, figure="mine")
    assert (tmp_path / "figures" / "mine.png").read_text() == "mine"


def test_a_table_that_is_changed_gone_or_in_no_record_is_refused(tmp_path):
    record = write(tmp_path, 1.0)
    table = (tmp_path / "scores.csv").read_text()
    for changed in ("", table[:-4], table + "1.5\n"):
        (tmp_path / "scores.csv").write_text(changed)
        with pytest.raises(UserError, match=r"scores.csv: is not what its record says \(other sha256"):
            read_listed(tmp_path, record, "scores.csv")
    with pytest.raises(UserError, match="the record beside it does not list it"):
        read_listed(tmp_path, record, "record.json")
    (tmp_path / "scores.csv").unlink()
    os.mkfifo(tmp_path / "scores.csv")  # never opened: that would wait for ever
    with pytest.raises(UserError, match="no such file, and the record lists it"):
        read_listed(tmp_path, record, "scores.csv")


def test_a_cell_that_a_spreadsheet_would_run_stays_and_is_warned_of(tmp_path):
    names = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "-0.5", "a.png", "\t=1", ""]
    with ResultFolder(tmp_path, "evaluate") as results:
        results.csv("scores", pd.DataFrame({"image": names, "q": range(8)}))
        results.csv("plain", pd.DataFrame({"image": ["a=b", "1-2"], "q": [-0.5, 1]}))
        record = results.record({"magiqa": "0", "command": "evaluate", "warnings": []})
    assert pd.read_csv(tmp_path / "scores.csv", keep_default_na=False, dtype=str)["image"].tolist() == names
    (warning,) = record["warnings"]
    assert (
        "scores.csv: a spreadsheet would run 5 cells as formulas, such as [\"=cmd|' /C calc'!A0\"]" in warning
    )
