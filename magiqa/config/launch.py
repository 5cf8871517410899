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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from magiqa.checked import Checked, Least
from magiqa.cores import SHARE, usable_cores
from magiqa.errors import UserError, one_line, users_mistake
from magiqa.package import expanded
from magiqa.progress import progress_bar

_OWN = ("cluster", "jobs", "wait", "folder")  # every other field is a parameter of submitit's AutoExecutor
_MADE_WITH = ("slurm_max_num_timeout",)  # what it takes when it is made


@dataclass(frozen=True)
class Launcher(Checked, key="launcher"):
    """The number of tasks that share a command's work, and the resources of each.

    Args:
        cluster: ``slurm``, ``local`` (processes on this machine), or None: here, one after the other.
        jobs: tasks that share the work. wait: watch them to their end; otherwise submit and return.
        folder: of the tasks' files and logs; only its owner may be able to write there. None: the user's cache folder.
        Others: submitit's ``AutoExecutor`` takes them by these names; None leaves the cluster's own default.
    """

    cluster: Literal["local", "slurm"] | None = None
    jobs: Annotated[int, Least(1)] = 1
    wait: bool = True
    folder: str | None = None
    name: str = "magiqa"
    timeout_min: Annotated[int, Least(1)] | None = None
    mem_gb: float | None = None
    cpus_per_task: int | None = None
    gpus_per_node: int | None = None
    slurm_partition: str | None = None
    slurm_account: str | None = None
    slurm_qos: str | None = None
    slurm_constraint: str | None = None
    slurm_gres: str | None = None
    slurm_exclude: str | None = None
    slurm_nodelist: str | None = None
    slurm_mem_per_cpu: str | None = None
    slurm_array_parallelism: int | None = None
    slurm_signal_delay_s: int | None = None
    slurm_max_num_timeout: int | None = None
    slurm_use_srun: bool | None = None
    slurm_setup: tuple[str, ...] | None = None
    slurm_additional_parameters: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cluster == "local" and not self.wait:
            raise UserError("launcher.wait=false is for launcher=slurm: local tasks end with the command")

    @property
    def tasks_folder(self) -> Path:
        """The folder in which each launch has one of its own."""
        if self.folder is not None:
            return Path(self.folder)
        from platformdirs import user_cache_dir

        return Path(user_cache_dir("magiqa", appauthor=False)) / "launches"

    def parameters(self, *, made_with: bool = False) -> dict[str, Any]:
        """Return the parameters of submitit's ``AutoExecutor``: to update it, or to make it.

        Example:
            >>> Launcher("slurm", jobs=4, gpus_per_node=1, slurm_max_num_timeout=9).parameters()
            {'name': 'magiqa', 'gpus_per_node': 1}
        """
        settings = {k: v for k, v in asdict(self).items() if k not in _OWN and v is not None}
        chosen = {k: v for k, v in settings.items() if (k in _MADE_WITH) == made_with}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in chosen.items()}


@dataclass(frozen=True)
class Outcome:
    """The result of one item of work: a value, or an error in a line."""

    value: Any = None
    error: str | None = None


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
        if os.environ.get("SUBMITIT_EXECUTOR") == "local":  # SLURM ends and requeues a task that ignores it
            signal.signal(signal.SIGTERM, signal.default_int_handler)
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

    def absent(self) -> list[int]:
        """Return the tasks that are not in the queue (submitit asks sacct, which few small clusters have)."""
        if self.local:
            return [task for task, job in enumerate(self.jobs) if job.done()]
        command = ["squeue", "--noheader", "--array", "--format=%i", "--jobs", self.ids]
        try:
            queue = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return []
        if queue.returncode and "Invalid job id" not in queue.stderr:
            return []
        return [task for task, job in enumerate(self.jobs) if job.job_id not in queue.stdout.split()]

    def outcomes(self, task: int, lost: bool) -> list[Outcome] | None:
        """Return the outcomes of a task's items; None while it works. All of a lost task's items have errors."""
        paths = self.jobs[task].paths
        if paths.result_pickle.is_file():
            kind, value = pickle.loads(paths.result_pickle.read_bytes())
            if kind == "success":
                return list(value)
        elif lost:
            logs = [
                path.read_text(errors="replace") for path in (paths.stdout, paths.stderr) if path.is_file()
            ]
            last = "".join(logs).strip().rpartition("\n")[2].strip()
            value = f"ended without a result; its log's last line: {last or 'its log is empty'}"
        else:
            return None
        return [Outcome(error=str(value).strip().splitlines()[-1]) for _ in self.shares[task]]

    def stop(self) -> None:
        """End the processes of this machine once they have saved their work; a cluster's tasks go on."""
        if not self.local:
            print(f"the tasks go on; to end them: scancel {self.ids}", file=sys.stderr, flush=True)
            return
        for job in self.jobs:
            job._process.terminate()  # which tells the task's process; cancel() would kill it a second later
        until = time.monotonic() + STOP_SECONDS
        while any(not job.done() for job in self.jobs) and time.monotonic() < until:
            time.sleep(0.1)


def watch(launched: Launched, cache_dir: str | Path) -> list[list[Outcome]]:
    """Wait for all tasks, and return the outcomes of the items of each.

    A task that was requeued is waited for; one that left the queue without a result is lost.
    """
    tasks = range(len(launched.jobs))
    ended: dict[int, list[Outcome]] = {}
    looks = Counter[int]()
    shards = expanded(cache_dir) / "features"
    before = len(list(shards.glob("*/*.safetensors")))
    with progress_bar(total=len(tasks), unit="task", miniters=0) as bar:
        try:
            while len(ended) < len(tasks):
                time.sleep(0.2 if launched.local else QUEUE_SECONDS)
                absent = launched.absent()
                looks = Counter({task: looks[task] + 1 for task in absent})
                for task in (t for t in tasks if t not in ended):
                    outcomes = launched.outcomes(task, looks[task] >= (1 if launched.local else GONE_LOOKS))
                    if outcomes is None:
                        continue
                    ended[task] = outcomes
                    bar.update()
                    job = launched.jobs[task]
                    for error in dict.fromkeys(o.error for o in outcomes if o.error):
                        bar.write(
                            f"task {task} ({job.job_id}): {error}\n  its log: {job.paths.stderr}", sys.stderr
                        )
                failed = sum(any(o.error for o in outcomes) for outcomes in ended.values())
                new = len(list(shards.glob("*/*.safetensors"))) - before
                bar.set_postfix_str(f"{failed} failed, {new} new shards", refresh=False)
                bar.update(0)  # which keeps to the log's interval
        except (KeyboardInterrupt, SystemExit):
            launched.stop()
            raise
    return [ended[task] for task in tasks]


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
    except Exception as error:  # submitit's own, assertions among them, and sbatch's
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
