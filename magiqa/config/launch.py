"""Work in tasks: processes of this machine or a job array of SLURM, both by submitit.

There is no queue and no coordinator here: each task is given its share when it is submitted, and what it did lies in
the cache and in results folders, so that a task that is killed costs what it had in hand, and the same command goes on.
"""

import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magiqa.cores import SHARE, usable_cores
from magiqa.errors import UserError, one_line, users_mistake
from magiqa.features.progress import report_to
from magiqa.runs.launcher import Launcher

ALL_GPUS = "all"

LINGER_SECONDS = 600.0  # after SIGTERM, for what a cluster sends next


@dataclass(frozen=True)
class Outcome:
    """What came of one item of work: a value, or an error in a line."""

    value: Any = None
    error: str | None = None


class Preempted(KeyboardInterrupt):
    """A task is to make room: it stops as by hand, which saves what it has."""


class Task:
    """A share of the work, in a process of its own.

    Args:
        run: is given one item after the other. items: the share. folder: where it says how far it is.
        gpus: what CUDA is to see, as in ``CUDA_VISIBLE_DEVICES``; None: what the cluster lets it see.
    """

    def __init__(
        self, run: Callable[[Any], Any], items: Sequence[Any], folder: Path, gpus: str | None = None
    ) -> None:
        self.run, self.items, self.folder, self.gpus = run, list(items), folder, gpus

    def __call__(self) -> list[Outcome]:
        """Do the share; an item that fails is told, and the next one runs."""
        if self.gpus is not None:  # before torch starts CUDA
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            os.environ |= {"CUDA_VISIBLE_DEVICES": self.gpus} if self.gpus != ALL_GPUS else {}
        report_to(self.folder)
        with saved_first():
            return [self._outcome(item) for item in self.items]

    def checkpoint(self) -> Any:
        """What submitit requeues: the same share, of which the cache holds what was done."""
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
    """Let a signal end the work before anything else comes of it: what is encoded is saved, then the task is requeued.

    submitit's signal requeues at once, in the midst of the work, and it ignores SIGTERM, which SLURM sends some time
    before it kills. Here both stop the work as Ctrl-C does. Then submitit's own handler requeues where its signal came;
    after SIGTERM alone the task waits for that signal or for its end, which SLURM follows with a requeue of its own
    where it preempts: a task that left by itself would count as finished.
    """
    wanted = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
    requeue = signal.getsignal(wanted)
    came: set[int] = set()

    def stop(signum: int, frame: Any) -> None:
        first = not came
        came.add(signum)
        if first:
            raise Preempted

    before = {s: signal.signal(s, stop) for s in (wanted, signal.SIGTERM)}
    try:
        yield
    except Preempted:
        print("magiqa: told to make room; what was encoded is saved", file=sys.stderr, flush=True)
        until = time.monotonic() + (LINGER_SECONDS if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" else 0)
        while wanted not in came and time.monotonic() < until:
            time.sleep(0.2)
        if wanted in came and callable(requeue):
            requeue(wanted, None)
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        if not came:
            for s, handler in before.items():
                signal.signal(s, handler)


@dataclass(frozen=True)
class Launched:
    """Tasks under way.

    Args:
        folder: with their logs. jobs: submitit's, a task each. shares: the items of each.
    """

    folder: Path
    jobs: list[Any]
    shares: list[list[Any]]

    @property
    def ids(self) -> str:
        """The id of the array, or of each process."""
        return ", ".join(dict.fromkeys(job.job_id.partition("_")[0] for job in self.jobs))

    def standing_folder(self, task: int) -> Path:
        """Where a task says how far it is."""
        return self.folder / f"task-{task}"

    def outcomes(self, task: int) -> list[Outcome] | str | None:
        """What a task returned, the error it ended with, or None as long as there is neither."""
        try:
            with open(self.jobs[task].paths.result_pickle, "rb") as file:
                kind, value = pickle.load(file)
        except (OSError, EOFError):
            return None
        return value if kind == "success" else str(value).strip().splitlines()[-1]

    def last_line(self, task: int) -> str:
        """The last line of a task's log that says something."""
        for path in (self.jobs[task].paths.stderr, self.jobs[task].paths.stdout):
            try:
                text = path.read_bytes()[-4096:].decode(errors="replace")
            except OSError:
                continue
            lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
            if lines:
                return lines[-1]
        return "its log is empty"


def deal(items: Sequence[Any], groups: Sequence[Any], tasks: int) -> list[list[Any]]:
    """Shares for tasks: items of one group stay together, since they need the same features.

    Example:
        >>> deal(["a1", "b1", "a2", "c1"], ["a", "b", "a", "c"], 2)
        [['a1', 'a2'], ['b1', 'c1']]
    """
    together: dict[Any, list[Any]] = {}
    for item, group in zip(items, groups, strict=True):
        together.setdefault(group, []).append(item)
    shares: list[list[Any]] = [[] for _ in range(min(tasks, len(together)))]
    for group in sorted(together.values(), key=len, reverse=True):
        min(shares, key=len).extend(group)
    return shares


def launch(
    launcher: Launcher, run: Callable[[Any], Any], shares: Sequence[Sequence[Any]], cache_dir: str | Path
) -> Launched:
    """Submit a task for each share.

    Args:
        run: a function that can be pickled by name, given one item at a time. cache_dir: where all tasks can read and
            write: logs go to ``launches/`` in it.

    Raises:
        UserError: submitit is missing, no SLURM here, parameters that it or the cluster refuses.
    """
    try:
        import submitit
    except ImportError:
        raise UserError(
            f"launcher={launcher.cluster} needs submitit: pip install 'magiqa[slurm]', or use launcher=none"
        ) from None
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    folder = Path(cache_dir).expanduser().absolute() / "launches" / name
    tasks = [
        Task(run, share, folder / f"task-{i}", _gpus(launcher, i) if launcher.cluster == "local" else None)
        for i, share in enumerate(shares)
    ]
    try:
        executor = submitit.AutoExecutor(
            folder, cluster=launcher.cluster, **launcher.parameters(made_with=True)
        )
        executor.update_parameters(**launcher.parameters())
        with _of_this_machine(launcher, len(tasks)):
            jobs = executor.submit_array(tasks)
    except (NameError, TypeError, ValueError, AssertionError) as error:  # of submitit, on parameters
        raise UserError(f"launcher={launcher.cluster}: {one_line(error)}") from None
    except RuntimeError as error:
        raise UserError(
            f"launcher={launcher.cluster}: {one_line(error)}; use launcher=local, or a machine that has SLURM's sbatch"
        ) from None
    except (subprocess.CalledProcessError, OSError) as error:
        raise UserError(
            f"launcher={launcher.cluster}: the tasks could not be submitted: {one_line(error)}"
        ) from None
    return Launched(folder, list(jobs), [list(share) for share in shares])


def _gpus(launcher: Launcher, task: int) -> str:
    """The GPUs of a task on this machine: all that this command sees, or its share of them, in turn.

    submitit shows every local task the same first GPUs, or none.
    """
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    each = launcher.gpus_per_node
    if each is None:
        return ALL_GPUS if seen is None else seen
    import torch

    names = (
        [n for n in seen.split(",") if n]
        if seen is not None
        else list(map(str, range(torch.cuda.device_count())))
    )
    if each > len(names):
        raise UserError(
            f"launcher.gpus_per_node={each}: this command sees {len(names)} GPUs; use {len(names)} or null"
        )
    return ",".join(names[(task * each + k) % len(names)] for k in range(each))


@contextmanager
def _of_this_machine(launcher: Launcher, tasks: int) -> Iterator[None]:
    """Local processes share the cores evenly, and leave Ctrl-C to their watcher; a cluster sees to both."""
    if launcher.cluster != "local":
        yield
        return
    given = os.environ.get("OMP_NUM_THREADS")
    share = launcher.cpus_per_task or max(1, usable_cores() // tasks)
    os.environ["OMP_NUM_THREADS"] = given or str(share)
    os.environ[SHARE] = str(share)  # decoding beside a GPU does not go by the other one
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # processes inherit it
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, interrupt)
        del os.environ[SHARE]
        if given is None:
            del os.environ["OMP_NUM_THREADS"]
