"""Work in tasks: processes of this machine, or a job array of SLURM, both by submitit.

Each task gets its share when it is submitted. What it did lies in the cache and in results folders, so a task that is
killed loses only what it had in hand, and the same command goes on.
"""

import os
import pickle
import signal
import stat
import subprocess
import sys
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from magiqa.cores import SHARE, usable_cores
from magiqa.errors import UserError, one_line, users_mistake
from magiqa.package import expanded
from magiqa.progress import progress_bar
from magiqa.runs.launcher import Launcher

LINGER_SECONDS = 600.0  # after SIGTERM, for what a cluster sends next


@dataclass(frozen=True)
class Outcome:
    """The result of one item of work: a value, or an error in a line."""

    value: Any = None
    error: str | None = None


class Preempted(KeyboardInterrupt):
    """Raised in a task that is to make room: it stops as by hand, which saves what it has."""


class Task:
    """A share of the work, in a process of its own.

    Args:
        run: takes one item after the other. items: the share. variables: of the environment, set before the work.
    """

    def __init__(
        self, run: Callable[[Any], Any], items: Sequence[Any], variables: Mapping[str, str] | None = None
    ) -> None:
        self.run, self.items, self.variables = run, list(items), dict(variables or {})

    def __call__(self) -> list[Outcome]:
        """Do the share; print the error of an item that fails, and go on with the next one."""
        os.environ |= self.variables  # before torch starts
        with saved_first():
            return [self._outcome(item) for item in self.items]

    def checkpoint(self) -> Any:
        """Return what submitit requeues: the same share, of which the cache holds what was done."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _outcome(self, item: Any) -> Outcome:
        try:
            return Outcome(self.run(item))
        except Exception as error:
            if users_mistake(error) is None:
                traceback.print_exc()
            print(f"magiqa: {one_line(error)}", file=sys.stderr, flush=True)
            return Outcome(error=one_line(error))


@contextmanager
def saved_first() -> Iterator[None]:
    """Save what is encoded at a signal, then let the task be requeued.

    submitit's signal requeues at once, in the midst of the work, and submitit ignores SIGTERM, which SLURM sends some
    time before it kills. Here both stop the work as Ctrl-C does. Then submitit's own handler requeues if its signal
    came. After SIGTERM alone the task waits for that signal or for its end, which SLURM follows with a requeue of its
    own if it preempts: a task that left by itself would count as finished.
    """
    signum = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
    requeue = signal.getsignal(signum)
    came: set[int] = set()

    def stop(number: int, frame: Any) -> None:
        came.add(number)
        if len(came) == 1:
            raise Preempted

    before = {s: signal.signal(s, stop) for s in (signum, signal.SIGTERM)}
    try:
        yield
    except Preempted:
        print("magiqa: told to make room; what was encoded is saved", file=sys.stderr, flush=True)
        until = time.monotonic() + (LINGER_SECONDS if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" else 0)
        while signum not in came and time.monotonic() < until:
            time.sleep(0.2)
        if signum in came and callable(requeue):
            requeue(signum, None)
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        if not came:
            for s, handler in before.items():
                signal.signal(s, handler)


STOP_SECONDS = 60.0  # processes of this machine have this long to save what they encoded
QUEUE_SECONDS = 5.0  # between two looks at SLURM's queue
GONE_LOOKS = 3  # a task that left the queue has so many looks for its result to appear: shared disks lag


@dataclass(frozen=True)
class Launched:
    """Tasks under way.

    Args:
        folder: with their logs. jobs: submitit's, one for each task. shares: the items of each.
    """

    folder: Path
    jobs: list[Any]
    shares: list[list[Any]]

    @property
    def ids(self) -> str:
        """The id of the array, or of each process."""
        return ",".join(dict.fromkeys(job.job_id.partition("_")[0] for job in self.jobs))

    @property
    def local(self) -> bool:
        """Tell if the tasks are processes of this machine."""
        return type(self.jobs[0]).__name__ != "SlurmJob"

    def states(self) -> list[str] | None:
        """Return the state of each task, "" for one that has left; None while the queue does not answer."""
        if self.local:
            return ["" if job.done() else "running" for job in self.jobs]
        command = ["squeue", "--noheader", "--array", "--format=%i %T", "--jobs", self.ids]
        try:
            queue = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if queue.returncode and "Invalid job id" not in queue.stderr:
            return None
        rows = [line.split() for line in queue.stdout.splitlines()]
        states = {row[0]: row[1].lower() for row in rows if len(row) == 2}
        return [states.get(job.job_id, "") for job in self.jobs]

    def outcomes(self, task: int, lost: bool) -> list[Outcome] | None:
        """Return the outcomes of a task's items; None while it works. All of a lost task's items have errors."""
        try:
            with open(self.jobs[task].paths.result_pickle, "rb") as file:
                kind, value = pickle.load(file)
        except (OSError, EOFError):
            if not lost:
                return None
            kind, value = "error", f"ended without a result; its log's last line: {self._last_line(task)}"
        if kind == "success":
            return list(value)
        return [Outcome(error=str(value).strip().splitlines()[-1]) for _ in self.shares[task]]

    def _last_line(self, task: int) -> str:
        paths = self.jobs[task].paths
        logs = [path.read_text(errors="replace") for path in (paths.stdout, paths.stderr) if path.is_file()]
        lines = [line.strip() for log in logs for line in log.splitlines() if line.strip()]
        return lines[-1] if lines else "its log is empty"

    def stop(self) -> None:
        """End the processes of this machine once they have saved their work; a cluster's tasks go on."""
        if not self.local:
            print(f"the tasks go on; to end them: scancel {self.ids}", file=sys.stderr, flush=True)
            return
        running = [job for job in self.jobs if not job.done()]
        for job in running:
            job._process.terminate()  # which tells the task's process; cancel() would kill it a second later
        until = time.monotonic() + STOP_SECONDS
        while any(not job.done() for job in running) and time.monotonic() < until:
            time.sleep(0.1)


