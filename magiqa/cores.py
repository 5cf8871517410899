"""How many cores this process may use. Needs no torch."""

import math
import os
from pathlib import Path


def allowed_cores() -> int:
    """Cores this process may use: its affinity, OMP_NUM_THREADS, SLURM's share, a container's quota. Needs no torch."""
    allowed = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    slurm = "SLURM_CPUS_PER_TASK" if "SLURM_CPUS_PER_TASK" in os.environ else "SLURM_CPUS_ON_NODE"
    for name in ("OMP_NUM_THREADS", slurm):
        if (limit := os.environ.get(name, "")).isdigit():
            allowed.append(int(limit))
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, _, period = quota.read_text().strip().partition(" ")
        if limit.isdigit() and period.isdigit():
            allowed.append(math.ceil(int(limit) / int(period)))
    return max(1, min(allowed))
