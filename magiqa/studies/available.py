"""Which variants can be had here: published weights may be out of reach."""

from collections.abc import Sequence

from magiqa.backbones.weights import LackingWeights, find_weights
from magiqa.errors import UserError
from magiqa.runs.provenance import Clock
from magiqa.studies.ablation import Variant


def available(
    name: str, variants: Sequence[Variant], reference: int, clock: Clock
) -> tuple[list[Variant], int, dict[str, str]]:
    """The variants whose weights are here or can be fetched, where several backbones are compared.

    Args:
        name: of the ablation. reference: where the one stands that others are compared with. clock: is told in words
            what is left out, and which variant takes the place of a reference that is.

    Returns:
        The variants, where their reference stands, and those left out with the reason.

    Raises:
        UserError: fewer than two are left.
    """
    backbones = {v.job.method.backbone for v in variants}
    if len(backbones) < 2 or variants[0].job.source.bundle:
        return list(variants), reference, {}
    reasons: dict[object, str] = {}
    for backbone in dict.fromkeys(v.job.method.backbone for v in variants):
        try:
            find_weights(backbone)
        except LackingWeights as error:
            reasons[backbone] = str(error)
    lacking = {v.name: reasons[v.job.method.backbone] for v in variants if v.job.method.backbone in reasons}
    kept = [v for v in variants if v.name not in lacking]
    if not lacking:
        return kept, reference, {}
    said = f"{len(lacking)} of {len(variants)} variants lack their weights: {', '.join(lacking)}"
    if len(kept) < 2:
        raise UserError(
            f"ablation {name}: {said}; nothing is left to compare. {next(iter(lacking.values()))}"
        )
    clock.warnings.append(f"{said}; left out ({next(iter(lacking.values()))})")
    first = variants[reference].name
    if first in lacking:
        clock.warnings.append(f"the reference {first} is among them: {kept[0].name} stands in its place")
    at = 0 if first in lacking else kept.index(variants[reference])
    return kept, at, lacking