def watch(launched: Launched, cache_dir: str | Path) -> list[list[Outcome]]:
    """Wait for all tasks, and return the outcomes of the items of each.

    A task that was requeued is waited for; one that left the queue without a result is lost.
    """
    tasks = range(len(launched.jobs))
    ended: dict[int, list[Outcome]] = {}
    absent: Counter[int] = Counter()
    shards = expanded(cache_dir) / "features"
    before = len(list(shards.glob("*/*.safetensors")))
    with progress_bar(total=len(tasks), unit="task", miniters=0) as bar:
        try:
            while True:
                states = launched.states()
                for task in (t for t in tasks if t not in ended):
                    absent[task] = absent[task] + 1 if states and not states[task] else 0
                    lost = absent[task] >= (1 if launched.local else GONE_LOOKS)
                    outcomes = launched.outcomes(task, lost)
                    if outcomes is not None:
                        ended[task] = outcomes
                        bar.update()
                        job = launched.jobs[task]
                        for error in dict.fromkeys(o.error for o in outcomes if o.error):
                            log = f"\n  its log: {job.paths.stderr}"
                            bar.write(f"task {task} ({job.job_id}): {error}{log}", sys.stderr)
                failed = sum(any(o.error for o in outcomes) for outcomes in ended.values())
                running = sum(states[t] == "running" for t in tasks if t not in ended) if states else 0
                new = len(list(shards.glob("*/*.safetensors"))) - before
                bar.set_postfix_str(f"{running} running, {failed} failed, {new} new shards", refresh=False)
                bar.update(0)  # which keeps to the log's interval
                if len(ended) == len(tasks):
                    return [ended[task] for task in tasks]
                time.sleep(0.2 if launched.local else QUEUE_SECONDS)
        except (KeyboardInterrupt, SystemExit):
            launched.stop()
            raise


def launch(launcher: Launcher, run: Callable[[Any], Any], shares: Sequence[Sequence[Any]]) -> Launched:
    """Submit a task for each share.

    Args:
        run: a function that can be pickled by name; it takes one item at a time.

    Raises:
        UserError: submitit is missing, no SLURM here, a folder that others can write, parameters that submitit or the
            cluster refuses.
    """
    try:
        import submitit
    except ImportError:
        raise UserError(
            f"launcher={launcher.cluster} needs submitit: pip install 'magiqa[slurm]', or use launcher=none"
        ) from None
    variables = _variables(launcher, len(shares)) if launcher.cluster == "local" else [{}] * len(shares)
    tasks = [Task(run, share, own) for share, own in zip(shares, variables, strict=True)]
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    folder = private_folder(launcher.tasks_folder / name)
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # processes leave Ctrl-C to their watcher
    try:
        executor = submitit.AutoExecutor(
            folder, cluster=launcher.cluster, **launcher.parameters(made_with=True)
        )
        executor.update_parameters(**launcher.parameters())
        jobs = executor.submit_array(tasks)
    except (
        RuntimeError,
        NameError,
        TypeError,
        ValueError,
        AssertionError,
        CalledProcessError,
        OSError,
    ) as error:
        raise UserError(
            f"launcher={launcher.cluster}: the tasks could not be submitted: {one_line(error)}; without SLURM's sbatch "
            "on this machine use launcher=local"
        ) from None
    finally:
        signal.signal(signal.SIGINT, interrupt)
    return Launched(folder, list(jobs), [list(share) for share in shares])


def private_folder(folder: Path) -> Path:
    """Make a folder that nobody else can write or replace, since tasks are unpickled from it.

    Raises:
        UserError: somebody else owns or can write a folder on the way to it.
    """
    folder = expanded(folder).absolute()
    for part in (*reversed(folder.parents), folder):
        part.mkdir(mode=0o700, exist_ok=True)
    folder = folder.resolve()
    for part in (folder, *folder.parents) if hasattr(os, "getuid") else ():
        status = part.stat()
        open_to_others = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if open_to_others or status.st_uid not in (0, os.getuid()):
            raise UserError(
                f"{part}: other users can change what lies there, and so run code in your tasks; give "
                "launcher.folder=DIR, a folder that only you can write and that every node sees"
            )
    return folder


def _variables(launcher: Launcher, tasks: int) -> list[dict[str, str]]:
    """Return the environment of each task on this machine: its share of the cores, and its GPUs in turn.

    submitit shows every local task the same first GPUs, or none.
    """
    share = str(launcher.cpus_per_task or max(1, usable_cores() // tasks))
    common = {SHARE: share, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or share}
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen is None:
        import torch

        seen = ",".join(map(str, range(torch.cuda.device_count())))
    names = [name for name in seen.split(",") if name]
    each = len(names) if launcher.gpus_per_node is None else launcher.gpus_per_node
    if each > len(names):
        raise UserError(
            f"launcher.gpus_per_node={each}: this command sees {len(names)} GPUs; use {len(names)} or null"
        )
    turns = [[names[(task * each + k) % len(names)] for k in range(each)] for task in range(tasks)]
    return [common | {"CUDA_VISIBLE_DEVICES": ",".join(turn)} for turn in turns]
