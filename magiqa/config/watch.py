"""Tasks under way, watched by what they leave: one line of progress, and what came of each."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from magiqa.config.launch import Launched, Outcome
from magiqa.features.progress import Standing, standing

GONE_SECONDS = 15.0  # a task out of the queue has this long for its result to appear: shared disks lag
QUEUE_SECONDS = 5.0  # between two looks at the queue
STOP_SECONDS = 60.0  # processes of this machine have this long to save what they encoded
QUIET_SECONDS = 30.0  # between two lines where there is no terminal


def watch(launched: Launched, unit: str = "images") -> list[list[Outcome]]:
    """Wait for all tasks; what came of the items of each. A task that was lost has errors for all of its items.

    Results count, not what the queue says of them: a task that was requeued is waited for, one that left the queue
    without a result is lost.
    """
    found: dict[int, list[Outcome]] = {}
    queue, line = _queue_of(launched), _Line()
    begin = time.monotonic()
    try:
        while len(found) < len(launched.jobs):
            for task in range(len(launched.jobs)):
                if task not in found and (outcomes := _ended(launched, task, queue)) is not None:
                    found[task] = outcomes
                    _tell(launched, task, outcomes, line)
            line.show(
                progress_line(launched, found, queue.states(), unit), last=len(found) == len(launched.jobs)
            )
            if len(found) < len(launched.jobs):
                time.sleep(0.2 if time.monotonic() - begin < 10 else 1.0)
    except KeyboardInterrupt:
        line.end()
        queue.stopped()
        raise
    line.end()
    return [found[task] for task in range(len(launched.jobs))]


def progress_line(
    launched: Launched, found: dict[int, list[Outcome]], states: dict[int, str], unit: str
) -> str:
    """Views done, rate, time to go, and how the tasks stand."""
    tasks = range(len(launched.jobs))
    each = [standing(launched.standing_folder(task)) for task in tasks]
    total = Standing(*(sum(getattr(s, f) for s in each) for f in ("done", "images", "views", "seconds")))
    running = [s for task, s in zip(tasks, each, strict=True) if task not in found and s.images]
    rate = sum(s.views / s.seconds for s in running if s.seconds > 0)
    left = max(
        (s.seconds * (s.images - s.done) / s.done for s in running if s.done and s.views), default=None
    )
    failed = sum(any(o.error for o in outcomes) for outcomes in found.values())
    counts = {
        "running": sum(states.get(t) == "running" for t in tasks if t not in found),
        "waiting": sum(states.get(t) != "running" for t in tasks if t not in found),
        "done": len(found) - failed,
        "failed": failed,
    }
    parts = [f"{total.views} views", f"{total.done} of {total.images} {unit}"]
    if rate:
        parts.append(f"{rate:.1f} views/s")
    if left is not None:
        parts.append(f"about {_clock(left)} to go")
    return ", ".join(parts) + "; tasks: " + ", ".join(f"{n} {what}" for what, n in counts.items() if n)


def _ended(launched: Launched, task: int, queue: "_Queue") -> list[Outcome] | None:
    """What came of a task's items, None while it is under way."""
    gone = queue.gone(task)  # asked first: what is gone now may have left its result a moment ago
    result = launched.outcomes(task)
    if isinstance(result, list):
        return result
    if result is None and not gone:
        return None
    why = (
        result
        if result is not None
        else f"ended without a result; its log's last line: {launched.last_line(task)}"
    )
    return [Outcome(error=why) for _ in launched.shares[task]]


def _tell(launched: Launched, task: int, outcomes: list[Outcome], line: "_Line") -> None:
    errors = list(dict.fromkeys(o.error for o in outcomes if o.error))
    for error in errors:
        line.end()
        print(f"task {task} ({launched.jobs[task].job_id}): {error}", file=sys.stderr, flush=True)
    if errors:
        print(f"  its log: {launched.jobs[task].paths.stderr}", file=sys.stderr, flush=True)


class _Queue:
    """Processes of this machine."""

    def __init__(self, launched: Launched) -> None:
        self.jobs = launched.jobs

    def states(self) -> dict[int, str]:
        return {task: "running" for task, job in enumerate(self.jobs) if not job.done()}

    def gone(self, task: int) -> bool:
        return bool(self.jobs[task].done())

    def stopped(self) -> None:
        """They end with their watcher, after they have saved what they encoded."""
        running = [job for job in self.jobs if not job.done()]
        for job in running:
            job._process.terminate()  # which tells the task's process; cancel() would kill it a second later
        until = time.monotonic() + STOP_SECONDS
        while any(not job.done() for job in running) and time.monotonic() < until:
            time.sleep(0.1)


@dataclass
class _Slurm(_Queue):
    """A job array, by one ``squeue`` for all of its tasks."""

    jobs: list[Any]
    ids: str
    looked: float = float("-inf")
    found: dict[str, str] = field(default_factory=dict)
    missing: dict[int, float] = field(default_factory=dict)

    def states(self) -> dict[int, str]:
        self._look()
        return {task: self.found.get(job.job_id, "") for task, job in enumerate(self.jobs)}

    def gone(self, task: int) -> bool:
        self._look()
        since = self.missing.get(task)
        return since is not None and time.monotonic() - since > GONE_SECONDS

    def stopped(self) -> None:
        print(f"the tasks go on; to end them: scancel {self.ids}", file=sys.stderr, flush=True)

    def _look(self) -> None:
        if time.monotonic() - self.looked < QUEUE_SECONDS:
            return
        self.looked = time.monotonic()
        command = ["squeue", "--noheader", "--array", "--format=%i %T", "--jobs", self.ids]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return  # the controller is busy: nothing is known, nobody is lost
        if done.returncode and "Invalid job id" not in done.stderr:
            return
        pairs = [line.split() for line in done.stdout.splitlines()]
        self.found = {p[0]: p[1].lower() for p in pairs if len(p) == 2}
        for task, job in enumerate(self.jobs):
            if job.job_id in self.found:
                self.missing.pop(task, None)
            else:
                self.missing.setdefault(task, self.looked)


def _queue_of(launched: Launched) -> _Queue:
    slurm = type(launched.jobs[0]).__name__ == "SlurmJob"
    return _Slurm(launched.jobs, launched.ids.replace(" ", "")) if slurm else _Queue(launched)


class _Line:
    """One line that is written over on a terminal, and now and then a line elsewhere."""

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        self.terminal = sys.stderr.isatty()
        self.write = write or (lambda text: print(text, end="", file=sys.stderr, flush=True))
        self.shown, self.at = "", float("-inf")

    def show(self, text: str, last: bool = False) -> None:
        if self.terminal:
            self.write(f"\r\x1b[K{text}")
            self.shown = text
        elif last or (text != self.shown and time.monotonic() - self.at > QUIET_SECONDS):
            self.write(f"{text}\n")
            self.shown, self.at = text, time.monotonic()

    def end(self) -> None:
        if self.terminal and self.shown:
            self.write("\n")
            self.shown = ""


def _clock(seconds: float) -> str:
    """Seconds as one reads them.

    Example:
        >>> _clock(42), _clock(4000)
        ('0:42', '1:06:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
