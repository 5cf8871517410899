"""Commands on a run's folder: the places that its record names."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def as_recorded(jobs: Sequence[tuple[Path, Any]], overrides: Sequence[str]) -> Iterator[None]:
    """Print the root, cache and checkpoint that records name and nobody typed; such a cache is only read.

    Args:
        jobs: runs' folders, and the job that each one's record makes.
    """
    from magiqa.features.shard import read_only
    from magiqa.runs.config import default_cache_dir

    typed = {o.partition("=")[0] for o in overrides}
    with ExitStack() as stack:
        for folder, job in jobs:
            places = {
                "dataset.root": getattr(job.source.dataset, "root", None),
                "dataset.annotation": getattr(job.source.dataset, "annotation", None),
                "backbone.checkpoint": job.method.backbone.checkpoint,
                "cache_dir": job.machine.cache_dir,
            }
            for key, place in places.items():
                if place and key not in typed:
                    print(f"{key}={place}: as {folder}/record.json says", flush=True)
            if "cache_dir" not in typed and job.machine.cache_dir != default_cache_dir():
                stack.enter_context(read_only(job.machine.cache_dir))
        yield
