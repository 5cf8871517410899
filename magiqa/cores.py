"""Cores that this process may use, and how many threads share them. Importing it needs no torch."""

import math
import os
from functools import cache
from pathlib import Path

SHARE = "MAGIQA_CPUS_PER_TASK"

GPU_DECODERS = 4  # threads share one Python: with more than four, decoding and an H200 slow each other

MOST_STREAMS = 8  # on a CPU: each stream has activations of its own, and all of them share the last cache


def usable_cores() -> int:
    """Return the number of cores that affinity, SLURM, a local task's share and a container's quota allow."""
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
    """Return the number of cores to compute with: those usable, and no more than OMP_NUM_THREADS."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(usable_cores(), int(limit))) if limit.isdigit() else usable_cores()


@cache
def threads() -> int:
    """Return the number of threads for torch: `allowed_cores`, and no more than torch.set_num_threads allows.

    The first call settles it: engines set torch's number of threads themselves.
    """
    import torch

    return min(torch.get_num_threads(), allowed_cores())


def decoders(device: str) -> int:
    """Return the number of threads that decode images.

    Beside a GPU these are up to `GPU_DECODERS`: the GPU leaves the cores free, and OMP_NUM_THREADS is about torch.
    """
    return allowed_cores() if device == "cpu" else min(usable_cores(), GPU_DECODERS)


def streams(device: str) -> int:
    """Return the number of threads that call an engine at the same time.

    A GPU has two, so that one copies while one computes; MPS has one. A CPU has one for each core up to `MOST_STREAMS`.
    With more cores, each stream has equally many, and the streams use as many cores as they can (12 cores: 6 streams
    of 2).
    """
    if device != "cpu":
        return 2 if device.startswith("cuda") else 1
    cores = threads()
    fewest, most = min(cores, MOST_STREAMS // 2), min(cores, MOST_STREAMS)
    return max(range(fewest, most + 1), key=lambda s: (s * (cores // s), s))
