"""The jobs of ``-m``, and single values, by Hydra's own grammar."""

from collections.abc import Sequence
from typing import Any

from magiqa.config.paths import LITERAL, split_literal
from magiqa.errors import UserError


def sweep_jobs(overrides: Sequence[str]) -> list[list[str]]:
    """The product of choices, a list of overrides a job; paths are kept as typed, ``out`` is left out.

    Example:
        >>> sweep_jobs(["fusion=fixed,product", "dataset.root=a,b"])
        [['fusion=fixed', 'dataset.root=a,b'], ['fusion=product', 'dataset.root=a,b']]
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    rest, _ = split_literal(overrides)
    literal = [o for o in overrides if LITERAL.match(o) and not o.startswith("out=")]
    batches = BasicSweeper.split_arguments(
        OverridesParser.create().parse_overrides(list(rest)), max_batch_size=None
    )
    return [[*job, *literal] for batch in batches for job in batch]


def override_value(override: str) -> tuple[str, Any]:
    """The key and the value of an override.

    Raises:
        UserError: several values, a deletion, or no override at all.

    Example:
        >>> override_value("resamples=500"), override_value("views.kinds=[whole]")
        (('resamples', 500), ('views.kinds', ['whole']))
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(override)
    if parsed.is_sweep_override() or parsed.is_delete():
        raise UserError(f"{override}: give one value, as KEY=VALUE")
    return parsed.key_or_group, parsed.value()
