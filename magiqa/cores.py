"""How many cores this process may use. Needs no torch."""

import math
import os
from pathlib import Path

SHARE = "MAGIQA_CPUS_PER_TASK"


def usable_cores() -> int:
    """Cores that this process is given: its affinity, SLURM's share, a local task's (`SHARE`), a container's quota."""
    allowed = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    slurm = "SLURM_CPUS_PER_TASK" if "SLURM_CPUS_PER_TASK" in os.environ else "SLURM_CPUS_ON_NODE"
    allowed += [int(share) for name in (slurm, SHARE) if (share := os.environ.get(name, "")).isdigit()]
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, _, period = quota.read_text().strip().partition(" ")
        if limit.isdigit() and period.isdigit():
            allowed.append(math.ceil(int(limit) / int(period)))
    return max(1, min(allowed))


def allowed_cores() -> int:
    """Cores to compute with: those usable, and no more than OMP_NUM_THREADS."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(usable_cores(), int(limit))) if limit.isdigit() else usable_cores()
