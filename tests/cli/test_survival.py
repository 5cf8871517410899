"""A full disk, a cut table, two commands in one folder: one line from every command, and nothing lost."""

import json
import subprocess
import sys

import pytest
import tiny

from magiqa.cli import main as cli
from magiqa.runs.folder import ResultFolder
from magiqa.studies.evaluate import evaluate

pytestmark = pytest.mark.slow

# files of more than so many bytes are refused by the kernel: a disk that fills while a command writes
FULL = """
import resource, sys
from magiqa.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


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
        "compare": ["compare", run, f"out={out}", "resamples=100"],
        "report": ["report", run, f"out={out}", "thumbnails=false"],
        "pack": ["pack", run, f"out={out}", f"cache_dir={made / 'cache'}"],
    }


@pytest.mark.parametrize("name", ["evaluate", "evaluate with figures", "ablate", "compare", "report", "pack"])
def test_a_full_disk_is_one_line(made, tmp_path, name):
    out = tmp_path / "out"
    most = "9000" if name == "evaluate with figures" else "300"
    args = [sys.executable, "-c", FULL, most, *commands(made, out)[name]]
    ended = subprocess.run(args, capture_output=True, text=True, timeout=300)
    said = [line for line in ended.stderr.splitlines() if line and "encode:" not in line]
    assert ended.returncode == 2 and len(said) == 1, ended.stderr
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
    cli.main(["compare", str(run), "resamples=100"])  # refused, or the link itself is replaced
    (run / "comparison.csv").unlink()
    (run / "figures").symlink_to(mine)
    capsys.readouterr()
    assert cli.main(["evaluate", *tiny.overrides(made, f"out={run}", "figures=true")]) == 2
    assert "figures: is a link, and results are written into no link" in capsys.readouterr().err
    assert {p.name: p.read_text() for p in mine.iterdir()} == {
        "comparison.csv": "mine",
        "picture.png": "mine",
    }
