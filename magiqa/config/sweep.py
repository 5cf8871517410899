"""The jobs of ``-m``."""

from collections.abc import Sequence
from pathlib import Path

from magiqa.config.compose import make_job
from magiqa.config.paths import LITERAL, split_literal


def sweep_jobs(overrides: Sequence[str]) -> list[list[str]]:
    """The jobs of ``-m``: Hydra's own grammar for the product of choices, paths kept as typed."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    rest, _ = split_literal(overrides)
    literal = [o for o in overrides if LITERAL.match(o) and not o.startswith("out=")]
    batches = BasicSweeper.split_arguments(
        OverridesParser.create().parse_overrides(list(rest)), max_batch_size=None
    )
    return [[*job, *literal] for batch in batches for job in batch]


def inside(out: str | None, study: str, overrides: list[str], searchpath: str) -> list[str]:
    """The overrides of one job of a sweep, its results in a folder of its own inside ``out``."""
    if not out:
        return overrides
    job = make_job(overrides, searchpath)
    name = getattr(getattr(job, study), "name", study)
    return [*overrides, f"out={Path(out).expanduser() / f'{name}-{job.name}'}"]
