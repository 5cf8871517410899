"""Work in tasks: the same bytes as in one process, whatever is killed or preempted, and what came of it is told."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tiny

from magiqa.cli.main import main
from magiqa.config import launch as launching
from magiqa.config.launch import Launched, Launcher, Outcome, Task, launch, private_folder, watch
from magiqa.errors import UserError
from magiqa.features.cache import FeatureCache

cloudpickle = pytest.importorskip("cloudpickle")
JobPaths = pytest.importorskip("submitit.core.utils").JobPaths


def features(root: Path) -> dict[str, bytes]:
    """Every image's features, as bytes."""
    (folder,) = (root / "features").iterdir()
    cache = FeatureCache(root, json.loads((folder / "key.json").read_text()))
    images = sorted(cache.entries)
    return {images[owner[0]]: rows.tobytes() for owner, rows in cache.blocks(images, views=1)}


@pytest.fixture(autouse=True)
def importable(monkeypatch, tmp_path):
    """Tasks import this magiqa, wherever it lies."""
    here = str(Path(launching.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


@pytest.mark.long
def test_two_processes_fill_the_cache_with_the_same_bytes_as_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tiny.make(tmp_path)
    assert main(["encode", *tiny.overrides(folder, f"cache_dir={tmp_path}/one")]) == 0
    alone = capsys.readouterr().out
    typed = tiny.overrides(folder, f"cache_dir={tmp_path}/two", "launcher=local", "launcher.jobs=2")
    assert main(["encode", *typed]) == 0
    out, err = capsys.readouterr()
    assert features(tmp_path / "one") == features(tmp_path / "two")
    assert len(list((tmp_path / "two" / "features").glob("*/*.safetensors"))) == 2
    assert f"part 2/2 of {alone.partition(':')[0]}: {tiny.N // 2} images" in out.splitlines()[2]
    assert "2/2 [" in err and "0 failed, 2 new shards" in err
    (launches,) = (tmp_path / "home" / "magiqa" / "launches").iterdir()
    assert stat.S_IMODE(launches.stat().st_mode) == 0o700 and not (tmp_path / "two" / "launches").exists()
    assert main(["encode", *typed]) == 0
    assert "0 of them new" in capsys.readouterr().out


@pytest.mark.long
def test_an_unreadable_image_fails_its_task_and_no_other(tmp_path, capsys):
    folder = tiny.make(tmp_path)
    (folder / "set" / "02.png").write_bytes(b"no image")
    assert main(["encode", *tiny.overrides(folder, "launcher=local", "launcher.jobs=2")]) == 2
    err = capsys.readouterr().err
    assert "02.png: " in err and "1 of 2 tasks failed" in err and "_log.err" in err
    assert "1 failed, " in err and "Traceback" not in err
    assert len(features(tmp_path / "cache")) >= tiny.N // 2
    assert main(["encode", *tiny.overrides(folder, "launcher=local", "on_error=skip")]) == 0
    assert len(features(tmp_path / "cache")) == tiny.N - 1


@pytest.mark.parametrize(
    ("command", "typed", "message"),
    [
        ("evaluate", ["-m", "launcher=local"], "fill the cache first with magiqa encode"),
        ("ablate", ["ablation=lambda", "launcher=local"], "fill the cache first with magiqa encode"),
        ("encode", ["launcher=local", "part=1/2"], "part= and launcher= both share out the images"),
        ("encode", ["launcher=local", "launcher.jobs=0"], "launcher.jobs=0 must be a whole number from 1"),
        ("encode", ["launcher=local", "dataset.root=/none"], "/none"),
        ("encode", ["launcher=slurm", "launcher.slurm_partitoin=x"], "slurm_partition"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_launched_is_said_before_anything_is(tmp_path, capsys, command, typed, message):
    assert main([command, *tiny.overrides(tiny.make(tmp_path), *typed)]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "home").exists()


def worker_of(launched: Launched, task: int) -> int:
    """The process that does a task's work: the child of submitit's controller."""
    controller = launched.jobs[task].job_id
    for _ in range(600):
        children = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
        if children and (launched.folder / f"begun-{task}").exists():
            return int(children[0])
        time.sleep(0.1)
    raise AssertionError("the task did not begin")


def make_work():
    """Work that waits on its first attempt and says what it did; nested, so that it travels by value."""

    def work(item):
        import time
        from pathlib import Path

        folder = max(Path(item[0]).glob("launches/*"))
        begun = folder / f"begun-{item[1]}"
        if begun.exists():
            return "second attempt"
        begun.touch()
        try:
            time.sleep(120)
        finally:
            (folder / f"saved-{item[1]}").touch()

    return work


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds a task's process by /proc")
@pytest.mark.long
def test_killed_preempted_and_terminated_tasks(tmp_path, capsys):
    launcher = Launcher("local", jobs=2, timeout_min=60, folder=str(tmp_path / "launches"))
    launched = launch(launcher, make_work(), [[(str(tmp_path), i)] for i in range(3)])
    found: list[list[Outcome]] = []
    watcher = threading.Thread(target=lambda: found.extend(watch(launched, tmp_path)))
    watcher.start()
    for task, signum in enumerate((signal.SIGKILL, signal.SIGUSR2, signal.SIGTERM)):
        os.kill(worker_of(launched, task), signum)
    watcher.join(120)
    killed, preempted, terminated = (outcomes[0] for outcomes in found)
    assert killed.error is not None and "ended without a result" in killed.error
    assert not (launched.folder / "saved-0").exists()
    assert preempted == Outcome("second attempt") and (launched.folder / "saved-1").exists()
    assert "Requeued job" in launched.jobs[1].paths.stdout.read_text()
    assert terminated.error is not None and "ended without a result" in terminated.error
    assert (launched.folder / "saved-2").exists()
    assert f"task 0 ({launched.jobs[0].job_id}): ended without a result" in capsys.readouterr().err


def test_an_item_that_fails_is_told_and_the_next_one_runs(tmp_path, capsys):
    def work(item):
        if item == 1:
            raise UserError("one is no item")
        if item == 2:
            raise ZeroDivisionError
        return item

    outcomes = Task(work, [0, 1, 2, 3])()
    errors = ["one is no item", "ZeroDivisionError"]
    assert outcomes == [Outcome(0), *(Outcome(error=error) for error in errors), Outcome(3)]
    err = capsys.readouterr().err
    assert "magiqa: one is no item" in err and err.count("Traceback") == 1


def test_local_tasks_share_out_the_gpus_and_cores(monkeypatch):
    def shown(each, tasks=3):
        launcher = Launcher("local", jobs=tasks, gpus_per_node=each)
        return [own["CUDA_VISIBLE_DEVICES"] for own in launching._variables(launcher, tasks)]

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert shown(1) == ["2", "5", "2"] and shown(2) == ["2,5"] * 3 and shown(None) == ["2,5"] * 3
    with pytest.raises(
        UserError, match=r"^launcher.gpus_per_node=3: this command sees 2 GPUs; use 2 or null"
    ):
        shown(3)
    monkeypatch.setattr(launching, "usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert launching._variables(Launcher("local"), 3)[0]["OMP_NUM_THREADS"] == "2"
    seen = Task(lambda item: os.environ["MAGIQA_TEST"], [0], {"MAGIQA_TEST": "1"})()
    assert seen == [Outcome("1")]
    monkeypatch.delenv("MAGIQA_TEST")


class SlurmJob:
    def __init__(self, job_id: str, folder: Path):
        self.job_id, self.paths = job_id, JobPaths(folder, job_id)


def test_a_task_that_left_the_queue_without_a_result_is_lost_and_told(tmp_path, monkeypatch, capsys):
    command = tmp_path / "bin" / "squeue"  # of a queue that holds no task any more
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(launching, "QUEUE_SECONDS", 0.1)
    jobs = [SlurmJob(name, tmp_path) for name in ("7_0", "7_1")]
    jobs[0].paths.result_pickle.write_bytes(cloudpickle.dumps(("success", [Outcome("done")])))
    jobs[1].paths.stderr.write_text("fine\nslurmstepd: error: Exceeded memory limit\n\n")
    lost = "ended without a result; its log's last line: slurmstepd: error: Exceeded memory limit"
    outcomes = watch(Launched(tmp_path, jobs, [["a"], ["b", "c"]]), tmp_path)
    assert outcomes == [[Outcome("done")], [Outcome(error=lost)] * 2]
    err = capsys.readouterr().err
    assert f"task 1 (7_1): {lost}" in err and err.count("task 1 (7_1)") == 1
    assert err.count("new shards") < 3  # a log gets no line for each look at the queue
    assert (tmp_path / "asked").read_text().split()[-1] == "7"


def test_tasks_are_not_read_from_a_folder_that_others_can_write(tmp_path):
    mine = private_folder(tmp_path / "mine" / "one")
    assert stat.S_IMODE(mine.stat().st_mode) == stat.S_IMODE(mine.parent.stat().st_mode) == 0o700
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "shared")
    for folder in (tmp_path / "shared" / "a" / "b", tmp_path / "link" / "c"):
        with pytest.raises(UserError, match=r"shared: other users can change.*launcher.folder=DIR"):
            private_folder(folder)
    (tmp_path / "shared").chmod(0o1777)  # as /tmp: nobody renames what another one owns
    assert private_folder(tmp_path / "shared" / "d").is_dir()
    if os.geteuid() == 0:
        os.chown(tmp_path / "shared" / "d", 12345, -1)
        with pytest.raises(UserError, match="other users"):
            private_folder(tmp_path / "shared" / "d" / "e")


@pytest.mark.long
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_its_tasks_in_seconds(tmp_path, signum):

    def heard() -> None:  # by a shell's background job, too
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from magiqa.cli import encode, main\n"
        "def work(folder):\n"
        "    (Path(folder) / 'begun').touch()\n"
        "    try:\n"
        "        time.sleep(300)\n"
        "    finally:\n"
        "        (Path(folder) / 'saved').touch()\n"
        "from magiqa.config.launch import Launcher, launch, watch\n"
        "def run(arguments):\n"
        "    launched = launch(Launcher('local', folder=sys.argv[1] + '/launches'), work, [[sys.argv[1]]])\n"
        "    watch(launched, sys.argv[1])\n"
        "encode.run = run\n"
        "sys.exit(main.main(['encode']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stderr=subprocess.PIPE, preexec_fn=heard
    )
    for _ in range(600):
        if (tmp_path / "begun").exists():
            break
        time.sleep(0.1)
    process.send_signal(signum)
    assert process.wait(30) == 128 + signum and (tmp_path / "saved").exists()
