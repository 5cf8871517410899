"""Other people's environments: nothing is sent, nothing is written but the cache, and every run ends."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tiny
from PIL import Image

from magiqa.progress import progress_bar

# Python's sockets write down every call and refuse it, in child processes too
RECORD = """
import os, socket

def note(*target, **options):
    with open(os.environ["RECORD"], "a") as file:
        print(target, file=file)
    raise OSError("no network")

class Recorded(socket.socket):
    connect = connect_ex = sendto = note

socket.socket = Recorded
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = note
"""
THREAD = """
import sys, threading
from magiqa import Scorer
scores = []
thread = threading.Thread(target=lambda: scores.append(Scorer("demo", engine=sys.argv[1])(sys.argv[2:])))
thread.start()
thread.join()
assert len(scores[0]) == 1
assert "openvino_telemetry" not in sys.modules
"""


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (240, 224, 3), dtype=np.uint8)).save(path)
    return path


def environment(tmp_path, **changes):
    """The environment of a child process with an empty HOME, whose sockets are recorded."""
    start = tmp_path / "start"
    start.mkdir()
    (start / "sitecustomize.py").write_text(RECORD)
    home = tmp_path / "home"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAGIQA_", "XDG_", "HF_", "MPL"))}
    path = os.pathsep.join([str(start), *filter(None, [kept.get("PYTHONPATH")])])
    return kept | {"HOME": str(home), "PYTHONPATH": path, "RECORD": str(tmp_path / "calls")} | changes


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, pytest.param("/dev/null/no-folder", marks=pytest.mark.long)])
def test_a_scorer_sends_nothing_and_writes_nothing(tmp_path, photo, home):
    pytest.importorskip("openvino")
    settings = environment(tmp_path, **({"HOME": home} if home else {}))
    command = [sys.executable, "-c", THREAD, "openvino", str(photo)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "telemetry" not in done.stderr
    assert not (tmp_path / "calls").exists()
    assert list((tmp_path / "home").rglob("*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", pytest.param("cp932", marks=pytest.mark.long)])
def test_an_evaluation_ends_with_figures_whatever_the_environment(tmp_path, encoding):
    """With a notebook's backend that is not installed, an encoding that lacks dashes, and an empty HOME."""
    settings = environment(tmp_path, PYTHONIOENCODING=encoding, MPLBACKEND="module://no_such_backend")
    out = tmp_path / "run"
    run = [
        o for o in tiny.overrides(tiny.make(tmp_path)) if not o.startswith(("cache_dir", "engine", "figures"))
    ]
    command = [sys.executable, "-m", "magiqa.cli.main", "evaluate", *run, f"out={out}"]
    done = subprocess.run(command, env=settings, capture_output=True)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    assert list((out / "figures").glob("*.png"))
    assert not (tmp_path / "calls").exists()
    written = {
        p.relative_to(tmp_path / "home").parts[:2] for p in (tmp_path / "home").rglob("*") if p.is_file()
    }
    assert written == {(".cache", "magiqa")}


@pytest.mark.slow
def test_closed_streams_stop_nothing(tmp_path, photo):
    command = [sys.executable, "-m", "magiqa.cli.main", "score"]
    shared = {"env": environment(tmp_path), "cwd": tmp_path, "stderr": subprocess.PIPE, "text": True}
    done = subprocess.run([*command, "photo.png", "csv=scores.csv"], preexec_fn=lambda: os.close(1), **shared)
    assert done.returncode == 0, done.stderr
    assert "photo.png" in (tmp_path / "scores.csv").read_text()
    done = subprocess.run([*command, "-"], preexec_fn=lambda: os.close(0), **shared)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_a_log_gets_whole_lines_and_few_of_them(capsys):
    for shown in (True, False):
        assert len(list(progress_bar(range(5000), desc="encode", unit="image", shown=shown))) == 5000
    text = capsys.readouterr().err
    first, last = text.splitlines()
    assert "0/5000" in first and "5000/5000" in last and "\r" not in text and text.endswith("\n")
