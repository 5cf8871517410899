"""Put a run into one file that needs no images or weights.

magiqa pack RUN [out=FILE] [dataset.root=DIR] [cache_dir=DIR]

The root, cache and checkpoint are those that RUN's record names, unless typed;
they are printed first, and such a cache is only read. A backbone in a folder or
on the hub, and an option of your own, count only as typed: backbone.name=NAME,
magnitude=mine. evaluate, ablate, experiment and report rerun from a bundle all
that needs no other features.

Example:
  magiqa pack results/runs/mine out=mine.safetensors

More: docs/studies.md
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from magiqa.config.arguments import Arguments
from magiqa.errors import UserError
from magiqa.package import conf_dir, expanded

TASK = "publish"


def run(arguments: Arguments) -> int:
    """Pack."""
    from magiqa.studies.pack import pack

    words = arguments.words
    if len(words) != 1:
        raise UserError("pack: give one run's folder: magiqa pack RUN [out=FILE]")
    folder = expanded(words[0])
    overrides = [o for o in arguments.overrides if not o.startswith("out=")]
    job = arguments.configs.recorded(folder, overrides).having(out=str(folder))
    options = sorted(f.stem for f in (conf_dir() / "prompts").glob("*.yaml"))
    sets = []
    for option in options:
        with suppress(UserError):  # prompts that need a file
            sets.append(arguments.configs.job([f"prompts={option}"]).method.prompts)
    with as_recorded([(folder, job)], overrides):
        path = pack(folder, job, sets, arguments.out)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; no images, no weights")
    return 0


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
                "prompts.context": job.method.prompts.context,
                "prompts.features": job.method.prompts.features,
                "magnitude.statistics_from": getattr(job.method.magnitude, "statistics_from", None),
                "cache_dir": job.machine.cache_dir,
            }
            for key, place in places.items():
                if place and key not in typed:
                    print(f"{key}={place}: as {folder}/record.json says", flush=True)
            if "cache_dir" not in typed and job.machine.cache_dir != default_cache_dir():
                stack.enter_context(read_only(job.machine.cache_dir))
        yield
