"""Signals to a real command: what was encoded stays, one line, the right exit code."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny

from magiqa.cli import main as cli
from magiqa.errors import UserError
from magiqa.features.cache import FeatureCache
from magiqa.features.source import prepare
from magiqa.runs.record import Clock
from magiqa.stop import Terminated

# a command whose every image takes a fifth of a second, and which writes how many batches it encoded
SLOW = """
import sys, time
from magiqa.features import pipeline, source
from magiqa.cli.main import main
real, build = pipeline.load_file, source.build
def slow(*args, **more):
    time.sleep(0.2)
    return real(*args, **more)
def counting(*args, **more):
    engine = build(*args, **more)
    class Counted:
        batch_size, streams, warnings = engine.batch_size, engine.streams, engine.warnings
        max_error = engine.max_error
        def __call__(self, views):
            out = engine(views)
            sys.stdout.write(f"encoded {len(views)}\\n")
            sys.stdout.flush()
            return out
    return Counted()
pipeline.load_file, source.build = slow, counting
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.long
def test_a_signal_loses_no_view_that_was_encoded(tmp_path, number, code):
    made = tiny.make(tmp_path)
    args = [sys.executable, "-c", SLOW, "encode", *tiny.overrides(made, "batch_size=4")]
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
        lines = [command.stdout.readline() for _ in range(4)]
        assert all(line.startswith("encoded") for line in lines)
        time.sleep(0.1)
        command.send_signal(number)
        command.send_signal(number if number == signal.SIGTERM else 0)
        out, err = command.communicate(timeout=60)
    assert command.returncode == code
    said = [line for line in err.splitlines() if line.startswith("magiqa:")]
    assert said == ["magiqa: stopped; what was encoded is cached: the same command goes on from there"]
    assert "Traceback" not in err
    encoded = sum(int(line.split()[1]) for line in [*lines, *out.splitlines()])
    features = next((tmp_path / "cache" / "features").iterdir())
    assert not list(features.glob("*.tmp"))
    rest = prepare(tiny.job(made), Clock(), progress=False)
    assert rest.record["views"]["count"] - rest.record["cache"]["views_encoded"] == encoded
    whole = prepare(tiny.job(made, f"cache_dir={tmp_path / 'other'}"), Clock(), progress=False)
    assert isinstance(rest.cache, FeatureCache)
    for image in whole.images:
        a, b = (np.concatenate([rows for _, rows in f.cache.blocks([image])]) for f in (rest, whole))
        assert np.array_equal(a, b)


def test_a_signal_to_a_command_that_is_failing_hides_no_failure(tmp_path, capsys, monkeypatch):
    class Full:
        @staticmethod
        def run(given):
            try:
                raise UserError("cache_dir=/c: No space left on device")
            finally:
                raise Terminated(143)

    monkeypatch.setattr(cli, "import_module", lambda name: Full)
    assert cli.main(["cache"]) == 2
    assert capsys.readouterr().err == "magiqa: cache_dir=/c: No space left on device\n"


WAITS = """
import signal
from magiqa.stop import Terminated, listening, unbroken
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
done = []
try:
    with listening(), unbroken():
        with unbroken():
            signal.raise_signal(signal.SIGTERM)
            done.append("inner")
        done.append("outer")
except Terminated as ended:
    done.append(ended.code)
try:
    with listening(), unbroken():
        signal.raise_signal(signal.SIGINT)
        done.append("once")
        signal.raise_signal(signal.SIGINT)  # who insists is heard
        done.append("twice")
except KeyboardInterrupt:
    print(*done)
"""


def test_a_signal_waits_for_the_end_of_what_is_not_to_be_broken():
    ended = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, text=True, check=True)
    assert ended.stdout == "inner outer 143 once\n"
